"""The installer and the service on Windows (Wine's): silent installation, a whole event, stops, reboots, kills, upgrades,
removal. What Wine cannot show stands in packaging/windows/REAL-WINDOWS.md."""
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from windows_world import HOME, HOOK, LINES, PROGRAMS, SERVICE_PROGRAM

from test_dependencies import NEEDED_BY_THEM, OPTIONAL, imported

pytestmark = pytest.mark.slow
SERVICE = "HKLM\\System\\CurrentControlSet\\Services\\tideover"
SOURCE = "HKLM\\System\\CurrentControlSet\\Services\\EventLog\\Application\\tideover"
APPS = "HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\tideover"
SYSTEM_PATH = "HKLM\\System\\CurrentControlSet\\Control\\Session Manager\\Environment"
PYTHON = f"{PROGRAMS}\\python\\python.exe"
RECOVERS_AT_STOP = '[policy]\non_stop = "recover"\n'
PAUSE_S = 3.0
DELAYED_START_S = 240.0     # Windows waits for two minutes; Wine 10 too, Wine 8 knows no delayed start
READS_ITS_TEXT = """
import win32api, win32con, sys
library = win32api.LoadLibraryEx(sys.argv[1], 0, win32con.LOAD_LIBRARY_AS_DATAFILE)
print(*[win32api.FormatMessageW(win32con.FORMAT_MESSAGE_FROM_HMODULE, library, number, 0, ['a line']).strip() for number in (1, 210)])
"""


def test_a_silent_installation_gives_a_running_service_that_starts_with_the_machine(world):
    """On a machine that has never seen it: no Python, no compiler, nothing asked."""
    began = time.monotonic()
    world.install()
    took_s = time.monotonic() - began
    assert world.state == "RUNNING" and len(world.pids) == 1
    service = world.machine.registry(SERVICE)
    assert service["ImagePath"] == f'"{PROGRAMS}\\bin\\{SERVICE_PROGRAM}"'
    assert (service["Start"], service["ObjectName"], service["PreshutdownTimeout"]) == ("0x2", "LocalSystem", "0x4e20")
    assert world.machine.registry(APPS)["DisplayVersion"] == world.tideover("--version").split()[-1]
    assert f"{PROGRAMS}\\bin" in world.machine.registry(SYSTEM_PATH)["PATH"]
    libraries = {path.name.partition("-")[0].replace("_", "-") for path in world.machine.path(PROGRAMS).glob("python/Lib/site-packages/*.dist-info")}
    assert libraries == imported() - OPTIONAL | NEEDED_BY_THEM, "what is imported, what that needs, and no more"
    status = json.loads(world.tideover("status", "--json"))
    assert status["agent"]["alive"] is True
    assert f"active (running), started at boot: {service['ImagePath']}" in world.tideover("service", "status")
    [resident_kb] = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{world.pids[0]}/status").read_text())
    print(f"\nsilent installation until RUNNING: {took_s:.1f} s; resident, with Wine's own libraries: {int(resident_kb) // 1024} MiB")


def test_a_folder_that_has_files_and_is_no_installation_is_refused_untouched(world):
    """Also one that looks like an installation: nothing in it is run, replaced or taken from its owner."""
    if world.is_installed():
        assert world.uninstall() == 0
    mine = {"C:\\mine\\letter.txt": "mine", "C:\\mine\\python\\python.exe": "no program"}
    for name, text in mine.items():
        world.machine.put(name, text)
    status, _ = world.machine.status_and_words(world.installer, "/S", "/D=C:\\mine")
    assert status == 3
    assert {name: world.machine.text(name) for name in mine} == mine
    assert len(list(world.machine.path("C:\\mine").rglob("*"))) == 3, "the two files and the one folder"
    assert [world.machine.registry(key) for key in (SERVICE, APPS)] == [{}, {}] and world.pids == []


def test_the_event_log_has_a_source_with_its_texts(world):
    world.begin()
    source = world.machine.registry(SOURCE)
    assert source == {"EventMessageFile": f"{PROGRAMS}\\bin\\{SERVICE_PROGRAM}", "TypesSupported": "0x7"}
    assert world.machine.run(PYTHON, "-I", "-c", READS_ITS_TEXT, source["EventMessageFile"]).split("\n")[0] == "a line a line"
    world.until(lambda: "info agent.started version=" in world.machine.events())


def test_a_whole_event_with_a_real_stop_of_the_process(world):
    """From notice to record: prepared, acknowledged, stopped for three seconds, recovered when the clock is good."""
    world.begin()
    event = world.with_an_open_event(duration_s=5)
    world.metadata.start_event(event)
    world.await_status("started")
    [pid] = world.pids
    os.kill(pid, signal.SIGSTOP)
    world.clock.offset_s = 4.0          # the machine's clock has fallen behind, as outside time sees it
    time.sleep(PAUSE_S)
    os.kill(pid, signal.SIGCONT)
    world.await_status("checking-clock")
    time.sleep(1)
    assert world.lines() == ["prepare freeze"]
    world.clock.offset_s = 0.0
    world.until(lambda: len(world.lines()) == 2)
    world.metadata.remove_event(event)
    record = world.await_status("closed")
    assert world.lines() == ["prepare freeze", "recover freeze resumed good"]
    assert record["outcome"] == "resumed" and [answer.event_id for answer in world.metadata.acknowledgements] == [event]
    assert [(hook["name"], hook["phase"], hook["outcome"]) for hook in record["hooks"]] == [
        ("first", "prepare", "done"), ("first", "recover", "done")]
    longest = max(record["pauses"], key=lambda pause: pause["length_s"])
    assert PAUSE_S - longest["uncertainty_s"] - 0.1 <= longest["length_s"] <= PAUSE_S + longest["uncertainty_s"] + 1.0
    assert record["clock"]["verdict"] == "good"
    assert min(sample["offset_s"] for sample in record["clock"]["samples"]) < -3.5
    assert abs(record["clock"]["offset_s"]) <= record["clock"]["error_bound_s"] + 0.1
    print(f"\npause of {PAUSE_S} s measured as {longest['length_s']:.3f} ± {longest['uncertainty_s']:.3f} s ({longest['cause']})")


def test_a_stop_and_a_start_in_the_middle_of_an_event_keep_what_is_prepared(world):
    world.begin()
    event = world.with_an_open_event()
    world.stop()
    world.start()
    world.await_status("acknowledged")
    assert world.lines() == ["prepare freeze"]
    world.metadata.remove_event(event)
    world.await_status("closed")
    assert world.lines() == ["prepare freeze", "recover freeze cancelled unknown"] or \
        world.lines() == ["prepare freeze", "recover freeze cancelled good"]
    assert len(world.metadata.acknowledgements) == 1


def test_a_stop_of_the_service_recovers_first_if_the_owner_says_so(world):
    world.begin(RECOVERS_AT_STOP)
    world.with_an_open_event()
    world.stop()
    assert [line.rsplit(" ", 1)[0] for line in world.lines()[1:]] == ["recover freeze cancelled"]


def test_an_event_open_over_a_reboot_is_recovered_after_it_and_the_service_is_back(world):
    """Wine's power fails without a word, which is the harder case."""
    world.begin(RECOVERS_AT_STOP)
    event = world.with_an_open_event("Reboot")
    world.metadata.start_event(event)
    world.await_status("started")
    asked = len(world.metadata.requests)
    world.machine.reboot()
    world.until(lambda: world.state == "RUNNING" and len(world.metadata.requests) > asked + 1, DELAYED_START_S)
    world.until(lambda: len(world.lines()) == 2)
    world.metadata.remove_event(event)
    record = world.await_status("closed")
    assert world.lines()[0] == "prepare reboot" and world.lines()[1].startswith("recover reboot restarted")
    assert record["outcome"] == "restarted" and len(world.metadata.acknowledgements) == 1


def test_an_agent_killed_during_prepare_leaves_no_hook_running_and_its_successor_recovers_it(world):
    """Wine restarts nothing that crashed (the recovery actions are Windows' part), so it is started by hand."""
    world.begin()
    world.stop()
    world.hook("10-first.cmd", f"@echo off\n>>{LINES} echo %1 begins\n"
               f'if %1==prepare if not exist C:\\killed.txt "{PYTHON}" -c "import time; time.sleep(120)"\n'
               f">>{LINES} echo %1 ends\n")
    world.machine.path("C:\\killed.txt").unlink(missing_ok=True)
    world.start()
    event = world.metadata.add_event("Freeze", not_before_in_s=600)
    world.until(lambda: world.lines() == ["prepare begins"] and world.machine.processes("python.exe"))
    world.machine.put("C:\\killed.txt", "")
    world.machine.kill(SERVICE_PROGRAM)
    world.until(lambda: not world.machine.processes("python.exe"))
    world.start()
    world.until(lambda: world.metadata.acknowledgements)
    world.metadata.remove_event(event)
    world.await_status("closed")
    assert world.lines() == ["prepare begins", "prepare begins", "prepare ends", "recover begins", "recover ends"]


def test_an_upgrade_in_the_middle_of_an_event_fires_no_hook_and_keeps_the_configuration(world):
    """Although the owner wants recovery when the service is stopped: it is started again at once."""
    world.begin(RECOVERS_AT_STOP)
    event = world.with_an_open_event()
    configuration = world.machine.text(f"{HOME}\\tideover.toml")
    stale = world.machine.path(f"{PROGRAMS}\\python\\Lib\\site-packages\\tideover\\of_an_older_version.py")
    stale.write_text("")
    [before] = world.pids
    said = world.machine.events()
    world.install()
    assert world.state == "RUNNING" and world.pids != [before]
    world.await_status("acknowledged")
    time.sleep(1)
    assert world.lines() == ["prepare freeze"] and "agent.stopping-with-hooks-prepared reason=restart" in world.said_since(said)
    assert world.machine.text(f"{HOME}\\tideover.toml") == configuration and not stale.exists()
    world.metadata.start_event(event)
    world.await_status("started")
    world.metadata.remove_event(event)
    world.await_status("closed")
    assert world.lines()[1].startswith("recover freeze resumed") and len(world.metadata.acknowledgements) == 1


def test_an_upgrade_leaves_a_service_stopped_that_its_owner_had_stopped(world):
    world.begin()
    world.stop()
    world.install()
    assert world.state == "STOPPED"


def test_a_new_version_that_cannot_start_gives_the_old_one_back(world):
    """Here: because of the configuration, which the old one has read before it became faulty."""
    world.begin()
    [before] = world.pids
    old = world.machine.path(f"{PROGRAMS}\\python\\Lib\\site-packages\\tideover\\of_the_old_version.py")
    old.write_text("")
    world.machine.put(f"{HOME}\\tideover.toml", "[hooks]\ntimeoutt = 3\n")
    status, _ = world.machine.status_and_words(world.installer, "/S")
    assert status == 3
    assert old.exists() and not world.machine.path(f"{PROGRAMS}\\before").exists()
    assert world.pids != [before] and "hooks.timeoutt" in world.machine.events()
    world.configure()
    world.start()
    assert world.state == "RUNNING"


def test_a_faulty_configuration_keeps_the_service_from_starting_and_the_event_log_says_why(world):
    world.begin()
    world.stop()
    world.machine.put(f"{HOME}\\tideover.toml", "[hooks]\ntimeoutt = 3\n")
    said = world.machine.events()
    status, words = world.machine.status_and_words(f"{PROGRAMS}\\bin\\tideover.exe", "service", "start")
    assert (status, words.count("ended as soon as it was started")) == (1, 1)
    world.until(lambda: world.state == "STOPPED" and world.pids == [])
    assert json.loads(world.tideover("service", "status", "--json", check=False))["state"] == "failed"
    assert "hooks.timeoutt" in world.said_since(said)


def test_the_hook_library_is_there_and_what_is_enabled_from_it_is_accepted(world):
    world.begin()
    world.tideover("hooks", "enable", "lb-health")
    listed = json.loads(world.tideover("hooks", "list", "--json"))["hooks"]
    assert [hook["name"] for hook in listed] == ["first", "lb-health"]
    world.tideover("hooks", "check")
    assert "nothing was prepared" in world.tideover("hooks", "run", "lb-health", "recover")
    world.tideover("hooks", "disable", "lb-health")
    assert len(json.loads(world.tideover("hooks", "list", "--json"))["hooks"]) == 1


def test_a_change_of_parameters_applies_a_changed_configuration(world):
    world.begin()
    [before] = world.pids
    said = world.machine.events()
    world.configure('[hooks]\ntimeout = "7s"')
    world.machine.run(PYTHON, "-I", "-c", "import win32serviceutil; win32serviceutil.ControlService('tideover', 6)")
    world.until(lambda: "configuration.read" in world.said_since(said))
    assert world.pids == [before] and world.state == "RUNNING"


def test_removal_recovers_what_is_prepared_and_leaves_configuration_and_journal_only(world):
    world.begin()
    world.with_an_open_event()
    assert world.uninstall() == 0
    assert [line.rsplit(" ", 1)[0] for line in world.lines()[1:]] == ["recover freeze cancelled"]
    assert (world.state, world.pids, world.is_installed()) == ("", [], False)
    assert [world.machine.registry(key) for key in (SERVICE, SOURCE, APPS)] == [{}, {}, {}]
    assert "tideover" not in world.machine.registry(SYSTEM_PATH)["PATH"]
    assert {entry.name for entry in world.machine.path(HOME).iterdir()} == {"tideover.toml", "hooks.d", "state"}
    assert traces(world) == {HOME.rsplit("\\", 1)[1]}


def test_a_purge_keeps_what_can_still_recover_an_application_and_says_where(world):
    """Whatever the state of the configuration; installing it again goes on with that."""
    world.begin()
    world.hook("10-first.cmd", HOOK + "@if %1==recover if not exist C:\\mended.txt exit /b 1\n")
    world.machine.path("C:\\mended.txt").unlink(missing_ok=True)
    world.with_an_open_event()
    world.machine.put(f"{HOME}\\tideover.toml", "[hooks]\ntimeoutt = 3\n")
    assert world.uninstall("/PURGE") == 0
    assert world.lines()[1].startswith("recover freeze cancelled")
    assert "first: " in world.machine.text(f"{HOME}\\state\\PENDING")
    assert {entry.name for entry in world.machine.path(HOME).iterdir()} == {"hooks.d", "state"}
    world.machine.put("C:\\mended.txt", "")
    world.install()
    world.until(lambda: len(world.lines()) == 3 and world.state == "RUNNING")
    assert world.lines()[2].startswith("recover freeze cancelled")
    assert world.uninstall("/PURGE") == 0 and not world.machine.path(HOME).exists()


def test_a_purge_leaves_nothing(world):
    world.begin()
    assert world.uninstall("/PURGE") == 0
    assert traces(world) == set() and not world.machine.path(HOME).exists()


def test_a_pip_installation_in_a_virtual_environment_has_the_same_service(world):
    """The environment's own python.exe starts the real one as a child, which no service may: so the real one is started.

    The environment is made by hand, as `python -m venv` makes it: an embeddable Python has no venv.
    """
    world.begin()
    base, home = make_environment(world)
    assert world.uninstall() == 0
    pip = (f"{base}\\python.exe", "-m", "tideover", "service")
    launcher = {"__PYVENV_LAUNCHER__": f"{home}\\Scripts\\python.exe"}      # what that launcher tells its child
    try:
        assert "is installed and enabled" in world.machine.run(*pip, "install", **launcher)
        service = world.machine.registry(SERVICE)
        door = f"{home}\\Lib\\site-packages\\tideover\\cli\\windows_service.py"
        assert service["ImagePath"] == f"{base}\\python.exe -I -X utf8 {door}"
        assert world.machine.registry(SOURCE)["EventMessageFile"] == "%SystemRoot%\\System32\\EventCreate.exe"
        asked = len(world.metadata.requests)
        world.machine.run(*pip, "start", **launcher)
        world.until(lambda: len(world.metadata.requests) > asked + 1)
        assert json.loads(world.machine.run(*pip, "status", "--json", **launcher))["state"] == "active"
        world.machine.run(*pip, "stop", **launcher)
        assert world.state == "STOPPED"
        world.machine.run(*pip, "remove", **launcher)
        assert (world.state, world.machine.registry(SOURCE)) == ("", {})
    finally:
        for place in (base, home):
            shutil.rmtree(world.machine.path(place))


def make_environment(world):
    """Return the folders of a Python and of an environment of it with tideover, made from the installer's files."""
    base, home = "C:\\Python", "C:\\environment"
    shutil.copytree(world.machine.path(f"{PROGRAMS}\\python"), world.machine.path(base))
    next(world.machine.path(base).glob("python*._pth")).unlink()
    world.machine.path(f"{home}\\Lib").mkdir(parents=True)
    world.machine.path(f"{base}\\Lib\\site-packages").rename(world.machine.path(f"{home}\\Lib\\site-packages"))
    world.machine.path(f"{home}\\Scripts").mkdir()
    shutil.copy(world.machine.path(f"{base}\\python.exe"), world.machine.path(f"{home}\\Scripts\\python.exe"))
    world.machine.put(f"{home}\\pyvenv.cfg", f"home = {base}\ninclude-system-site-packages = false\n")
    return base, home


def test_the_installers_service_is_not_pips_to_touch(world):
    world.begin()
    for doing in ("install", "remove"):
        status, said = world.machine.status_and_words(f"{PROGRAMS}\\bin\\tideover.exe", "service", doing)
        assert status == 2 and "another installation" in said, said
    assert world.state == "RUNNING"


def traces(world):
    """What lies where programs leave things, but for temporary files."""
    places = [world.machine.path(f"C:\\{place}") for place in ("Program Files", "ProgramData", "windows", "windows\\system32")]
    return {entry.name for place in places for entry in place.iterdir() if re.search("tideover", entry.name, re.IGNORECASE)}
