"""The pause watch's one thread in its one wait, with real clocks, real descriptors and a real stopped process."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tideover
from pause_played import Heard, PlayedClocks, PlayedCounters, ns
from tideover.model import Cause, Document, utc
from tideover.pause import MachineClocks, PauseWatch, PauseWatchSettings, read_boot_id
from tideover.pause.counters import MachineCounters
from tideover.pause.kernel_signals import open_clock_set_reader
from tideover.pause.types import ClockSet, PushSignal
from tideover.system.clocks import read_all
from tideover.system.wakeup import PollWait, SelectWait, Wait, new_wait
from tideover.timekeeping.gaps import KernelCounters

PATIENCE_S = 5.0


def eventually(holds: object, patience_s: float = PATIENCE_S) -> bool:
    until = time.monotonic() + patience_s
    while not holds() and time.monotonic() < until:     # type: ignore[operator]
        time.sleep(0.001)
    return bool(holds())                                # type: ignore[operator]


class Bell:
    """A push signal that the test rings."""

    unfinished = False

    def __init__(self) -> None:
        self.hear, self.ring = os.pipe()
        self.closed = False

    def fileno(self) -> int:
        return self.hear

    def read(self) -> tuple[PushSignal, ...]:
        os.read(self.hear, 1)
        return (ClockSet(),)

    def close(self) -> None:
        os.close(self.hear)
        self.closed = True


def test_a_push_signal_is_heard_at_once_and_not_at_the_next_tick() -> None:
    """A clock that was set is evaluated when the kernel says so, however slow the heartbeat."""
    bell, clocks, heard = Bell(), PlayedClocks(), Heard()
    watch = PauseWatch(heard.tell, PauseWatchSettings(tick_s=60), clocks=clocks, counters=PlayedCounters(), readers=[bell],
                       clock_was_set=heard.clock_was_set)
    watch.start()
    time.sleep(0.005)
    clocks.set_wall(2.0)
    os.write(bell.ring, b"!")
    assert eventually(lambda: heard.pauses)
    assert heard.pauses[0].cause is Cause.CLOCK_STEP and heard.clock_sets == 1
    watch.close()
    os.close(bell.ring)
    assert bell.closed


def test_outside_time_that_jumps_wakes_the_watch_and_is_asked_for_again() -> None:
    """A stop with all clocks still is reported milliseconds after the second answer, however slow the heartbeat."""
    heard, clocks = Heard(), PlayedClocks()
    truth = ns(1_799_999_000)

    def answer(lost_s: float = 0.0) -> None:
        clocks.run(0.1)
        watch.outside_sample("ntp:a", clocks.raw, truth + ns(lost_s), ns(0.001))

    watch = PauseWatch(heard.tell, PauseWatchSettings(tick_s=60, close_tick_s=0.005), clocks=clocks,
                       counters=PlayedCounters(), readers=[], outside_wanted=heard.outside_wanted)
    watch.start()
    for _ in range(5):
        answer()
    time.sleep(0.01)
    assert heard.wanted == 0
    answer(lost_s=7)
    assert eventually(lambda: heard.wanted == 2) and heard.pauses == []
    answer(lost_s=7)
    assert eventually(lambda: heard.pauses)
    [pause] = heard.pauses
    assert pause.cause is Cause.VM_PAUSE and pause.length_s == pytest.approx(7, abs=0.003)
    watch.close()


def test_the_date_of_an_answer_is_a_sample_and_an_answer_without_one_is_none() -> None:
    heard, clocks = Heard(), PlayedClocks()
    watch = PauseWatch(heard.tell, PauseWatchSettings(tick_s=60, close_tick_s=0.005), clocks=clocks,
                       counters=PlayedCounters(), readers=[], outside_wanted=heard.outside_wanted)
    watch.start()
    for lost in (0, 0, 0, 20, 20, 20):
        clocks.run(0.05)
        asked_s = clocks.raw / 1e9
        date = utc(int(1_799_999_000 + asked_s + lost))
        watch.outside_date("metadata", Document((), date=date, asked_raw_s=asked_s, received_raw_s=asked_s + 0.01))
        watch.outside_date("metadata", Document((), asked_raw_s=asked_s, received_raw_s=asked_s + 0.01))
    assert eventually(lambda: heard.pauses)
    [pause] = heard.pauses
    assert pause.length_s is not None and pause.uncertainty_s is not None
    assert abs(pause.length_s - 20) <= pause.uncertainty_s <= 2.1
    watch.close()


def test_a_reader_whose_descriptor_hung_up_is_asked_on_every_beat_instead() -> None:
    class Hung(Bell):
        reads = 0

        def read(self) -> tuple[PushSignal, ...]:
            self.reads += 1
            return ()

    bell = Hung()
    watch = PauseWatch(Heard().tell, PauseWatchSettings(tick_s=0.01), clocks=PlayedClocks(), counters=PlayedCounters(),
                       readers=[bell])
    watch.start()
    time.sleep(0.02)
    assert bell.reads == 0
    os.close(bell.ring)
    began = time.monotonic()
    assert eventually(lambda: bell.reads >= 3)
    assert time.monotonic() - began > 0.015
    watch.close()


def test_watching_closely_begins_at_once_and_ends_again() -> None:
    beats, clocks = [], PlayedClocks()

    class Counting(PlayedCounters):
        def read(self) -> KernelCounters:
            beats.append(time.monotonic())
            return super().read()

    watch = PauseWatch(Heard().tell, PauseWatchSettings(tick_s=60, close_tick_s=0.005), clocks=clocks, counters=Counting(),
                       readers=[])
    watch.start()
    time.sleep(0.01)
    at_the_start = len(beats)
    assert at_the_start <= 2
    watch.watch_near_event()
    assert eventually(lambda: len(beats) >= at_the_start + 4)
    watch.watch_idle()
    time.sleep(0.01)
    calm = len(beats)
    time.sleep(0.02)
    assert len(beats) == calm
    watch.close()


def test_closing_ends_the_thread_within_the_wait_and_gives_every_descriptor_back() -> None:
    before = sorted(os.listdir("/proc/self/fd"))        # noqa: PTH208
    watch = PauseWatch(Heard().tell, PauseWatchSettings(tick_s=60))
    watch.start()
    watch.close()
    assert not any(thread.name == "pause-watch" for thread in threading.enumerate())
    assert sorted(os.listdir("/proc/self/fd")) == before    # noqa: PTH208


def test_a_watch_that_was_never_started_can_be_closed() -> None:
    PauseWatch(Heard().tell).close()


@pytest.mark.parametrize("kind", [PollWait, SelectWait])
def test_a_wait_can_be_ended_from_another_thread(kind: type[Wait]) -> None:
    wait: Wait = kind()
    threading.Timer(0.005, wait.wake).start()
    began = time.monotonic()
    heard = wait.wait(ns(30))
    assert time.monotonic() - began < 10
    assert not heard.readable and not heard.broken
    wait.wake()
    wait.wake()
    wait.wait(ns(30))
    assert not wait.wait(ns(0.001)).readable
    wait.close()


def test_a_descriptor_that_hung_up_is_reported_and_does_not_spin() -> None:
    hear, ring = os.pipe()
    wait = PollWait()
    wait.watch([hear])
    os.close(ring)
    assert wait.wait(ns(1)).broken == {hear}
    wait.forget([hear])
    assert not wait.wait(ns(0.001)).broken
    wait.close()
    os.close(hear)


def test_the_clock_set_timer_is_silent_while_the_clock_is_not_set() -> None:
    reader = open_clock_set_reader()
    if reader is None:
        pytest.skip("this system has no timer that is cancelled when the clock is set")
    wait = PollWait()
    wait.watch([reader.fileno()])
    assert not wait.wait(ns(0.01)).readable
    assert reader.read() == ()
    reader.close()
    wait.close()


def test_all_clocks_are_read_as_one_instant() -> None:
    """The wall clock less the monotonic one is constant: what is left is the noise of the reading."""
    clocks = MachineClocks()
    offsets = [reading.wall_ns - reading.mono_ns for reading in (read_all(clocks) for _ in range(50))]
    assert max(offsets) - min(offsets) < ns(0.005)


def test_an_interrupted_reading_is_taken_again() -> None:
    class Interrupted(PlayedClocks):
        reads = 0

        def wall_ns(self) -> int:
            self.reads += 1
            if self.reads == 1:
                self.run(0.2)
            return self.wall

    assert read_all(Interrupted()).width_ns == 0


def test_the_machines_counters_rise_and_know_this_process() -> None:
    counters = MachineCounters()
    before = counters.read()
    time.sleep(0.01)
    after = counters.read()
    assert before.switches is not None and after.switches is not None and after.switches > before.switches
    assert before.own_switches is not None and after.own_switches is not None
    assert after.own_switches > before.own_switches
    assert counters.traced_by() == 0
    assert counters.affordable_every_ns() > 0
    counters.close()


def test_a_machine_without_proc_has_no_counters_and_makes_no_noise(tmp_path: Path) -> None:
    counters = MachineCounters(tmp_path)
    read = counters.read()
    assert (read.switches, read.waited_ns, read.stolen_ns, read.frozen_ns) == (None, None, None, None)
    assert (counters.traced_by(), counters.clocksource(), read_boot_id(tmp_path)) == (0, "", "")
    counters.close()


def test_counters_of_a_big_machine_and_of_its_control_group_are_found(tmp_path: Path) -> None:
    """The interrupts' line of a machine with hundreds of processors is longer than one ordinary read."""
    group = tmp_path / "sys/fs/cgroup/system.slice/tideover.service"
    proc = tmp_path / "proc/self"
    for folder in (group, proc):
        folder.mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory\n")
    (group / "cgroup.stat.local").write_text("frozen_usec 1500000\n")
    (group / "cpu.stat").write_text("usage_usec 9\nnr_throttled 2\nthrottled_usec 250000\n")
    (proc / "cgroup").write_text("4:memory:/elsewhere\n0::/system.slice/tideover.service\n")
    (proc / "status").write_text("Name:\ttideover\nTracerPid:\t4711\nUid:\t0\n")
    (tmp_path / "proc/stat").write_text("cpu  1 2 3 4 5 6 7 800 9 10\nintr 5" + " 0" * 40_000 + "\nctxt 123456\n")
    counters = MachineCounters(tmp_path)
    read = counters.read()
    assert (read.switches, read.frozen_ns, read.throttled_ns) == (123456, ns(1.5), ns(0.25))
    assert read.stolen_ns == 800 * ns(1) // os.sysconf("SC_CLK_TCK")
    assert counters.traced_by() == 4711
    counters.close()


def test_the_boot_id_is_the_kernels() -> None:
    assert read_boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


WATCHED = """
import sys, time
from tideover.pause import PauseWatch, PauseWatchSettings
def tell(seen):
    pause = seen.pause
    print(pause.cause.value, pause.length_s, pause.uncertainty_s, flush=True)
watch = PauseWatch(tell, PauseWatchSettings(tick_s=0.05, threshold_s=float(sys.argv[1])))
watch.start()
time.sleep(0.3)
print("up", flush=True)
sys.stdin.read()
watch.close()
"""


def stopped(seconds: float, threshold_s: float) -> tuple[list[str], float]:
    """Stop a real child that watches, for so long; return what it reported and the time it was really stopped."""
    child = subprocess.Popen([sys.executable, "-c", WATCHED, str(threshold_s)], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env={"PYTHONPATH": str(Path(tideover.__file__).parents[1])})
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == "up\n"
    os.kill(child.pid, signal.SIGSTOP)
    began = time.monotonic()
    time.sleep(seconds)
    truth_s = time.monotonic() - began
    os.kill(child.pid, signal.SIGCONT)
    first = child.stdout.readline()
    rest, _ = child.communicate(timeout=10)
    return [first, *rest.splitlines()], truth_s


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "threshold_s"), [
    (0.4, 0.2), pytest.param(3.0, 0.5, marks=pytest.mark.slow)])
def test_a_stopped_process_tells_one_stall_whose_interval_holds_the_truth(seconds: float, threshold_s: float) -> None:
    """The promise of the record: length_s ± uncertainty_s holds what a witness outside measured."""
    told, truth_s = stopped(seconds, threshold_s)
    [line] = told
    cause, length, uncertainty = line.split()
    assert cause == "process-stall"
    assert abs(float(length) - truth_s) <= float(uncertainty) + 0.002, (line, truth_s)


def test_news_that_comes_while_the_watch_is_closed_ends_no_thread() -> None:
    """A time server's answer may be heard on another thread until the very end; found by the soak."""
    wait = new_wait()
    wait.close()
    wait.wake()
