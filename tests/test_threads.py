"""An unforeseen exception, on a thread beside the engine's: the effect is answered, the loop goes on, the process
lives, and the log says so once."""
from __future__ import annotations

import os
import platform
import queue
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from hooks_tried import Bench
from running_agent import environment
from tideover.clock.checker import ClockChecker
from tideover.clock.host import HostAccess
from tideover.clock.types import ClockCheckSettings
from tideover.daemon.main import ThreadFaults
from tideover.effects import Acknowledge, CheckClock
from tideover.logs import Log
from tideover.model import HookOutcome, HookPhase, Verdict
from tideover.observations import AckOutcome, AckSettled, ClockJudged, PollFailed
from tideover.pause import PauseWatch
from tideover.sources.poller import Acknowledger, Poller
from tideover.system.process import KEPT, RESERVE, with_reserve
from tideover.threads import Loop, reason_of, start_task

PATIENCE_S = 10.0


class UnforeseenError(Exception):
    pass


@pytest.fixture
def met(monkeypatch):
    """What was reported."""
    faults: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    monkeypatch.setattr("tideover.threads.FIRST_REST_S", 0.01)
    return faults


@pytest.fixture
def no_threads(monkeypatch):
    """The system gives none, as under TasksMax."""
    def start(thread):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", start)


def fail(*_: object, **__: object) -> object:
    raise UnforeseenError("a bug")


# --- the frame --------------------------------------------------------------------------------------------------------

def test_a_task_that_fails_says_why_and_is_reported(met):
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    start_task("one", fail, told.put).join()
    assert told.get(timeout=PATIENCE_S) == "UnforeseenError: a bug"
    assert [(fault.exc_type, fault.thread.name) for fault in met] == [(UnforeseenError, "one")]


def test_a_task_without_a_thread_says_so_and_raises_nothing(no_threads):
    told: list[str] = []
    assert start_task("one", fail, told.append) is None and "no more threads" in told[0]


def test_a_fault_in_the_answer_or_in_the_log_ends_nothing(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", fail)
    start_task("one", fail, fail).join()


def test_a_loop_goes_on_after_an_exception_and_does_not_burn_a_processor(met):
    begun: list[float] = []
    told: list[str] = []

    def work() -> None:
        begun.append(time.monotonic())
        if len(begun) < 3:
            fail()

    loop = Loop("one", work, told.append)
    loop.start()
    until = time.monotonic() + PATIENCE_S
    while len(begun) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    assert told == ["UnforeseenError: a bug"] * 2 and len(met) == 2
    assert begun[2] - begun[1] > begun[1] - begun[0] > 0.009
    assert loop.end(PATIENCE_S), "what returns by itself has ended"


def test_a_system_error_is_reported_in_the_systems_words():
    assert reason_of(OSError(24, os.strerror(24))) == "too many open files"
    assert reason_of(KeyError("x")) == "KeyError: 'x'" and reason_of(MemoryError()) == "MemoryError"


def test_the_log_gets_the_trace_once_then_hourly_how_often_it_was_met(monkeypatch):
    lines = []
    faults, now = ThreadFaults(lambda: Log(sink=lines.append)), [0.0]
    monkeypatch.setattr("tideover.daemon.main.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(threading, "excepthook", faults.log)
    for at_s in (0.0, 1.0, 2.0, 3700.0):
        now[0] = at_s
        start_task("poller", fail).join()
    assert [(line.name, line.fields["times"], "trace" in line.fields) for line in lines] == [
        ("thread.failed", 1, True), ("thread.failed", 4, False)]
    assert lines[0].fields["thread"] == "poller" and "in fail" in lines[0].fields["trace"]
    faults.log(threading.ExceptHookArgs((OSError, OSError(24, "Too many"), None, None)))
    assert lines[-1].fields["reason"] == "too many"


# --- each who owes an answer gives it ---------------------------------------------------------------------------------

def test_a_hooks_run_that_meets_it_has_failed(met, monkeypatch):
    """And may have changed something: recover runs for it."""
    bench = Bench()
    monkeypatch.setattr("tideover.hooks.runner.run_hook", fail)
    threading.excepthook = met.append
    bench.start(bench.order(bench.write("10-web", "exit 0")))
    report = bench.answer().report
    assert (report.outcome, report.note, report.begun) == (HookOutcome.FAILED, "UnforeseenError: a bug", True)
    monkeypatch.undo()
    bench.start(bench.order(bench.write("10-web", "exit 0"), HookPhase.RECOVER))
    assert bench.answer().report.outcome is HookOutcome.DONE, "the hook's next run is not kept waiting"
    bench.close()


def test_a_hooks_run_without_a_thread_was_not_started(no_threads):
    answers = []
    bench = Bench()
    bench.runner._post = answers.append
    bench.runner.start(bench.order(bench.write("10-web", "exit 0")), b"{}", "0" * 32)
    assert answers[0].report.begun is False and "no more threads" in answers[0].report.note


class Source:
    """A platform whose module has a bug, `times` times."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def poll(self):
        self.times -= 1
        return fail() if self.times >= 0 else PollFailed("nothing")

    def acknowledge(self, event_id: str):
        return fail()

    def close(self) -> None:
        pass


def test_an_acknowledgement_that_meets_it_is_lost_and_a_fresh_document_decides(met):
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    Acknowledger(told.put, Source()).start(Acknowledge("E1", 1))
    assert told.get(timeout=PATIENCE_S) == AckSettled("E1", 1, AckOutcome.LOST, "UnforeseenError: a bug")


def test_an_acknowledgement_without_a_thread_is_lost_as_well(no_threads):
    told: list[AckSettled] = []
    Acknowledger(told.append, Source()).start(Acknowledge("E1", 1))
    assert told[0].outcome is AckOutcome.LOST and "no more threads" in told[0].reason


def test_a_poll_that_meets_it_has_failed_and_the_next_one_follows(met):
    told: queue.SimpleQueue[PollFailed] = queue.SimpleQueue()
    poller = Poller(told.put, Source(), 0.01)
    poller.start()
    assert [told.get(timeout=PATIENCE_S).reason for _ in range(2)] == ["UnforeseenError: a bug", "nothing"]
    assert poller.status().failures >= 1
    poller.close()


def test_the_pause_watch_goes_on(met):
    watch = PauseWatch(lambda seen: None, readers=[])
    beat, calls = watch._detector.tick, []

    def beat_badly(*arguments):
        calls.append(arguments)
        return fail() if len(calls) == 1 else beat(*arguments)

    watch._detector.tick = beat_badly
    watch.start()
    watch.check_now()
    until = time.monotonic() + PATIENCE_S
    while len(calls) < 2 and time.monotonic() < until:
        time.sleep(0.001)
        watch.check_now()
    assert len(calls) >= 2 and len(met) == 1
    watch.close()


def clock(settings: ClockCheckSettings, tell) -> ClockChecker:
    return ClockChecker(tell, settings, surroundings=HostAccess())


SETTINGS = ClockCheckSettings(servers=("127.0.0.1:9",), deadline_s=30.0)


@pytest.mark.parametrize("where", ["look_up", "ask", "note_held_back"])
def test_a_clock_check_that_meets_it_is_answered_unknown_with_the_reason(met, monkeypatch, where):
    place = {"look_up": "tideover.clock.query_rounds.NameResolver.look_up", "ask": "tideover.clock.query_rounds.NtpClient",
             "note_held_back": "tideover.clock.query_rounds.QueryRounds.note_held_back"}[where]
    monkeypatch.setattr(place, fail)
    told: queue.SimpleQueue[ClockJudged] = queue.SimpleQueue()
    checker = clock(SETTINGS, told.put)
    checker.start(CheckClock("E1", 1, 0.0))
    seen = told.get(timeout=PATIENCE_S)
    assert (seen.event_id, seen.round, seen.check.verdict) == ("E1", 1, Verdict.UNKNOWN)
    assert seen.check.reason == "UnforeseenError: a bug"
    checker.start(CheckClock("E1", 2, 0.0))
    assert told.get(timeout=PATIENCE_S).round == 2, "and the next check as well"
    checker.close()


def test_a_clock_check_without_a_descriptor_is_answered_at_once(met, monkeypatch):
    def none_left(*_):
        raise OSError(24, "Too many open files")
    monkeypatch.setattr("tideover.clock.ntp_client._NtpQuery", none_left)
    told: queue.SimpleQueue[ClockJudged] = queue.SimpleQueue()
    checker = clock(SETTINGS, told.put)
    checker.start(CheckClock("E1", 1, 0.0))
    check = told.get(timeout=PATIENCE_S).check
    assert (check.verdict, check.reason) == (Verdict.UNKNOWN, "no time server can be asked: too many open files")
    assert met == [], "that is the world's fault, not ours"
    checker.close()


def test_a_clock_check_without_a_thread_is_answered_as_well(no_threads):
    told: list[ClockJudged] = []
    clock(SETTINGS, told.append).start(CheckClock("E1", 1, 0.0))
    assert told[0].check.verdict is Verdict.UNKNOWN and "no more threads" in told[0].check.reason


# --- the reserve ------------------------------------------------------------------------------------------------------

def test_where_no_descriptor_is_left_those_of_the_reserve_are_used():
    RESERVE.fill()
    kept, tries = list(RESERVE._kept), []
    assert len(kept) == KEPT

    def act() -> int:
        tries.append(len(RESERVE._kept))
        if len(tries) == 1:
            raise OSError(24, "Too many open files")
        return 7

    assert with_reserve(act) == 7 and tries == [KEPT, 0] and len(RESERVE._kept) == KEPT
    with pytest.raises(FileNotFoundError):
        with_reserve(lambda: os.open("/nothing-of-the-kind", os.O_RDONLY))
    with RESERVE.available():
        pass


MANY_THREADS = """
import sys, threading
from pathlib import Path
from tideover.system.process import use_one_heap
def address_space_kib():
    return int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0])
if sys.argv[1] == "one":
    use_one_heap()
threading.stack_size(256 * 1024)
before_kib, together = address_space_kib(), threading.Barrier(9)
for _ in range(8):
    threading.Thread(target=lambda: (together.wait(), bytearray(5000), together.wait()), daemon=True).start()
together.wait(), together.wait()
print((address_space_kib() - before_kib) // 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has an arena for each thread")
def test_many_threads_share_one_heap():
    """Each arena of glibc takes 64 MiB of address space and keeps what its thread once used."""
    grown_mib = {heaps: int(subprocess.run([sys.executable, "-c", MANY_THREADS, heaps], capture_output=True, text=True, check=True,
                                            env=environment()).stdout)
                 for heaps in ("one", "many")}
    assert grown_mib["one"] < 64 <= grown_mib["many"], grown_mib
