"""Gaps between two clock readings: step, suspend, pause of the machine or stall of this process; their thresholds.

A paused machine served no interrupt and ran no process; at its resume each processor's expired timers are served
in one go, and each sleeping process is woken, all within milliseconds. A machine that ran on while we did not has
served its timers throughout, however idle it was.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.model import Cause, Quality
from tideover.timekeeping.intervals import NS, Interval

# --- What two readings of this machine's own clocks and counters say: a gap, a step, a suspend; the machine or only
# us
# Three numbers between two readings, all against CLOCK_MONOTONIC_RAW, which is never stepped or slewed:
# `V` visible gap, how much longer a wait took than it was asked to; `S` step, how far the wall clock moved against the
# monotonic one (constant but for steps, as both run under the same NTP multiplier); `Z` suspended, how far
# CLOCK_BOOTTIME
# moved against CLOCK_MONOTONIC. A machine whose clocks stopped with it shows none of the three: see `pause_fusion`.


# Smallest step reported: a leap second and every daemon's step are far above, the noise of a bracketed reading far
# below.
STEP_NS = 1_000_000

# A thread's first turn after a resume takes 0.1 to 3 ms on an idle machine; a wait's own rounding is 1 ms.
LEAST_WAKE_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Four clocks of this machine at one instant, in nanoseconds. `width_ns`: how long reading them took."""

    raw_ns: int
    mono_ns: int
    wall_ns: int
    boot_ns: int
    width_ns: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """How long a wait took on the raw clock, and how long it was asked to take at most."""

    elapsed_ns: int
    period_ns: int

    @property
    def visible_ns(self) -> int:
        """V: the wait was interrupted for at least this long."""
        return max(0, self.elapsed_ns - self.period_ns)

    @property
    def length(self) -> Interval:
        """How long the interruption took: it began anywhere in the wait. The wake-up after it comes on top."""
        return Interval(self.visible_ns, self.elapsed_ns)


@dataclass(frozen=True, slots=True)
class ClockShift:
    """How far the wall clock was stepped and how long the machine was suspended between two readings."""

    stepped_ns: int          # S; > 0: the wall clock was set forward
    suspended_ns: int        # Z
    slack_ns: int            # both are known to ± this

    @property
    def is_step(self) -> bool:
        return abs(self.stepped_ns) >= STEP_NS + self.slack_ns

    @property
    def is_suspend(self) -> bool:
        return self.suspended_ns >= STEP_NS + self.slack_ns


def gap_between(before: ClockReading, after: ClockReading, period_ns: int) -> Gap:
    """Given two readings around a wait of at most `period_ns`, return the gap between them."""
    return Gap(after.raw_ns - before.raw_ns, period_ns)


def shift_between(before: ClockReading, after: ClockReading) -> ClockShift:
    """Given two readings, return step and suspend. That a suspend moves the wall clock too is no step."""
    suspended = (after.boot_ns - after.mono_ns) - (before.boot_ns - before.mono_ns)
    stepped = (after.wall_ns - after.mono_ns) - (before.wall_ns - before.mono_ns) - suspended
    return ClockShift(stepped, suspended, (before.width_ns + after.width_ns) // 2)


def are_together(one: ClockReading, other: ClockReading) -> bool:
    """Whether wall, boot and monotonic clock are as far apart in both readings: no step or suspend to look for."""
    return (abs((one.wall_ns - one.mono_ns) - (other.wall_ns - other.mono_ns)) < STEP_NS
            and abs((one.boot_ns - one.mono_ns) - (other.boot_ns - other.mono_ns)) < STEP_NS)


def wake_latency_ns(recent_lateness_ns: Sequence[int]) -> int:
    """Given by how much the recent waits were late, return how late a wake-up must be expected to be.

    The second largest: one hiccup is chance, two are this machine's way."""
    return max([LEAST_WAKE_NS, *sorted(recent_lateness_ns)[-2:-1]])


# --- Stall or pause: which of them a gap was, judged by kernel counters

STARVED_SHARE = 0.5      # of the gap spent ready to run, in the run queue: the processor was short, the machine ran
SILENT_SHARE = 0.1       # of the expected background: no process ran
ALIVE_SHARE = 0.5        # of the expected background: the others went on
WORTH_TELLING = 0.05     # of the gap: a smaller share explains nothing
ENOUGH_SWITCHES = 5.0    # expected at least, for silence to mean anything (chance of silence at 5: 0.7 %)

# Interrupts, which a kernel counts with its timers. Measured, in gaps of 1.2 to 10 s, Linux 6.1: a guest of one
# processor whose hypervisor was stopped had 5 to 20, idle or busy; the same guest idle, with only the watcher stopped,
# 28 to 38 a second, and an idle machine of two processors 40 to 130.
RUNNING_INTERRUPTS_S = 20.0              # fewer a second no running Linux has
BURST_INTERRUPTS, BURST_A_PROCESSOR = 16.0, 8.0      # of a resume, at most, on an idle machine
BURST_S = 0.005                          # … and what its devices bring before we have our turn
SILENT_INTERRUPTS = 0.25                 # of what was to be expected: no process ran


@dataclass(frozen=True, slots=True)
class KernelCounters:
    """What the kernel had counted at one instant. None: this machine does not say."""

    switches: int | None = None          # context switches of the whole machine (/proc/stat ctxt)
    own_switches: int | None = None      # … of this process, all threads (getrusage)
    waited_ns: int | None = None         # the watching thread ready to run, but in the queue (schedstat, 2nd field)
    stolen_ns: int | None = None         # taken by the hypervisor, all processors (/proc/stat steal)
    frozen_ns: int | None = None         # our control group frozen (cgroup.stat.local)
    throttled_ns: int | None = None      # … over its quota (cpu.stat)
    interrupts: int | None = None        # served by the whole machine, timers' among them (/proc/stat intr)


@dataclass(frozen=True, slots=True)
class ProcessActivity:
    """What others than this process did: context switches and interrupts. None: not known."""

    switches: float | None = None
    interrupts: float | None = None

    def where_known(self, other: ProcessActivity) -> ProcessActivity:
        return ProcessActivity(self.switches if other.switches is not None else None,
                        self.interrupts if other.interrupts is not None else None)

    def or_nothing(self) -> ProcessActivity:
        return ProcessActivity(self.switches or 0.0, self.interrupts or 0.0)

    def times(self, factor: float) -> ProcessActivity:
        return ProcessActivity(_scaled(self.switches, factor), _scaled(self.interrupts, factor))

    def less(self, other: ProcessActivity) -> ProcessActivity:
        """Never less than nothing; not known where either is not."""
        return ProcessActivity(_difference(self.switches, other.switches),
                               _difference(self.interrupts, other.interrupts))


NOT_KNOWN = ProcessActivity()


@dataclass(frozen=True, slots=True)
class Stall:
    """Evidence over one visible gap. None: not known."""

    gap_s: float
    expected: ProcessActivity = NOT_KNOWN            # of all others, had they gone on through the gap
    seen: ProcessActivity = NOT_KNOWN                # of theirs in the gap
    processors: int = 1
    waited_s: float | None = None
    suspended_s: float = 0.0
    traced_by: int = 0                        # pid of a debugger; 0: none
    stolen_s: float | None = None
    frozen_s: float | None = None
    throttled_s: float | None = None


@dataclass(frozen=True, slots=True)
class StallVerdict:
    """Whether the machine or the process was paused, how sure that is, and why, in sentences."""

    cause: Cause
    quality: Quality
    evidence: tuple[str, ...]


def background_rate(before: KernelCounters, after: KernelCounters, elapsed_s: float) -> ProcessActivity:
    """Given counters around a stretch without a gap, return what all others do in a second.

    Each of our own switches shows twice in the machine's count, to us and away from us; each of our turns takes an
    interrupt at most."""
    return _others(before, after).times(1 / elapsed_s) if elapsed_s > 0 else NOT_KNOWN


def stall_between(before: KernelCounters, after: KernelCounters, *, gap_s: float, running_s: float,
                  rate: ProcessActivity,
                  processors: int = 1) -> Stall:
    """Given counters around a gap of `gap_s` beside `running_s` of ordinary running, and the learned background
    `rate` a second, return the evidence about the gap alone."""
    others = _others(before, after)
    return Stall(
        gap_s=gap_s, expected=rate.times(gap_s).where_known(others),
        seen=others.less(rate.or_nothing().times(running_s)), processors=processors,
        waited_s=_seconds(before.waited_ns, after.waited_ns), stolen_s=_seconds(before.stolen_ns, after.stolen_ns),
        frozen_s=_seconds(before.frozen_ns, after.frozen_ns),
        throttled_s=_seconds(before.throttled_ns, after.throttled_ns))


def wake_after_ns(usual_ns: int, stall: Stall) -> int:
    """Given the usual wake latency and the evidence of a gap, return how late the wake-up after the stop may have been.

    The run queue counted it, unless the queue was the gap itself: a starved process's stop is its wait."""
    if stall.waited_s is None or stall.waited_s >= STARVED_SHARE * stall.gap_s:
        return usual_ns
    return max(usual_ns, LEAST_WAKE_NS + round(stall.waited_s * NS))


def judge_stall(stall: Stall) -> StallVerdict:
    """Given the evidence over a visible gap, return whether the machine was paused or only this process.

    Undetermined counts as ours: a pause of the machine is claimed on evidence only."""
    facts = _facts(stall)
    for holds, cause, sentence in _certainties(stall):
        if holds:
            return StallVerdict(cause, Quality.MEASURED, (sentence, *facts))
    return StallVerdict(Cause.PROCESS_STALL, Quality.INFERRED,
                  ("this machine cannot tell a pause from a stall of this process: taken as a stall", *facts))


def _certainties(stall: Stall) -> tuple[tuple[bool, Cause, str], ...]:
    """The rules in their order; the first that holds decides."""
    half_s = STARVED_SHARE * stall.gap_s
    stood_still, ran_on = _by_interrupts(stall) if stall.seen.interrupts is not None else _by_switches(stall)
    return (
        ((stall.waited_s or 0.0) >= half_s, Cause.PROCESS_STALL,
         "starved: this process was ready to run and got no processor"),
        (stall.suspended_s >= half_s, Cause.SUSPEND, "the machine was suspended"),
        (stall.traced_by != 0, Cause.PROCESS_STALL, f"a debugger (pid {stall.traced_by}) holds this process"),
        ((stall.frozen_s or 0.0) >= half_s, Cause.PROCESS_STALL, "this process's control group was frozen"),
        ((stall.throttled_s or 0.0) >= half_s, Cause.PROCESS_STALL, "this process's control group was over its quota"),
        (stood_still, Cause.VM_PAUSE, "no process of this machine ran in the gap"),
        (ran_on, Cause.PROCESS_STALL, "other processes of the machine ran in the gap"),
    )


def _by_interrupts(stall: Stall) -> tuple[bool, bool]:
    """Whether the machine was paused, and whether it ran on; neither: a gap too short for this machine to tell.

    Other processes may pause with ours, first of all those that wait for its answers. The machine's timers do not."""
    seen, expected = stall.seen.interrupts or 0.0, stall.expected.interrupts or 0.0
    burst = (BURST_INTERRUPTS + BURST_A_PROCESSOR * stall.processors
             + expected / stall.gap_s * (BURST_S + (stall.waited_s or 0.0)))
    least = RUNNING_INTERRUPTS_S * stall.gap_s
    silent = SILENT_INTERRUPTS * max(least, expected)
    return seen <= min(burst, silent), seen > burst and seen >= least / 2


def _by_switches(stall: Stall) -> tuple[bool, bool]:
    expected, seen = stall.expected.switches, stall.seen.switches
    if expected is None or seen is None or expected < ENOUGH_SWITCHES:
        return False, False
    return seen <= SILENT_SHARE * expected, seen >= ALIVE_SHARE * expected


def _facts(stall: Stall) -> tuple[str, ...]:
    facts = []
    if stall.seen.interrupts is not None:
        usual = stall.expected.interrupts
        facts.append(f"{stall.seen.interrupts:.0f} interrupts in the gap"
                     + ("" if usual is None else f", about {usual:.0f} are usual"))
    if stall.expected.switches is not None and stall.seen.switches is not None:
        facts.append(f"{stall.seen.switches:.0f} of about {stall.expected.switches:.0f} context switches "
                     f"expected of other processes")
    for seconds, what in ((stall.waited_s, "ready to run without a processor"), (stall.stolen_s, "stolen by the host"),
                          (stall.frozen_s, "frozen with its control group"), (stall.throttled_s, "over its quota")):
        if seconds is not None and seconds >= WORTH_TELLING * stall.gap_s:
            facts.append(f"{seconds:.3f} s {what}")
    return tuple(facts)


def _others(before: KernelCounters, after: KernelCounters) -> ProcessActivity:
    own = (after.own_switches or 0) - (before.own_switches or 0)
    return ProcessActivity(_counted(before.switches, after.switches, 2 * own),
                    _counted(before.interrupts, after.interrupts, own))


def _counted(before: int | None, after: int | None, own: int) -> float | None:
    return None if before is None or after is None else max(0.0, float(after - before - own))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else max(0.0, value - other)


def _seconds(before_ns: int | None, after_ns: int | None) -> float | None:
    return None if before_ns is None or after_ns is None else (after_ns - before_ns) / NS
