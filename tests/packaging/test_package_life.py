"""The package in a real systemd: installed, watched, rebooted and upgraded in the middle of an event, removed, purged."""
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from nspawn_machine import SHOWS_ITS_BOOT_ID

pytestmark = pytest.mark.slow
TOP = Path(__file__).parents[2]
HOOK = "#!/bin/sh\necho $1 $TIDEOVER_KIND $TIDEOVER_REASON >> /root/lines\n"
CONFIGURATION = '[source]\nkind = "azure"\npoll = "100ms"\n[pause]\nsettle = "500ms"\n'
RECOVERS_AT_STOP = CONFIGURATION + '[policy]\non_stop = "recover"\n'
READY_LIMIT_S = 1.0


def installed(machine, package, configuration=CONFIGURATION):
    """The agent runs with one hook, and asks the platform."""
    here, metadata = machine
    here.put("/etc/tideover/hooks.d/10-first", HOOK, 0o755)
    here.install(package)
    here.put("/etc/tideover/tideover.toml", configuration)
    here.run("systemctl restart tideover")
    return here, metadata


def records(here):
    return json.loads(here.run("tideover history --json"))["events"]


def status_of_last(here):
    found = records(here)
    return found[-1]["status"] if found else "none"


def with_an_open_event(here, metadata, kind="Freeze"):
    event = metadata.add_event(kind, not_before_in_s=600)
    here.until(lambda: metadata.acknowledgements and status_of_last(here) == "acknowledged")
    assert lines(here) == [f"prepare {kind.lower()}"]
    return event


def lines(here):
    return [line.strip() for line in here.text("/root/lines").splitlines()]


def test_installing_gives_a_running_watched_confined_service_that_starts_with_the_machine(machine, package):
    """No index of Python packages, nothing failed, and ready within a second."""
    here, _ = machine
    here.install(package)
    told = here.told("ActiveState", "UnitFileState", "Type", "WatchdogUSec", "StatusText", "NotifyAccess")
    assert told == {"ActiveState": "active", "UnitFileState": "enabled", "Type": "notify", "WatchdogUSec": "2min",
                    "StatusText": "No event is open", "NotifyAccess": "main"}
    assert here.run("systemctl --failed --no-legend").strip() == ""
    assert "/usr/bin/tideover" in here.run("command -v tideover") and here.run("tideover config check")
    starts_s = []
    for _ in range(5):
        here.run("systemctl restart tideover")
        told = here.told("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        starts_s.append((int(told["ActiveEnterTimestampMonotonic"]) - int(told["ExecMainStartTimestampMonotonic"])) / 1e6)
    print(f"\nstart to READY: {', '.join(f'{start_s:.2f}' for start_s in starts_s)} s")
    assert min(starts_s) < READY_LIMIT_S
    figure = re.search(r"exposure level.*: ([\d.]+)", here.run("systemd-analyze security tideover --no-pager"))
    assert figure and f"The first command says {figure[1]}." in (TOP / "docs/security.md").read_text()
    print(f"systemd-analyze security: {figure[1]}")


def test_the_watchdog_is_fed_when_nothing_happens_and_restarts_an_agent_that_hangs(machine, package):
    here, _ = installed(machine, package, '[source]\nkind = "none"\n')
    here.put("/etc/systemd/system/tideover.service.d/hasty.conf", "[Service]\nWatchdogSec=2s\n")
    here.run("systemctl daemon-reload; systemctl restart tideover")
    time.sleep(5)
    assert here.told("NRestarts") == {"NRestarts": "0"}
    [before] = here.told("MainPID").values()
    here.run(f"kill -STOP {before}")
    here.until(lambda: here.told("NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"})
    assert here.told("MainPID")["MainPID"] != before
    assert "Watchdog timeout" in here.journal()


def test_an_agent_that_is_killed_is_started_again_and_goes_on_with_its_event(machine, package):
    here, metadata = installed(machine, package)
    event = with_an_open_event(here, metadata)
    here.run("systemctl kill -s KILL tideover")
    here.until(lambda: here.told("NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"})
    metadata.remove_event(event)
    here.until(lambda: status_of_last(here) == "closed")
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"] and len(metadata.acknowledgements) == 1


def test_an_event_open_over_a_reboot_is_recovered_after_it_and_not_before(machine, package):
    """Although the owner wants recovery when the service is stopped: the machine's own end is no such stop."""
    here, metadata = machine
    here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)
    installed(machine, package, RECOVERS_AT_STOP)
    event = with_an_open_event(here, metadata, "Reboot")
    metadata.start_event(event)
    here.until(lambda: status_of_last(here) == "started")
    here.reboot()
    here.until(lambda: status_of_last(here) == "recovered")
    metadata.remove_event(event)
    here.until(lambda: status_of_last(here) == "closed")
    assert lines(here) == ["prepare reboot", "recover reboot restarted"]
    assert records(here)[-1]["outcome"] == "restarted" and len(metadata.acknowledgements) == 1
    assert "agent.stopping-with-hooks-prepared reason=shutdown" in here.journal()


def test_an_upgrade_in_the_middle_of_an_event_fires_no_hook_and_loses_nothing(machine, package):
    """Although the owner wants recovery when the service is stopped: it is started again at once."""
    here, metadata = installed(machine, package, RECOVERS_AT_STOP)
    event = with_an_open_event(here, metadata)
    [before] = here.told("MainPID").values()
    here.run(f"dpkg --force-confold -i /root/{package.name}")
    here.until(lambda: here.told("ActiveState") == {"ActiveState": "active"})
    assert here.told("MainPID")["MainPID"] != before, "the new agent runs"
    time.sleep(1)
    assert lines(here) == ["prepare freeze"] and status_of_last(here) == "acknowledged"
    metadata.start_event(event)
    here.until(lambda: status_of_last(here) == "started")
    metadata.remove_event(event)
    here.until(lambda: status_of_last(here) == "closed")
    assert lines(here) == ["prepare freeze", "recover freeze resumed"] and len(metadata.acknowledgements) == 1


def test_a_stop_of_the_service_recovers_first_if_the_owner_says_so(machine, package):
    here, metadata = installed(machine, package, RECOVERS_AT_STOP)
    with_an_open_event(here, metadata)
    here.run("systemctl stop tideover")
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]


def test_removal_recovers_what_is_prepared_and_a_purge_leaves_nothing(machine, package):
    here, metadata = machine
    here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)    # recover by hand looks too
    before = files(here)
    installed(machine, package)
    with_an_open_event(here, metadata)
    here.run("tideover hooks enable webhook && tideover hooks enable lb-health")
    for name in ("webhook", "lb-health"):       # one in Python, one in shell: both find the SDK through the link
        assert "nothing was prepared" in here.run(f"tideover hooks run {name} recover; true")
    here.run("tideover hooks disable webhook && tideover hooks disable lb-health")
    for language in ("", " --python"):
        here.run(f"tideover hooks new mine{language} && tideover hooks check && tideover hooks run mine prepare")
        assert "resumed" in here.run("tideover hooks run mine recover --reason resumed --pause 7s")
        here.run("rm /etc/tideover/hooks.d/60-mine")
    here.run("tideover hooks enable service-stop")
    assert (here.root / "etc/tideover/hooks.d/80-service-stop").readlink() == Path("/usr/share/tideover/hooks/service-stop")
    assert "Recovered: first." in here.run("dpkg --remove tideover")
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]
    assert (here.root / "var/lib/tideover/journal.db").exists(), "records outlive a removal"
    here.run("dpkg --purge tideover")
    assert files(here) - before == set() and "tideover" not in here.run("ls /run /var/lib/systemd")
    assert here.run("systemctl --failed --no-legend").strip() == ""


FAULTY = CONFIGURATION + "[hooks]\ntimeoutt = 3\n"
STATE = "/var/lib/tideover"


def test_a_configuration_that_cannot_be_used_ends_the_service_at_once_after_what_is_prepared_is_recovered(machine, package):
    """Not one restart: none would repair it."""
    here, metadata = installed(machine, package)
    with_an_open_event(here, metadata)
    here.put("/etc/tideover/tideover.toml", FAULTY)
    here.run("systemctl restart tideover", check=False)
    here.until(lambda: here.told("ActiveState") == {"ActiveState": "failed"}, 10.0)
    time.sleep(3)
    told = here.told("ActiveState", "NRestarts", "ExecMainStatus", "Result")
    assert told == {"ActiveState": "failed", "NRestarts": "0", "ExecMainStatus": "2", "Result": "exit-code"}
    assert "hooks.timeoutt" in here.journal() and lines(here) == ["prepare freeze", "recover freeze cancelled"]
    here.put("/etc/tideover/tideover.toml", CONFIGURATION)
    here.run("systemctl start tideover")
    assert here.told("ActiveState") == {"ActiveState": "active"}


def test_a_recover_that_takes_long_is_not_cut_off_by_the_start_timeout(machine, package):
    here, metadata = installed(machine, package)
    here.put("/etc/tideover/hooks.d/10-first", "#!/bin/sh\n[ $1 = prepare ] || sleep 8\n" + HOOK.split("\n", 1)[1], 0o755)
    here.put("/etc/systemd/system/tideover.service.d/hasty.conf", "[Service]\nTimeoutStartSec=3s\n")
    here.run("systemctl daemon-reload")
    with_an_open_event(here, metadata)
    here.put("/etc/tideover/tideover.toml", FAULTY)
    here.run("systemctl restart tideover", check=False)
    assert here.told("NRestarts", "ExecMainStatus") == {"NRestarts": "0", "ExecMainStatus": "2"}
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]


def test_removal_recovers_whatever_the_state_of_the_configuration(machine, package):
    here, metadata = machine
    here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)
    installed(machine, package)
    with_an_open_event(here, metadata)
    here.put("/etc/tideover/tideover.toml", FAULTY)
    said = here.run("dpkg --purge tideover")
    assert "hooks.timeoutt" in said and "Recovered: first." in said
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]
    assert not (here.root / STATE[1:]).exists() and not (here.root / "etc/tideover").exists()


def test_a_purge_keeps_what_can_still_recover_an_application_and_says_where(machine, package):
    """Installing it again goes on with that."""
    here, metadata = machine
    here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)
    installed(machine, package)
    here.put("/etc/tideover/hooks.d/10-first", HOOK + "[ $1 = prepare ] || [ -e /root/mended ]\n", 0o755)
    with_an_open_event(here, metadata)
    here.put("/etc/tideover/tideover.toml", FAULTY)
    said = here.run("dpkg --purge tideover")
    assert "/var/lib/tideover (journal, hooks' state) and /etc/tideover/hooks.d are kept" in said
    assert "first: /etc/tideover/hooks.d/10-first recover\n" in here.text(f"{STATE}/PENDING")
    assert (here.root / STATE[1:] / "journal.db").exists() and (here.root / "etc/tideover/hooks.d/10-first").exists()
    assert not (here.root / "etc/tideover/tideover.toml").exists(), "the faulty configuration would prevent it again"
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]
    here.put("/root/mended", "")
    here.install(package)
    here.until(lambda: status_of_last(here) in ("recovered", "closed"))
    assert lines(here)[-1] == "recover freeze cancelled" and len(lines(here)) == 3
    here.run("dpkg --purge tideover")
    assert not (here.root / STATE[1:]).exists() and not (here.root / "etc/tideover").exists()


def test_a_removal_that_cannot_even_run_the_program_keeps_the_journal_too(machine, package):
    here, metadata = installed(machine, package)
    with_an_open_event(here, metadata)
    here.run("rm /usr/lib/python3/dist-packages/tideover/daemon/offline.py")
    assert "could not be recovered" in here.run("dpkg --purge tideover")
    assert (here.root / STATE[1:] / "journal.db").exists() and "Not known" in here.text(f"{STATE}/PENDING")


def files(here):
    """What lies where a package or a service may leave something."""
    places = "/etc /usr /lib /var/lib /var/cache /opt /srv /run/systemd/system"
    return {path for path in here.run(f"find {places} -xdev -iname '*tideover*'").splitlines()}


def test_a_reload_refuses_what_is_faulty_and_applies_what_is_good_after_the_event(machine, package):
    here, metadata = installed(machine, package)
    event = with_an_open_event(here, metadata)
    [before] = here.told("MainPID").values()
    here.put("/etc/tideover/tideover.toml", CONFIGURATION + "[hooks]\ntimeoutt = 3\n")
    assert "failed" in here.run("systemctl reload tideover", check=False)
    assert "hooks.timeoutt" in here.journal(), "what is wrong stands in the journal"
    here.run("systemctl kill -s HUP tideover")
    here.until(lambda: "configuration.refused" in here.journal())
    here.put("/etc/tideover/tideover.toml", CONFIGURATION + '[log]\nformat = "json"\n')
    here.run("systemctl reload tideover")
    here.until(lambda: "configuration.reload-deferred" in here.journal())
    assert "a new configuration is applied after it" in here.told("StatusText")["StatusText"] and '"agent.started"' not in here.journal()
    metadata.remove_event(event)
    here.until(lambda: '"configuration.read"' in here.journal())
    assert here.told("MainPID", "ActiveState", "NRestarts") == {"MainPID": before, "ActiveState": "active", "NRestarts": "0"}
    assert lines(here) == ["prepare freeze", "recover freeze cancelled"]


def test_hooks_may_do_what_administrators_do_to_applications_and_fail_aloud_at_the_machine_itself(machine, package):
    """Under the service's confinement: stop a unit, become a user, write configuration; but not mount, set the clock …"""
    here, metadata = machine
    can = ["systemctl stop dbus.service", "runuser -u nobody true", "sudo -n -u nobody true", "touch /etc/hook-was-here",
           "touch /tmp/hook-was-here", "ip address show", "ps -ef", "tideover status"]
    cannot = ["mount -t tmpfs none /mnt", "umount /tmp", "date -s 2001-01-01", "unshare -n true", "mknod /root/node b 8 0",
              "touch /usr/hook-was-here", "swapoff -a /dev/null"]
    tries = "\n".join(f"{words} > /dev/null 2>&1; echo \"$? {words}\" >> /root/tried" for words in [*can, *cannot])
    here.put("/etc/tideover/hooks.d/20-tries", f"#!/bin/sh\n[ $1 = recover ] || {{\n{tries}\n}}\n", 0o755)
    installed(machine, package)
    metadata.add_event(not_before_in_s=600)
    here.until(lambda: metadata.acknowledgements)
    tried = dict(reversed(line.split(" ", 1)) for line in here.text("/root/tried").splitlines())
    assert {words: tried[words] for words in can} == dict.fromkeys(can, "0")
    assert [words for words in cannot if tried[words] == "0"] == []


def test_a_pip_installation_has_the_same_unit_from_the_same_file(machine, package, tmp_path):
    here, _ = machine
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(f"tar -C {TOP} --exclude=__pycache__ -cf - agent hooks packaging/grafana packaging/prometheus pyproject.toml README.md LICENSE | tar -C {source} -xf -",
                   shell=True, check=True)
    subprocess.run(["/usr/bin/python3", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(here.root / "root"), str(source)],
                   check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    here.run("python3 -m venv --system-site-packages --without-pip /opt/tideover")
    here.run("/opt/tideover/bin/python -m installer /root/tideover-*.whl")
    service = "/opt/tideover/bin/tideover service"
    assert "enabled" in here.run(f"{service} install")
    here.run(f"{service} start")
    status = json.loads(here.run(f"{service} status --json"))
    assert (status["is_installed"], status["is_enabled"], status["state"]) == (True, True, "active")
    ours = here.text("/etc/systemd/system/tideover.service").replace("/opt/tideover/bin/tideover", "/usr/bin/tideover")
    assert ours.split("\n", 1)[1] == (TOP / "agent/tideover/service/tideover.service").read_text()
    here.run("/opt/tideover/bin/tideover hooks enable webhook")
    assert (here.root / "etc/tideover/hooks.d/10-webhook").readlink() == Path("/opt/tideover/share/tideover/hooks/webhook")
    assert "nothing was prepared" in here.run("/opt/tideover/bin/tideover hooks run webhook recover; true")
    here.run(f"{service} stop")
    assert here.told("ActiveState") == {"ActiveState": "inactive"}
    here.run(f"{service} remove")
    assert here.text("/etc/systemd/system/tideover.service") == "" and here.told("LoadState") == {"LoadState": "not-found"}


def test_what_a_hook_started_outlives_the_agents_restart_and_what_it_detached_ends_with_a_run_called_off(machine, package):
    """In the service: its own control group a run, the agent protected when memory runs out and the hooks not."""
    here, metadata = machine
    here.put("/etc/tideover/hooks.d/20-app", """#!/bin/sh
[ $1 = prepare ] || exit 0
cat /proc/self/oom_score_adj /proc/$PPID/cgroup > /root/world
sh -c 'echo $$ > /root/app; while :; do echo served; sleep 0.1; done' &
""", 0o755)
    here.put("/etc/tideover/hooks.d/30-esc", """#!/bin/sh
[ $1 = prepare ] || exit 0
setsid env -i /bin/sh -c 'cd /; exec </dev/null >/dev/null 2>&1; (setsid sh -c "echo \\$\\$ > /root/detached; exec sleep 600" &)'
sleep 0.3
cat /proc/self/cgroup > /root/group
sleep 600
""", 0o755)
    installed(machine, package)
    event = metadata.add_event(not_before_in_s=600)
    here.until(lambda: here.text("/root/detached").endswith("\n") and here.text("/root/group"))
    app, detached = (here.text(f"/root/{name}").strip() for name in ("app", "detached"))
    assert here.text("/root/world").splitlines()[0] == "0"
    assert "/tideover.service/hook-" in here.text("/root/group")
    metadata.remove_event(event)
    here.until(lambda: status_of_last(here) == "closed")
    assert here.run(f"kill -0 {detached}", check=False) != "", "ended"
    here.run("systemctl restart tideover; sleep 1; kill -9 $(systemctl show tideover -p MainPID --value); sleep 3")
    assert here.told("ActiveState") == {"ActiveState": "active"}
    assert here.run(f"kill -0 {app}") == "", "lives, and prints on"
    assert here.told("OOMScoreAdjust") == {"OOMScoreAdjust": "-900"}        # a container may not have it
    here.run(f"kill {app}")
