"""The time daemon as context and as what is acted on: what it believes, how old that is, and what makes it measure again."""
from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from clock_played import NOWHERE, PlayedClocks, machine, owner, settings_for, until, workers
from tideover.clock.convergence import agrees_with
from tideover.clock.daemons import chrony, find_daemon
from tideover.clock.daemons.chrony import Chrony
from tideover.clock.daemons.ntpd import Ntpd
from tideover.clock.daemons.timesyncd import Timesyncd
from tideover.clock.host import KernelClock, read_kernel_clock, run_command
from tideover.clock.on_demand import check_now
from tideover.clock.types import CommandResult, DaemonReport
from tideover.clock.verdict import age_text, daemon_text
from tideover.model import Verdict, utc
from tideover.system.clocks import MachineClocks
from tideover.timekeeping.intervals import NS, Interval
from time_faults import TimeServer

NOW_S = 1_795_200_000.0


# --- chrony ---------------------------------------------------------------------------------------------------------

class FakeChrony:
    """chrony's monitoring port on loopback, with packets laid out by hand after candm.h."""

    def __init__(self) -> None:
        self.correction = self.float_of(68, -20)           # 68 · 2^-20 s, about 65 µs; positive: the clock is behind
        self.updated_s, self.leap, self.reference_id = NOW_S - 30.0, 0, 0x0A000001
        self.sources: list[tuple[bytes, int, str]] = []    # address, mode, name
        self.status = 0
        self.echo: Callable[[bytes], bytes] = lambda sequence: sequence

    @staticmethod
    def float_of(coefficient: int, exponent: int) -> int:
        """coefficient · 2^exponent"""
        return ((exponent + 25) & 0x7F) << 25 | coefficient & 0x1FFFFFF

    @staticmethod
    def address(text: str) -> bytes:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        return socket.inet_pton(family, text).ljust(16, b"\0") + struct.pack("!HH", 2 if ":" in text else 1, 0)

    def answer(self, data: bytes) -> bytes:
        command = struct.unpack_from("!H", data, 4)[0]
        code, body = self._body(command, data[20:])
        head = struct.pack("!BBBBHHHHHH", 6, 2, 0, 0, command, code, self.status, 0, 0, 0)
        reply = head + self.echo(data[8:12]) + bytes(8) + body
        return reply if len(data) >= len(reply) else b""

    def _body(self, command: int, asked: bytes) -> tuple[int, bytes]:
        if command == 14:
            return 2, struct.pack("!I", len(self.sources))
        if command == 15:
            packed, mode, _ = self.sources[struct.unpack_from("!I", asked)[0]]
            return 3, packed + struct.pack("!hHHHHHI3I", 6, 2, 0, mode, 0, 0o377, 7, 0, 0, 0)
        if command == 65:
            name = next(name for packed, _, name in self.sources if packed == asked[:20])
            return 19, name.encode().ljust(256, b"\0")
        seconds, rest = divmod(self.updated_s, 1)
        floats = [self.correction, 0, 0, 0, 0, 0, self.float_of(1, -9), self.float_of(1, -10), 0]
        return 5, struct.pack("!I20sHHIII9I", self.reference_id, bytes(20), 3, self.leap, 0, int(seconds),
                              int(rest * 1e9), *floats)

    @contextmanager
    def serving(self) -> Iterator[tuple[str, int]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
            served.bind(("127.0.0.1", 0))
            thread = threading.Thread(target=self._serve, args=(served,), daemon=True)
            thread.start()
            yield served.getsockname()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", served.getsockname())
            thread.join(5)

    def _serve(self, served: socket.socket) -> None:
        while True:
            data, peer = served.recvfrom(1024)
            if data == b"end":
                return
            reply = self.answer(data)
            if reply:
                served.sendto(reply, peer)


def test_chrony_says_what_it_believes_with_its_bound(tmp_path: Path) -> None:
    """Half the root delay and the root dispersion; positive correction means behind, our sign is the other."""
    fake = FakeChrony()
    with fake.serving() as port:
        report = Chrony(machine(tmp_path, {}, chrony_monitor=port)).report()
    assert (report.name, report.is_synchronised, report.updated_at) == ("chrony", True, utc(NOW_S - 30))
    assert report.offset_s == pytest.approx(-68 / 2**20)
    assert report.bound_s == pytest.approx(1 / 2**10 + 1 / 2**10)


def test_chrony_without_a_selected_source_says_that_it_is_not_synchronised(tmp_path: Path) -> None:
    fake = FakeChrony()
    fake.leap, fake.reference_id = 3, 0
    with fake.serving() as port:
        report = Chrony(machine(tmp_path, {}, chrony_monitor=port)).report()
    assert (report.is_synchronised, report.offset_s) == (False, None)


def test_chronys_sources_are_the_addresses_it_uses_now(tmp_path: Path) -> None:
    """Without its reference clocks; a pool is known by its name there, or by its directive."""
    fake = FakeChrony()
    fake.sources = [(fake.address("10.0.0.5"), 0, "ntp.example"), (fake.address("192.0.2.1"), 0, "2.debian.pool.ntp.org"),
                    (b"PHC0".ljust(16, b"\0") + struct.pack("!HH", 1, 0), 2, ""), (fake.address("fd00::9"), 0, "six"),
                    (fake.address("192.0.2.2"), 0, "time.example"), (bytes(16) + b"\0\3\0\0", 0, "unresolved.example")]
    with fake.serving() as port:
        here = machine(tmp_path, {"/etc/chrony.conf": "pool time.example\nserver ntp.example port 1123\n"},
                       chrony_monitor=port)
        found = [(one.server, one.origin.name) for one in Chrony(here).servers()]
    assert found == [("10.0.0.5:1123", "DAEMON"), ("192.0.2.1", "POOL"), ("fd00::9", "DAEMON"), ("192.0.2.2", "POOL"),
                     ("unresolved.example", "DAEMON")]


@pytest.mark.parametrize(("word", "value"), [
    (0x00000000, 0.0), (0x02000001, 2**-24), (0xFE000001, 2**-26), (0x0BFFFFFF, -(2.0**-20)), (0x7E800000, 2.0**61),
])
def test_chronys_floats_have_signed_exponent_and_coefficient(word: int, value: float) -> None:
    assert chrony.read_float(word) == value


@pytest.mark.parametrize("spoil", ["sequence", "status", "short"])
def test_an_answer_that_is_none_of_chronys_counts_for_nothing(tmp_path: Path, spoil: str) -> None:
    fake = FakeChrony()
    if spoil == "sequence":
        fake.echo = lambda sequence: bytes(4)
    elif spoil == "status":
        fake.status = 2
    else:
        fake.answer = lambda data: b"\6\2"  # type: ignore[method-assign]
    with fake.serving() as port:
        chrony = Chrony(machine(tmp_path, {}, chrony_monitor=port, timeout_s=0.01))
        assert chrony.report() == DaemonReport("chrony", note="it does not answer")
        assert not chrony.is_running()


class Commands:
    """Answers commands and remembers them."""

    def __init__(self, answers: dict[str, CommandResult] | None = None, then: Callable[[str], None] = lambda command: None) -> None:
        self.asked: list[str] = []
        self._answers, self._then = answers or {}, then

    def __call__(self, arguments: Sequence[str]) -> CommandResult:
        command = " ".join(arguments)
        self.asked.append(command)
        self._then(command)
        return self._answers.get(command, CommandResult())


TRACKING = "0A000001,10.0.0.1,3,{updated},{correction},0,0,0,0,0,0.002,0.001,64.2,{leap}"


def tracking(updated_s: float = NOW_S, correction_s: float = 0.0, leap: str = "Normal") -> CommandResult:
    return CommandResult(TRACKING.format(updated=f"{updated_s:.9f}", correction=f"{correction_s:.9f}", leap=leap))


def test_chrony_without_a_monitoring_port_is_asked_through_chronyc(tmp_path: Path) -> None:
    """cmdport 0 is a common hardening."""
    commands = Commands({"chronyc -c tracking": tracking(correction_s=5.0)})
    here = machine(tmp_path, {"/run/chrony/chronyd.pid": "77", "/proc/77/comm": "chronyd"}, run=commands)
    report = Chrony(here).report()
    assert (report.offset_s, report.bound_s) == (-5.0, pytest.approx(0.002))


class Patient:
    """chronyd, which after `reset sources` and a burst selects its source again at the third look."""

    def __init__(self, measures_s: float) -> None:
        self.fake, self._measures_s, self.looks = FakeChrony(), measures_s, 0
        self.commands = Commands(then=self._command)

    def _command(self, command: str) -> None:
        if command == "chronyc reset sources":
            self.fake.leap, self.fake.reference_id = 3, 0

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        if self.looks == 3:
            self.fake.leap, self.fake.reference_id, self.fake.updated_s = 0, 1, NOW_S
            self.fake.correction = self.fake.float_of(int(self._measures_s * 2**20), -20)

    def heal(self, root: Path, may_step: Callable[[float], bool]) -> tuple[CommandResult, list[str]]:
        with self.fake.serving() as port:
            here = machine(root, {}, chrony_monitor=port, run=self.commands, sleep=self.sleep)
            return Chrony(here).measure_again(may_step), self.commands.asked


def test_chrony_forgets_measures_again_and_steps_only_what_it_has_measured(tmp_path: Path) -> None:
    asked: list[float] = []
    ended, commands = Patient(5.0).heal(tmp_path, lambda offset_s: bool(asked.append(offset_s)) or True)
    assert commands == ["chronyc reset sources", "chronyc burst 4/4", "chronyc makestep"]
    assert asked == [pytest.approx(-5.0)]
    assert ended == CommandResult("chrony was made to measure again (reset sources, burst 4/4) and to step the clock (makestep)")


def test_a_selection_by_old_measurements_is_no_new_one(tmp_path: Path) -> None:
    """Right after `reset sources` chronyd may still show what it knew: nothing is stepped by that."""
    patient = Patient(5.0)
    patient.commands = Commands()
    seen: list[int] = []
    patient.heal(tmp_path, lambda offset_s: bool(seen.append(patient.looks)) or True)
    assert seen == [3]


def test_chrony_is_not_made_to_step_by_what_we_do_not_see(tmp_path: Path) -> None:
    ended, commands = Patient(2.0).heal(tmp_path, lambda offset_s: False)
    assert commands == ["chronyc reset sources", "chronyc burst 4/4"]
    assert ended == CommandResult("chrony was made to measure again (reset sources, burst 4/4)")


def test_chrony_that_selects_nothing_is_reported_and_not_waited_for_for_ever(tmp_path: Path) -> None:
    patient = Patient(5.0)
    patient.looks = 100
    ended, _ = patient.heal(tmp_path, lambda offset_s: True)
    assert "has selected no source within 20 s" in ended.output
    assert patient.looks == 140


def test_a_missing_chronyc_is_reported(tmp_path: Path) -> None:
    ended = Chrony(machine(tmp_path, {})).measure_again(lambda offset_s: True)
    assert ended.trouble == "reset sources: chronyc is not installed"


def test_a_step_must_bring_the_clock_inside_by_outside_time() -> None:
    """4 s behind: a daemon that measured the same may step, one that measured 2 s may not; nor once it is good."""
    class Clocks:
        behind_ns = 4 * NS

        def raw_ns(self) -> int:
            return 100 * NS

        def wall_ns(self) -> int:
            return 600 * NS - self.behind_ns

    clocks = Clocks()
    may_step = agrees_with(Interval(500 * NS - 1000, 500 * NS + 1000), NS // 4, clocks)
    assert may_step(-4.1)
    assert not may_step(-2.0)
    assert not may_step(4.0)
    clocks.behind_ns = 0
    assert not may_step(-4.0)
    assert not may_step(0.0)


# --- the others -----------------------------------------------------------------------------------------------------

MESSAGE = ("(uuuuittayttttbtt) 0 4 4 2 -24 2000 1000 4 10 0 0 1 "
           f"{int(NOW_S * 1e6)} {int(NOW_S * 1e6) + 5_001_000} {int(NOW_S * 1e6) + 5_001_100} {int(NOW_S * 1e6) + 2_100} false 12 500")


def test_timesyncd_says_what_it_measured_last(tmp_path: Path) -> None:
    """(T2-T1 + T3-T4)/2 = 5 s behind; half the delay, half the root delay and the root dispersion around it."""
    here = machine(tmp_path, {"/run/systemd/timesync/synchronized": ""}, run=lambda arguments: CommandResult(MESSAGE))
    report = Timesyncd(here).report()
    assert (report.offset_s, report.bound_s) == (pytest.approx(-5.0), pytest.approx(0.003))
    assert (report.is_synchronised, report.updated_at) == (True, utc(NOW_S + 0.0021))


@pytest.mark.parametrize("ended", [CommandResult(trouble="busctl is not installed"), CommandResult("nonsense"), CommandResult(""),
                                   CommandResult("(uuuuittayttttbtt) 0 0 0 0 0 0 0 4 0 0 0 0 0 0 0 0 false 0 0")])
def test_timesyncd_that_cannot_be_asked_still_shows_when_it_updated(tmp_path: Path, ended: CommandResult) -> None:
    here = machine(tmp_path, {"/run/systemd/timesync/synchronized": ""}, run=lambda arguments: ended)
    report = Timesyncd(here).report()
    assert report.updated_at is not None and abs(report.updated_at.timestamp() - time.time()) < 60
    assert report.note == (ended.trouble or "no answer yet")


def test_timesyncd_measures_as_soon_as_it_is_started_again(tmp_path: Path) -> None:
    commands = Commands()
    ended = Timesyncd(machine(tmp_path, {}, run=commands)).measure_again(lambda offset_s: True)
    assert commands.asked == ["systemctl --no-ask-password try-restart systemd-timesyncd.service"]
    assert ended.output == "systemd-timesyncd was restarted to measure again"


@contextmanager
def ntpd_saying(text: bytes, error: int = 0) -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, peer = served.recvfrom(1024)
            if data != b"end":
                assert data[:2] == b"\x16\x02"
                served.sendto(struct.pack("!BB2sHHHH", 0x16, 0x82 | error, data[2:4], 0, 0, 0, len(text)) + text, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield served.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", served.getsockname())
        thread.join(5)


VARIABLES = b"leap=0, stratum=2, rootdelay=4.0, rootdisp=3.000,\r\nreftime=0xeeb29c00.80000000, offset=5000.25\r\n"


def test_ntpd_says_what_it_believes() -> None:
    with ntpd_saying(VARIABLES) as control:
        report = Ntpd(replace(NOWHERE, ntpd_control=control)).report()
    assert (report.offset_s, report.bound_s) == (pytest.approx(-5.00025), pytest.approx(0.005))
    assert report.updated_at == utc(0xEEB29C00 - 2_208_988_800 + 0.5)
    assert Ntpd(NOWHERE).measure_again(lambda offset_s: True).trouble == (
        "ntpd cannot be made to measure again")


@pytest.mark.parametrize(("text", "error", "note"), [
    (VARIABLES, 0x40, "it does not answer"), (b"leap=0", 0, "invalid answer"), (b"", 0, "invalid answer"),
])
def test_ntpd_that_says_nothing_useful_breaks_nothing(text: bytes, error: int, note: str) -> None:
    with ntpd_saying(text, error) as control:
        assert Ntpd(replace(NOWHERE, ntpd_control=control)).report().note == note


# --- what its word is worth -----------------------------------------------------------------------------------------

def test_a_word_from_before_the_pause_is_called_that_and_its_bound_grows() -> None:
    """chrony: "Normal", 68 µs, while 5 s behind."""
    now = utc(NOW_S)
    report = DaemonReport("chrony", True, -68e-6, 0.002, now - timedelta(seconds=100))
    old = age_text(report, now, now - timedelta(seconds=10))
    assert (old.note, old.last_update_age_s, old.bound_s) == ("older than the pause", 100.0, pytest.approx(0.007))
    assert daemon_text(old) == "chrony reports 0.068 ms behind, measured 100 s ago, older than the pause"
    assert age_text(report, now, now - timedelta(seconds=200)).note == ""


@pytest.mark.parametrize(("report", "text"), [
    (DaemonReport("chrony", note="it does not answer"), "chrony reports nothing, it does not answer"),
    (DaemonReport("ntpd", False), "ntpd reports that it is not synchronised"),
    (DaemonReport("x", True), "x reports that it is synchronised"),
    (DaemonReport("x", True, 0.5), "x reports 500.000 ms ahead"),
])
def test_a_daemons_word_is_a_clause(report: DaemonReport, text: str) -> None:
    assert daemon_text(report) == text


def test_the_daemons_opinion_stands_beside_ours_and_changes_nothing(tmp_path: Path) -> None:
    fake = FakeChrony()
    with fake.serving() as port, TimeServer() as server:
        here = machine(tmp_path, {}, chrony_monitor=port)
        report = check_now(settings_for(server.name), PlayedClocks(5.0), surroundings=here)
    assert report.check.verdict is Verdict.BAD
    assert report.daemon is not None and report.daemon.is_synchronised
    assert report.daemon.offset_s == pytest.approx(-65e-6, abs=1e-6)


def test_the_daemons_word_is_in_the_reason_with_its_age(tmp_path: Path) -> None:
    fake = FakeChrony()
    fake.updated_s = time.time() - 300
    with fake.serving() as port, TimeServer() as server:
        here = machine(tmp_path, {}, chrony_monitor=port)
        with owner(server, clocks=PlayedClocks(5.0), surroundings=here) as one:
            one.start()
            until(lambda: (latest := one.checker.latest()) is not None and "behind (one source); chrony" in latest.reason)
            reason = one.checker.latest().reason
    assert "chrony reports 0.065 ms behind, measured 5 min ago, older than the pause" in reason


# --- the remedy as the engine sees it -------------------------------------------------------------------------------

def test_a_bad_clock_makes_its_daemon_measure_once_and_that_is_reported(tmp_path: Path) -> None:
    commands = Commands()
    here = machine(tmp_path, {"/run/systemd/timesync/synchronized": ""}, run=commands)
    with TimeServer() as server:
        clocks = PlayedClocks(4.0)
        with owner(server, clocks=clocks, surroundings=here, remedy="daemon") as one:
            one.start()
            told = one.followed.get(timeout=5)
            assert (told.event_id, told.state, told.check.verdict) == ("event", "remedied", Verdict.BAD)
            assert "systemd-timesyncd was restarted" in told.check.reason
            one.checker.clock_was_set()
            clocks.behind_s = 0.0
            one.checker.clock_was_set()
            assert one.answer().check.verdict is Verdict.GOOD
        assert sum("try-restart" in command for command in commands.asked) == 1


@pytest.mark.parametrize(("remedy", "behind_s", "words"), [
    ("none", 4.0, "one source"), pytest.param("daemon", 0.0, "", marks=pytest.mark.slow)])
def test_a_daemon_is_left_alone_unless_the_clock_is_bad_and_the_owner_wants_it(
        tmp_path: Path, remedy: str, behind_s: float, words: str) -> None:
    commands = Commands()
    here = machine(tmp_path, {"/run/systemd/timesync/synchronized": ""}, run=commands)
    with TimeServer() as server:
        with owner(server, clocks=PlayedClocks(behind_s), surroundings=here, remedy=remedy) as one:
            one.check_to_the_deadline(words)
    assert not any("try-restart" in command for command in commands.asked)


def test_a_remedy_that_failed_is_shown_as_that(tmp_path: Path) -> None:
    with TimeServer() as server:
        with owner(server, clocks=PlayedClocks(4.0), remedy="daemon") as one:
            assert "the remedy failed" in one.check_to_the_deadline("the remedy failed").reason
            told = one.followed.get(timeout=5)
            assert told.state == "following"
            assert "the remedy failed: no known time daemon" in told.check.reason


def test_a_slewing_clock_is_reported_with_the_time_it_still_needs(tmp_path: Path) -> None:
    here = machine(tmp_path, {}, kernel_clock=lambda: KernelClock(10_833, -20.0))
    with TimeServer() as server:
        with owner(server, clocks=PlayedClocks(5.0), surroundings=here) as one:
            one.check_to_the_deadline("the daemon is slewing; good in about 57 s")


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex is Linux's")
def test_the_kernel_of_this_machine_is_asked_and_not_touched() -> None:
    kernel = read_kernel_clock()
    if kernel is None:
        pytest.skip("this machine does not let us ask")
    assert 9_000 <= kernel.tick_us <= 11_000
    assert abs(kernel.frequency_ppm) <= 500


# --- commands -------------------------------------------------------------------------------------------------------

def test_a_command_is_run_without_a_shell_and_without_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert run_command(["echo", "$HOME; *"]) == CommandResult("$HOME; *")
    assert "SECRET" not in run_command(["env"]).output


def test_what_a_command_prints_without_end_is_cut() -> None:
    ended = run_command(["head", "-c", "3000000", "/dev/zero"])
    assert (len(ended.output), ended.trouble) == (8192, "")


@pytest.mark.slow
def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    began, length = time.monotonic(), f"60.{os.getpid()}"
    ended = run_command(["sh", "-c", f"sleep {length} & sleep {length}"], 0.2)
    assert ended.trouble == "sh did not end within 0.2 s"
    assert time.monotonic() - began < 3
    until(lambda: not any(length in line for line in command_lines()))


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue      # it has ended meanwhile
    return found


@pytest.mark.parametrize(("arguments", "trouble"), [
    (["false"], "false failed: exit status 1"), (["no-such-program-here"], "no-such-program-here is not installed"),
    (["sh", "-c", "echo 506 Cannot talk to daemon; exit 1"], "sh failed: 506 Cannot talk to daemon"),
])
def test_a_command_that_fails_says_why(arguments: list[str], trouble: str) -> None:
    assert run_command(arguments).trouble == trouble


def test_no_daemon_is_found_where_there_is_none() -> None:
    assert find_daemon(NOWHERE) is None
    assert MachineClocks().raw_ns() > 0
    assert workers() == []
