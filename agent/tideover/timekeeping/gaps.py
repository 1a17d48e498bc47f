"""What two readings of this machine's own clocks and counters say: a gap, a step, a suspend; the machine or only us.

Three numbers between two readings, all against CLOCK_MONOTONIC_RAW, which nobody steps or slews:
`V` visible gap, how much longer a wait took than it was asked to; `S` step, how far the wall clock moved against the
monotonic one (constant but for steps, as both run under the same NTP multiplier); `Z` suspended, how far CLOCK_BOOTTIME
moved against CLOCK_MONOTONIC. A machine whose clocks stood still with it shows none of the three: see `fusion`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.model import Cause, Quality
from tideover.timekeeping.agreement import Interval

NS = 1_000_000_000

# Smallest step told: a leap second and every daemon's step are far above, the noise of a bracketed reading far below.
STEP_NS = 1_000_000

# A thread's first turn after a resume takes 0.1 to 3 ms on an idle machine; a wait's own rounding is 1 ms.
LEAST_WAKE_NS = 5_000_000

STARVED_SHARE = 0.5      # of the gap spent ready to run, in the run queue: the processor was short, the machine ran
SILENT_SHARE = 0.1       # of the expected background: nobody ran
ALIVE_SHARE = 0.5        # of the expected background: the others went on
WORTH_TELLING = 0.05     # of the gap: a smaller share explains nothing
ENOUGH_SWITCHES = 5.0    # expected at least, for silence to mean anything (chance of silence at 5: 0.7 %)


@dataclass(frozen=True, slots=True)
class Reading:
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
class Shift:
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


def gap_between(before: Reading, after: Reading, period_ns: int) -> Gap:
    """Given two readings around a wait of at most `period_ns`, return the gap between them."""
    return Gap(after.raw_ns - before.raw_ns, period_ns)


def shift_between(before: Reading, after: Reading) -> Shift:
    """Given two readings, return step and suspend. That a suspend moves the wall clock too is no step."""
    suspended = (after.boot_ns - after.mono_ns) - (before.boot_ns - before.mono_ns)
    stepped = (after.wall_ns - after.mono_ns) - (before.wall_ns - before.mono_ns) - suspended
    return Shift(stepped, suspended, (before.width_ns + after.width_ns) // 2)


def are_together(one: Reading, other: Reading) -> bool:
    """Whether wall, boot and monotonic clock are as far apart in both readings: no step or suspend to look for."""
    return (abs((one.wall_ns - one.mono_ns) - (other.wall_ns - other.mono_ns)) < STEP_NS
            and abs((one.boot_ns - one.mono_ns) - (other.boot_ns - other.mono_ns)) < STEP_NS)


def wake_latency_ns(recent_lateness_ns: Sequence[int]) -> int:
    """Given by how much the recent waits were late, return how late a wake-up must be expected to be.

    The second largest: one hiccup is chance, two are this machine's way."""
    return max([LEAST_WAKE_NS, *sorted(recent_lateness_ns)[-2:-1]])


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel had counted at one instant. None: this machine does not say."""

    switches: int | None = None          # context switches of the whole machine (/proc/stat ctxt)
    own_switches: int | None = None      # … of this process, all threads (getrusage)
    waited_ns: int | None = None         # the watching thread ready to run, but in the queue (schedstat, 2nd field)
    stolen_ns: int | None = None         # taken by the hypervisor, all processors (/proc/stat steal)
    frozen_ns: int | None = None         # our control group frozen (cgroup.stat.local)
    throttled_ns: int | None = None      # … over its quota (cpu.stat)


@dataclass(frozen=True, slots=True)
class Stall:
    """Evidence over one visible gap. None: not known."""

    gap_s: float
    expected_switches: float | None = None    # of all other processes, had they gone on through the gap
    seen_switches: float | None = None        # of theirs in the gap
    waited_s: float | None = None
    suspended_s: float = 0.0
    traced_by: int = 0                        # pid of a debugger; 0: none
    stolen_s: float | None = None
    frozen_s: float | None = None
    throttled_s: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Who stood still, how sure that is, and why, in sentences."""

    cause: Cause
    quality: Quality
    evidence: tuple[str, ...]


def background_rate(before: Counters, after: Counters, elapsed_s: float) -> float | None:
    """Given counters around a stretch without a gap, return context switches a second of all other processes.

    Each of our own switches shows twice in the machine's count: to us and away from us."""
    if elapsed_s <= 0:
        return None
    others = _others(before, after)
    return None if others is None else max(0.0, others / elapsed_s)


def stall_between(before: Counters, after: Counters, *, gap_s: float, running_s: float, rate: float | None) -> Stall:
    """Given counters around a gap of `gap_s` beside `running_s` of ordinary running, and the learned background
    `rate` a second, return the evidence about the gap alone."""
    others = _others(before, after)
    known = others is not None and rate is not None
    return Stall(
        gap_s=gap_s,
        expected_switches=rate * gap_s if known and rate is not None else None,
        seen_switches=max(0.0, others - rate * running_s) if others is not None and rate is not None else None,
        waited_s=_seconds(before.waited_ns, after.waited_ns), stolen_s=_seconds(before.stolen_ns, after.stolen_ns),
        frozen_s=_seconds(before.frozen_ns, after.frozen_ns),
        throttled_s=_seconds(before.throttled_ns, after.throttled_ns))


def wake_after_ns(usual_ns: int, stall: Stall) -> int:
    """Given the usual wake latency and the evidence of a gap, return how late the wake-up after the stop may have been.

    The run queue counted it, unless the queue was the gap itself: a starved process's stop is its wait."""
    if stall.waited_s is None or stall.waited_s >= STARVED_SHARE * stall.gap_s:
        return usual_ns
    return max(usual_ns, LEAST_WAKE_NS + round(stall.waited_s * NS))


def judge_stall(stall: Stall) -> Judged:
    """Given the evidence over a visible gap, return whether the machine stood still or only this process.

    Undetermined counts as ours: a pause of the machine is claimed on evidence only."""
    facts = _facts(stall)
    for holds, cause, sentence in _certainties(stall):
        if holds:
            return Judged(cause, Quality.MEASURED, (sentence, *facts))
    return Judged(Cause.PROCESS_STALL, Quality.INFERRED,
                  ("nothing here tells the machine from this process: taken for a stall of this process", *facts))


def _certainties(stall: Stall) -> tuple[tuple[bool, Cause, str], ...]:
    """The rules in their order; the first that holds decides."""
    half_s = STARVED_SHARE * stall.gap_s
    expected, seen = stall.expected_switches, stall.seen_switches
    telling = expected is not None and seen is not None and expected >= ENOUGH_SWITCHES
    share = seen / expected if telling and seen is not None and expected else None
    return (
        ((stall.waited_s or 0.0) >= half_s, Cause.PROCESS_STALL,
         "starved: this process was ready to run and got no processor"),
        (stall.suspended_s >= half_s, Cause.SUSPEND, "the machine was suspended"),
        (stall.traced_by != 0, Cause.PROCESS_STALL, f"a debugger (pid {stall.traced_by}) holds this process"),
        ((stall.frozen_s or 0.0) >= half_s, Cause.PROCESS_STALL, "this process's control group was frozen"),
        ((stall.throttled_s or 0.0) >= half_s, Cause.PROCESS_STALL, "this process's control group was over its quota"),
        (share is not None and share <= SILENT_SHARE, Cause.VM_PAUSE, "no process of this machine ran in the gap"),
        (share is not None and share >= ALIVE_SHARE, Cause.PROCESS_STALL,
         "the machine's other processes ran on in the gap"),
    )


def _facts(stall: Stall) -> tuple[str, ...]:
    facts = []
    if stall.expected_switches is not None and stall.seen_switches is not None:
        facts.append(f"{stall.seen_switches:.0f} of about {stall.expected_switches:.0f} context switches "
                     f"expected of other processes")
    for seconds, what in ((stall.waited_s, "ready to run without a processor"), (stall.stolen_s, "stolen by the host"),
                          (stall.frozen_s, "frozen with its control group"), (stall.throttled_s, "over its quota")):
        if seconds is not None and seconds >= WORTH_TELLING * stall.gap_s:
            facts.append(f"{seconds:.3f} s {what}")
    return tuple(facts)


def _others(before: Counters, after: Counters) -> int | None:
    if before.switches is None or after.switches is None:
        return None
    own = (after.own_switches or 0) - (before.own_switches or 0)
    return after.switches - before.switches - 2 * own


def _seconds(before_ns: int | None, after_ns: int | None) -> float | None:
    return None if before_ns is None or after_ns is None else (after_ns - before_ns) / NS
