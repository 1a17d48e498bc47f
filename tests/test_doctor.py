"""The doctor on played machines: a tree of files, a real metadata service, a real time server."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clock_played import machine
from tideover.api.protocol import ApiServer
from tideover.cli import main
from tideover.cli.doctor import examination_lines
from tideover.config_file import Loaded
from tideover.daemon.policy_source import catalogue_of
from tideover.doctor import Examination, FindingLevel, Machine, examine
from tideover.doctor.machine import ProcessInfo, list_processes
from tideover.journal import FILE, Journal
from tideover.lifecycle import Entry, HookState, Stage, State as Memory
from tideover.model import EntryKind, HookSpec, Moment, utc
from tideover.pause import MachineClocks
from tideover.settings import LINUX, read
from tideover.simulator import InjectedFault, MetadataService, TimeServer
from tideover.status import status_of
from tideover.system.file_lock import Lock

AZURE = {
    "/sys/class/dmi/id/chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n",
    "/sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "/sys/class/dmi/id/product_name": "Virtual Machine\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hyperv_clocksource_tsc_page\n",
    "/proc/stat": "ctxt 1\n",
}
CHRONY = {
    "/run/chrony/chronyd.pid": "7\n", "/proc/7/comm": "chronyd\n", "/proc/7/cmdline": "/usr/sbin/chronyd\0-F\x001\0",
    "/etc/chrony/chrony.conf": "confdir /etc/chrony/conf.d\nmakestep 1.0 -1\nserver 127.0.0.1 port 1 iburst maxpoll 6\n",
}
KILLED: list[Journal] = []
LONG_PAST = utc(1_795_000_000)


class Patient:
    """One played machine with an owner's settings."""

    def __init__(self, home: Path) -> None:
        self.home, self.files, self.more = home, {**AZURE, **CHRONY}, ""
        self.source, self.servers, self.clock = "", "", ""
        self.environment: dict[str, str] = {}
        self.hostname, self.user_id = "vm-1", 0
        (home / "hooks.d").mkdir()

    def hook(self, file: str, mode: int = 0o755) -> None:
        (self.home / "hooks.d" / file).write_text("#!/bin/sh\n")
        (self.home / "hooks.d" / file).chmod(mode)

    def loaded(self) -> Loaded:
        text = (f'[source]\n{self.source}\n[clock]\nservers = [{self.servers}]\n{self.clock}\n[paths]\nhooks = "{self.home}/hooks.d"\n'
                f'state = "{self.home}/state"\nruntime = "{self.home}/run"\n{self.more}')
        reading = read(text, file="t", defaults=LINUX)
        return Loaded(reading.settings, self.home / "t", reading.origin)

    def machine(self) -> Machine:
        (self.home / "root").mkdir(exist_ok=True)
        return Machine(machine(self.home / "root", self.files), self.environment, self.hostname, self.user_id,
                       self.list_processes)

    def list_processes(self):
        """Those of its files below /proc."""
        pids = sorted({int(path.split("/")[2]) for path in self.files if path.startswith("/proc/") and path.split("/")[2].isdecimal()})
        return [ProcessInfo(pid, self.files.get(f"/proc/{pid}/comm", "").strip(),
                            tuple(self.files.get(f"/proc/{pid}/cmdline", "").rstrip("\0").split("\0"))) for pid in pids]

    def examined(self, wait_s: float = 5.0) -> Examination:
        loaded = self.loaded()
        return examine(loaded, catalogue_of(loaded.settings), self.machine(), wait_s)


@pytest.fixture
def patient(tmp_path):
    return Patient(tmp_path)


@pytest.fixture
def nobody(patient):
    """A machine on which no time source is asked: for what stands in its files alone."""
    patient.source = 'kind = "none"'
    return patient


def told(found: Examination, topic: str, state: FindingLevel | None = None) -> str:
    return "\n".join(f"{one.what} | {one.do}" for one in found.findings
                     if one.topic == topic and state in (None, one.state))


def tree(home: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in home.rglob("*")}


def test_all_is_well_on_an_azure_machine_with_service_server_daemon_and_hook(patient):
    with MetadataService("vm-1") as service, TimeServer() as server:
        patient.source, patient.servers = f'endpoint = "{service.endpoint}"', f'"{server.address}"'
        patient.hook("20-web")
        found = patient.examined()
    assert found.is_well, [one for one in found.findings if one.state is FindingLevel.BAD]
    assert "asset tag" in told(found, "source") and "have a Date" in told(found, "metadata", FindingLevel.GOOD)
    assert "up to 2 minutes" in told(found, "metadata")
    assert told(found, "name", FindingLevel.GOOD).startswith("events call this VM vm-1, as its hostname")
    assert told(found, "events", FindingLevel.GOOD) and told(found, "proxy", FindingLevel.GOOD) and told(found, "others", FindingLevel.GOOD)
    assert server.address in told(found, "time sources") and "the configuration" in told(found, "time sources")
    assert "the clock is good" in told(found, "clock", FindingLevel.GOOD)
    assert told(found, "time daemon", FindingLevel.NOTE) == "chrony does not report whether it is synchronised (it does not answer)" \
        " | Check that chrony runs and that its servers answer."
    assert "1 of 1" in told(found, "hooks") and "not running" in told(found, "agent")


def test_what_is_bad_says_what_to_do_and_every_line_is_one_line(patient):
    """Also on a machine with nothing at all, whose words are hostile."""
    patient.files = {"/sys/devices/system/clocksource/clocksource0/current_clocksource": "\x1b[31mhpet\nx"}
    found = patient.examined()
    assert not found.is_well and len(found.findings) > 8
    for one in found.findings:
        assert one.do or one.state is not FindingLevel.BAD, one
        assert (one.what + one.do).isprintable() and one.what, one


def test_the_promises_say_what_can_be_seen_calm_and_close(patient):
    with MetadataService("vm-1") as service, TimeServer() as server:
        patient.source, patient.servers = f'endpoint = "{service.endpoint}"', f'"{server.address}"'
        sentences = [one.sentence for one in patient.examined().guarantees]
    assert len(sentences) == 4 and sum(one.startswith("while an event is near") for one in sentences) == 2
    assert all("cannot" not in one for one in sentences)
    close = sentences[3]
    assert "pause with stopped clocks: pauses of 500 ms or more are detected within 16.05 s" in close and server.address in close


def test_a_rate_limited_server_promises_no_more_than_it_may_be_asked_for(nobody):
    """One of the time daemon's is asked every 15 s at most, so a pause shows within two of those."""
    with TimeServer() as server:
        nobody.files["/etc/chrony/chrony.conf"] = f"makestep 1 -1\nserver {server.host} port {server.port} maxpoll 6\n"
        found = nobody.examined()
    assert "detected within 30.05 s" in found.guarantees[3].sentence and "the time daemon's servers" in told(found, "time sources")


def test_the_date_of_the_services_answers_is_outside_time_too(patient):
    patient.files.pop("/etc/chrony/chrony.conf")
    with MetadataService("vm-1") as service:
        patient.source = f'endpoint = "{service.endpoint}"'
        assert "by the metadata service's Date" in patient.examined().guarantees[1].sentence
        service.sends_date = False
        assert "not detectable" in patient.examined().guarantees[1].sentence


def test_where_no_time_source_answers_a_frozen_pause_cannot_be_seen_and_that_is_reported(nobody):
    nobody.files.pop("/etc/chrony/chrony.conf")
    found = nobody.examined()
    assert "can neither be detected nor measured" in told(found, "pauses", FindingLevel.BAD)
    assert "no time source can be queried" in told(found, "clock", FindingLevel.BAD)
    assert [one.shortest_s is None for one in found.guarantees] == [False, True]


def test_a_server_that_does_not_count_is_named_and_the_clock_cannot_be_checked(nobody):
    with TimeServer(stratum=16) as server:
        nobody.servers = f'"{server.address}"'
        found = nobody.examined()
    assert f"{server.address} is not used" in told(found, "time sources", FindingLevel.NOTE)
    assert "cannot be checked" in told(found, "clock", FindingLevel.BAD)


def test_a_wrong_clock_is_bad(nobody):
    with TimeServer(4.0) as server:
        nobody.servers = f'"{server.address}"'
        found = nobody.examined()
    assert "the clock is bad: 4.0" in told(found, "clock", FindingLevel.BAD)


@pytest.mark.slow
def test_a_service_that_never_answers_delays_no_other_check(patient):
    with MetadataService("vm-1") as service:
        service.inject_fault(InjectedFault(delay_s=30.0), path="/metadata", times=None)
        patient.source = f'endpoint = "{service.endpoint}"'
        began_s = time.monotonic()
        found = patient.examined(wait_s=0.2)
        took_s = time.monotonic() - began_s
        service.clear_faults()
    assert took_s < 3.0
    assert "has not answered" in told(found, "metadata", FindingLevel.BAD) and "2 minutes" in told(found, "metadata")
    assert told(found, "proxy") and told(found, "hooks"), "the rest is looked at all the same"


def test_another_programs_answer_in_the_services_place_is_bad(patient):
    with MetadataService("vm-1") as service:
        service.inject_fault(InjectedFault(status=407), path="/metadata", times=None)
        patient.source = f'endpoint = "{service.endpoint}"'
        found = patient.examined()
    assert "answered 407" in told(found, "metadata", FindingLevel.BAD) and not told(found, "name")


@pytest.mark.parametrize("path", ["/metadata", "/metadata/scheduledevents"])
def test_a_403_is_shown_as_what_azures_metadata_security_protocol_may_say_with_what_to_allow(patient, path):
    with MetadataService("vm-1") as service:
        service.inject_fault(InjectedFault(status=403), path=path, times=None)
        patient.source = f'endpoint = "{service.endpoint}"'
        said = told(patient.examined(), "metadata", FindingLevel.BAD)
    assert "answered 403" in said and "Metadata Security Protocol" in said
    for allowed in ("/metadata/scheduledevents", "/metadata/instance/compute", str(Path(sys.executable).resolve()), "exePath"):
        assert allowed in said


def test_a_list_of_events_that_is_not_whole_is_noted(patient):
    with MetadataService("vm-1") as service:
        service.inject_fault(InjectedFault(body=b'{"DocumentIncarnation":1,"Events":[{"EventId":null}]}'), path="/metadata/scheduledevents",
                          times=None)
        patient.source = f'endpoint = "{service.endpoint}"'
        noted = told(patient.examined(), "metadata", FindingLevel.NOTE)
    assert "entry 1 of the list of events has no usable EventId" in noted and "no event is considered removed" in noted


def test_the_name_is_compared_with_the_hostname_and_with_the_configured_one(patient):
    """The hostname is a trap of other programs, so a note; a wrong vm_name makes every event another VM's."""
    patient.hostname = "web000003"
    with MetadataService("web_3") as service:
        patient.source = f'endpoint = "{service.endpoint}"'
        assert "web_3, its hostname is web000003" in told(patient.examined(), "name", FindingLevel.NOTE)
        patient.source += '\nvm_name = "web000003"'
        assert "calls this VM web_3" in told(patient.examined(), "name", FindingLevel.BAD)
        patient.source = f'endpoint = "{service.endpoint}"\nvm_name = "WEB_3"'
        assert not told(patient.examined(), "name", FindingLevel.BAD)


def test_what_is_announced_now_is_reported(patient):
    with MetadataService("vm-1") as service:
        patient.source = f'endpoint = "{service.endpoint}"'
        mine = service.add_event("Freeze", resources=["vm-1", "vm-2"])
        others = service.add_event("Reboot", resources=["vm-2"])
        service.start_event(others)
        lines = told(patient.examined(), "events", FindingLevel.NOTE).splitlines()
    assert lines[0].startswith(f"freeze {mine}, for this VM and 1 more, not before 20")
    assert lines[1].startswith(f"reboot {others}, for other VMs only, it has started")


def test_a_service_without_a_date_or_with_another_time_is_noted(patient):
    with MetadataService("vm-1") as service:
        patient.source = f'endpoint = "{service.endpoint}"'
        service.platform_ahead_s = 60.0
        assert told(patient.examined(), "metadata", FindingLevel.NOTE).split(" | ")[0].endswith("s behind")
        service.sends_date = False
        assert "have no Date" in told(patient.examined(), "metadata", FindingLevel.NOTE)


def test_proxies_are_named_without_their_passwords_unless_the_address_is_spared(nobody):
    nobody.environment = {"HTTP_PROXY": "http://user:secret@proxy:3128"}
    nobody.files["/etc/environment"] = 'http_proxy="http://user:secret@proxy:3128"\nNO_PROXY=10.0.0.0/8, 169.254.169.254\n'
    said = told(nobody.examined(), "proxy", FindingLevel.NOTE)
    assert said.startswith("HTTP_PROXY is set in this environment") and "secret" not in said and "/etc/env" not in said


@pytest.mark.parametrize(("line", "says", "do"), [
    ("makestep 1.0 3", "only in its first updates", "makestep 1.0 -1"),
    ("makestep 0.1 3\nmakestep 1 -1", "", ""),
    ("!makestep 1 3", "", ""),
    ("server b maxpoll 10\nserver c", "", ""),
], ids=["limit", "the last counts", "comment", "one near source is enough"])
def test_chronys_settings_that_hurt_after_a_pause(nobody, line, says, do):
    nobody.files["/etc/chrony/conf.d/own.conf"] = line
    nobody.files["/etc/chrony/chrony.conf"] = "makestep 1 -1\nconfdir /etc/chrony/conf.d\nserver 127.0.0.1 port 1 maxpoll 6\n"
    said = told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    assert (says in said and do in said) if says else ("makestep" not in said and "maxpoll" not in said)


def test_chrony_that_never_steps_measures_seldom_and_leaves_the_hypervisors_clock_alone(nobody):
    nobody.files["/etc/chrony/chrony.conf"] = "pool 127.0.0.1 iburst\n"
    nobody.files["/sys/class/ptp/ptp0/clock_name"] = "hyperv\n"
    said = told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    assert "no makestep" in said and "every 17 min 4 s" in said and "five or six polls" in said
    assert "refclock PHC /dev/ptp_hyperv poll 3" in said and 'remedy = "daemon"' in said
    nobody.files["/etc/chrony/chrony.conf"] = "refclock PHC /dev/ptp_hyperv poll 3\nmakestep 1 -1\nserver 127.0.0.1\n"
    said = told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    assert "refclock" not in said and "maxpoll" not in said


def test_a_configuration_that_chronyd_was_given_by_hand_is_the_one_that_counts(nobody):
    nobody.files["/proc/7/cmdline"] = "chronyd\0-f\0/opt/own.conf\0"
    nobody.files["/opt/own.conf"] = "makestep 1 3\nserver 127.0.0.1 maxpoll 5\n"
    assert "makestep 1 3" in told(nobody.examined(), "time daemon", FindingLevel.NOTE)


def test_files_that_cannot_even_be_looked_at_stop_no_check(nobody):
    """A name that is too long stands for a folder this user may not enter: asking whether it is there is an error."""
    nobody.files["/proc/7/cmdline"] = f"chronyd\0-f\0/{'x' * 300}\0"
    nobody.files["/etc/chrony/chrony.conf"] = "makestep 1 3\n"
    assert "makestep 1 3" in told(nobody.examined(), "time daemon", FindingLevel.NOTE)


def test_the_remedy_makes_up_for_chronys_settings(nobody):
    nobody.files["/etc/chrony/chrony.conf"] = "pool 127.0.0.1 iburst\n"
    nobody.clock = 'remedy = "daemon"'
    said = told(nobody.examined(), "time daemon", FindingLevel.GOOD)
    assert "measure again" in said and "makestep" not in told(nobody.examined(), "time daemon")


def test_timesyncd_that_measures_seldom(nobody):
    for name in CHRONY:
        nobody.files.pop(name)
    nobody.files |= {"/run/systemd/timesync/x": "", "/usr/lib/systemd/timesyncd.conf": "[Time]\n#PollIntervalMaxSec=32\n"}
    assert "every 34 min 8 s" in told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    nobody.files["/etc/systemd/timesyncd.conf"] = "[Time]\nPollIntervalMaxSec=10min\n"
    nobody.files["/etc/systemd/timesyncd.conf.d/z.conf"] = "[Time]\nFallbackNTP=127.0.0.1\n"
    assert "every 10 min" in told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    nobody.files["/etc/systemd/timesyncd.conf.d/own.conf"] = "[Time]\nPollIntervalMaxSec=1min 4s\n"
    assert "PollInterval" not in told(nobody.examined(), "time daemon")


def test_no_time_daemon_and_two_of_them_are_bad(nobody):
    nobody.files |= {"/proc/8/comm": "systemd-timesyn\n", "/proc/8/cmdline": "/lib/systemd/systemd-timesyncd\0"}
    assert "chrony and systemd-timesyncd run at the same time" in told(nobody.examined(), "time daemon", FindingLevel.BAD)


def test_without_a_time_daemon_the_clock_stays_wrong_but_hyperv_may_put_it_right(nobody):
    for name in CHRONY:
        nobody.files.pop(name)
    assert "only the host" in told(nobody.examined(), "time daemon", FindingLevel.NOTE)
    nobody.files["/sys/class/dmi/id/sys_vendor"] = "QEMU\n"
    (nobody.home / "root").rename(nobody.home / "old")
    assert "nothing corrects the clock" in told(nobody.examined(), "time daemon", FindingLevel.BAD)


def test_hooks_that_are_not_run_are_reported_with_the_reason(nobody):
    nobody.hook("10-open", 0o757)
    nobody.hook("20-off", 0o644)
    nobody.hook("web.sh")
    nobody.more = '[hook.off]\ntimeout = "5s"\n[hook.wbe]\ntimeout = "5s"\n'
    found = nobody.examined()
    assert "written by everybody | chmod go-w" in told(found, "hooks", FindingLevel.BAD)
    noted = told(found, "hooks", FindingLevel.NOTE)
    assert "20-off is disabled" in noted and "web.sh is ignored" in told(found, "hooks", FindingLevel.BAD)
    assert "hook.wbe" in noted and "hook.off: the" not in noted and "0 of 1" in noted


def test_what_is_wrong_with_a_hook_and_what_to_do_about_it_are_two_things(nobody):
    """Also where the reason has a colon of its own, as that of an unreadable link has."""
    loop = nobody.home / "hooks.d" / "10-loop"
    loop.symlink_to(loop)
    found = nobody.examined()
    bad = next(one for one in found.findings if one.topic == "hooks" and one.state is FindingLevel.BAD)
    assert bad.what.endswith("it cannot be read (Too many levels of symbolic links)")
    assert bad.do == "fix its link or its directory"


def test_no_hook_is_a_note(nobody):
    assert "nothing is prepared" in told(nobody.examined(), "hooks", FindingLevel.NOTE)


def test_timeouts_are_held_against_the_shortest_notice_of_each_kind(nobody):
    """Hooks of one NN run side by side; a kind that is not wanted or not acted on counts for nothing."""
    nobody.hook("10-a")
    nobody.hook("10-b")
    nobody.more = '[hooks]\ntimeout = "20s"\nreserve = "5s"\n'
    assert not told(nobody.examined(), "hooks", FindingLevel.NOTE)
    nobody.hook("20-c")
    assert "before a preempt (Spot VMs only) they may take 40 s" in told(nobody.examined(), "hooks", FindingLevel.NOTE)
    nobody.more += '[policy]\nact_on = ["freeze", "terminate"]\n'
    assert not told(nobody.examined(), "hooks", FindingLevel.NOTE)
    nobody.more += '[hook.c]\ntimeout = "15m"\nkinds = ["freeze"]\n'
    noted = told(nobody.examined(), "hooks", FindingLevel.NOTE)
    assert "before a freeze they may take 15 min 20 s by" in noted and "terminate" not in noted


def test_directories_that_cannot_be_used_are_bad_for_root(nobody):
    (nobody.home / "state").write_text("")
    assert "is not a directory" in told(nobody.examined(), "rights", FindingLevel.BAD)


def test_a_user_who_is_not_root_sees_what_that_means(nobody):
    nobody.user_id = 1000
    assert "sudo" in told(nobody.examined(), "rights", FindingLevel.NOTE)


def owe(home: Path, *, close: bool = True) -> None:
    """An agent that ended, or was killed, before `web` was recovered."""
    (home / "state").mkdir()
    journal = Journal(home / "state" / FILE)
    hook = HookState(HookSpec("web", 20, "/web"), Stage.PREPARED, needs_recover=True)
    journal.commit(Moment(LONG_PAST, 1.0), Memory(), Memory(hooks={"web": hook}), [Entry("e", EntryKind.NOTICED, "")])
    if close:
        journal.close()
    else:
        KILLED.append(journal)      # what is written stays in the log beside the file


def test_a_recovery_that_is_pending_while_no_agent_runs_is_bad_and_looking_writes_nothing(nobody):
    owe(nobody.home)
    before = tree(nobody.home / "state")
    found = nobody.examined()
    assert "recovery is pending for web" in told(found, "journal", FindingLevel.BAD) and "tideover recover" in told(found, "journal")
    assert tree(nobody.home / "state") == before


def test_what_a_killed_agent_left_in_the_journals_log_is_read_too(nobody):
    owe(nobody.home, close=False)
    assert "recovery is pending for web" in told(nobody.examined(), "journal", FindingLevel.BAD)


def test_an_agent_that_holds_the_state_directory_and_does_not_answer_is_bad(nobody, monkeypatch):
    monkeypatch.setattr("tideover.api.protocol.RELOAD_WAIT_S", 0.01)
    owe(nobody.home)
    lock = Lock(nobody.home / "state")
    found = nobody.examined()
    lock.release()
    assert f"process {os.getpid()} uses" in told(found, "agent", FindingLevel.BAD)
    assert not told(found, "journal", FindingLevel.BAD), "that agent may be about to recover it"


def test_an_agent_that_answers_is_believed_about_what_is_pending(nobody):
    settings = nobody.loaded().settings
    (nobody.home / "run").mkdir()
    (nobody.home / "state").mkdir()
    lock = Lock(nobody.home / "state")
    agent = {"alive": True, "pid": 77, "version": None, "started_at": None, "why": ""}
    status = status_of(Memory(), (), MachineClocks().moment()) | {
        "agent": agent, "recover_pending": ["web"], "source": None, "journal": None, "mode": "act"}
    server = ApiServer(Path(settings.paths.socket), {"status": lambda _: {"ok": True, "status": status}})
    found = nobody.examined()
    server.close()
    lock.release()
    assert told(found, "agent", FindingLevel.GOOD).startswith("it runs (process 77)")
    assert "pending for web: the agent retries it" in told(found, "agent", FindingLevel.NOTE)


def test_applications_whose_user_does_not_exist_or_that_are_not_connected_are_named(nobody):
    nobody.more = ('[application.media]\nuser = "no-such-user"\n[application.feed]\n[application.trade]\nabsent = "fail"\n'
                   '[application.here]\n')
    alone = told(nobody.examined(), "applications")
    assert "[application.media]: its user no-such-user does not exist" in alone and "feed" not in alone
    settings = nobody.loaded().settings
    (nobody.home / "run").mkdir()
    (nobody.home / "state").mkdir()
    lock = Lock(nobody.home / "state")
    agent = {"alive": True, "pid": 77, "version": None, "started_at": None, "why": ""}
    status = status_of(Memory(), (), MachineClocks().moment()) | {
        "agent": agent, "applications": ["here"], "applications_never_connected": ["feed"], "source": None, "journal": None, "mode": "act"}
    server = ApiServer(Path(settings.paths.socket), {"status": lambda _: {"ok": True, "status": status}})
    found = nobody.examined()
    server.close()
    lock.release()
    good = told(found, "applications", FindingLevel.GOOD)
    assert f"they connect at {nobody.home / 'run/applications/socket'}" in good and "here is connected" in good
    noted = told(found, "applications", FindingLevel.NOTE)
    assert "feed has not connected since the agent's start, so nothing of it is prepared" in noted
    assert "trade is not connected, which counts as a preparation that failed" in noted and "media" not in noted


def test_cautions_about_the_configuration_are_repeated(nobody):
    nobody.source += '\npoll = "20s"'
    assert "source.poll" in told(nobody.examined(), "configuration", FindingLevel.NOTE)


def test_a_damaged_journal_is_bad(nobody):
    (nobody.home / "state").mkdir()
    (nobody.home / "state" / FILE).write_bytes(b"no database" * 1000)
    assert "cannot be read" in told(nobody.examined(), "journal", FindingLevel.BAD)


@pytest.mark.parametrize(("files", "name"), [
    ({"/proc/9/comm": "azure-scheduled", "/proc/9/cmdline": "/usr/local/bin/azure-scheduledevents-manager\0--vm\0"},
     "azure-scheduledevents-manager runs (process 9)"),
    ({"/proc/9/comm": "python3", "/proc/9/cmdline": "python3\0-u\0/opt/x/scheduled_events.py\0"},
     "a client of Scheduled Events runs"),
    ({"/proc/9/comm": "node-problem-de", "/proc/9/cmdline": "/node-problem-detector\0"}, "node-problem-detector runs"),
    ({"/etc/systemd/system/drain.service": "[Service]\nDescription=x\nExecStart=-aks-node-termination-handler --x\n"},
     "aks-node-termination-handler is installed (unit drain.service)"),
    ({"/lib/systemd/system/ScheduledEvents.service": ""}, "a client of Scheduled Events is installed"),
    ({"/var/lib/pacemaker/cib/cib.xml": '<primitive id="a" class="ocf" type="azure-events-az">'},
     "azure-events of Pacemaker is a resource"),
], ids=["manager", "sample", "npd", "unit", "unit name", "cluster"])
def test_other_programs_that_acknowledge_are_named(nobody, files, name):
    nobody.files |= files
    said = told(nobody.examined(), "others", FindingLevel.NOTE)
    assert said.startswith(name) and "harmless" in said and "before these hooks have finished" in said


def test_every_process_of_this_machine_is_listed_with_its_whole_command_line():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "scheduled_events.py"])
    try:
        mine = next(one for one in list_processes() if one.pid == child.pid)
        assert mine.words[-1] == "scheduled_events.py"
    finally:
        child.kill()
        child.wait()


def test_who_reads_about_scheduled_events_is_no_client_of_them(nobody):
    nobody.files |= {f"/proc/{os.getpid()}/cmdline": "drainsafe\0", "/proc/9/comm": "vim", "/proc/9/cmdline": "vim\0scheduled_events.py\0",
                     "/proc/10/comm": "mechanics", "/proc/10/cmdline": "/bin/mechanics\0",
                     "/lib/systemd/system/t.service": "[Unit]\nDescription=drainsafe\nDocumentation=/opt/drainsafe\n[Service]\nExecStart=/bin/true\n"}
    assert told(nobody.examined(), "others", FindingLevel.GOOD)


def test_a_machine_that_is_no_vm_of_azures_is_reported_as_such_unless_the_configuration_names_it(patient):
    patient.files = {}
    assert "no events can be received" in told(patient.examined(), "source", FindingLevel.BAD)
    patient.source = 'kind = "none"'
    assert told(patient.examined(), "source", FindingLevel.NOTE).startswith("none, set by")
    patient.source, patient.files = "", {key: value for key, value in AZURE.items() if "asset" not in key}
    assert told(patient.examined(), "source", FindingLevel.NOTE).startswith("hyperv, because")


@pytest.mark.parametrize(("tables", "level", "named"), [
    ({"chassis_asset_tag": "OracleCloud.com", "sys_vendor": "QEMU"}, FindingLevel.NOTE, "Oracle Cloud: no events"),
    ({"product_name": "Alibaba Cloud ECS"}, FindingLevel.NOTE, "Alibaba Cloud: no events"),
    ({"sys_vendor": "Hetzner"}, FindingLevel.NOTE, "Hetzner Cloud: no events"),
])
def test_a_platform_that_is_recognised_and_not_served_is_named_with_the_reason(patient, tables, level, named):
    patient.files = {f"/sys/class/dmi/id/{name}": text for name, text in tables.items()}
    said = told(patient.examined(), "source", level)
    assert named in said and "no events can be received" in said and said.startswith("none, because")


def test_lines_fit_a_narrow_terminal_and_are_left_whole_without_one(nobody):
    found = nobody.examined()
    assert all(len(line) <= 80 for line in examination_lines(found, 80) if "/" not in line)
    whole = examination_lines(found, None)
    assert sum(one.what in line for one in found.findings for line in whole) >= len(found.findings)
    assert "problem" in whole[-1]


def test_the_command_prints_one_document_and_ends_by_what_it_found(nobody, capsys, tmp_path):
    nobody.loaded()
    file = tmp_path / "t.toml"
    file.write_text(f'[source]\nkind = "none"\n[clock]\nservers = ["127.0.0.1:1"]\n[paths]\nhooks = "{tmp_path}/hooks.d"\n'
                    f'state = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    before = tree(tmp_path)
    assert main(["doctor", "--json", "--config", str(file)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"schema", "findings", "guarantees"}
    assert {frozenset(one) for one in document["findings"]} == {frozenset({"topic", "state", "what", "do"})}
    assert {one["state"] for one in document["findings"]} <= {"good", "note", "bad"}
    assert all(one["sentence"] for one in document["guarantees"])
    assert tree(tmp_path) == before


def test_a_faulty_configuration_is_reported_with_its_faults_and_the_rest_is_looked_at_all_the_same(tmp_path):
    from tideover.errors import ConfigurationError
    patient = Patient(tmp_path)
    patient.source = 'kind = "none"'
    loaded = replace(patient.loaded(), trouble=ConfigurationError("t", ("line 3: hooks.timeoutt: unknown key",)))
    found = examine(loaded, catalogue_of(loaded.settings), patient.machine(), wait_s=2.0)
    told = [one for one in found.findings if one.topic == "configuration"]
    assert [one.state for one in told] == [FindingLevel.BAD] and "line 3: hooks.timeoutt" in told[0].what
    assert {"agent", "hooks"} <= {one.topic for one in found.findings}
