"""The arithmetic of gaps: what two readings of this machine's own clocks and counters say."""
from __future__ import annotations

import random

import pytest

from pause_played import ns
from tideover.model import Cause, Quality
from tideover.timekeeping.gaps import (
    Counters,
    Reading,
    Stall,
    background_rate,
    gap_between,
    judge_stall,
    shift_between,
    stall_between,
    wake_after_ns,
    wake_latency_ns,
)

BEFORE = Reading(raw_ns=ns(100), mono_ns=ns(100), wall_ns=ns(5000), boot_ns=ns(150))


def later(raw: float = 1, mono: float = 1, wall: float = 1, boot: float = 1, width: int = 0) -> Reading:
    return Reading(BEFORE.raw_ns + ns(raw), BEFORE.mono_ns + ns(mono), BEFORE.wall_ns + ns(wall),
                   BEFORE.boot_ns + ns(boot), width)


def test_a_wait_that_ended_in_time_has_no_gap_and_one_ended_early_neither() -> None:
    assert gap_between(BEFORE, later(raw=0.25), ns(0.25)).visible_ns == 0
    assert gap_between(BEFORE, later(raw=0.01), ns(0.25)).visible_ns == 0


def test_the_true_length_of_a_stop_lies_in_the_claimed_interval_wherever_in_the_wait_it_began() -> None:
    """A stop of L that begins x into a wait of P and is noticed w after it shows as x + L + w on the raw clock."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)
    for _ in range(2000):
        period, wake = dice.choice((0.05, 0.25)), dice.uniform(0, 0.02)
        length = dice.uniform(period, 40)
        elapsed = max(period, dice.uniform(0, period) + length) + dice.uniform(0, wake)
        claimed = gap_between(BEFORE, later(raw=elapsed), ns(period)).length
        assert claimed.low_ns - ns(wake) - 2 <= ns(length) <= claimed.high_ns + 2, (period, wake, length, elapsed)


def test_one_late_wake_up_is_chance_and_two_are_expected_again() -> None:
    assert wake_latency_ns(()) == wake_latency_ns((ns(0.3),)) == wake_latency_ns((0, ns(0.3))) == ns(0.005)
    assert wake_latency_ns((0, ns(0.3), ns(0.02), 0)) == ns(0.02)


@pytest.mark.parametrize("by_s", [3.0, -3.0, 0.0011])
def test_a_step_of_the_wall_clock_shows_with_its_sign(by_s: float) -> None:
    shift = shift_between(BEFORE, later(wall=1 + by_s))
    assert shift.is_step and not shift.is_suspend
    assert shift.stepped_ns == ns(by_s)


def test_slewing_and_a_slow_raw_clock_are_no_step() -> None:
    """A slewing daemon makes MONOTONIC and REALTIME run fast together; only their difference can tell of a step."""
    assert not shift_between(BEFORE, later(raw=1, mono=1.083, wall=1.083, boot=1.083)).is_step


def test_a_step_smaller_than_the_reading_is_sure_of_is_not_told() -> None:
    assert not shift_between(BEFORE, later(wall=1.004, width=ns(0.008))).is_step
    assert shift_between(BEFORE, later(wall=1.006, width=ns(0.008))).is_step


def test_a_suspend_smaller_than_the_reading_is_sure_of_is_not_told() -> None:
    assert not shift_between(BEFORE, later(boot=1.004, wall=1.004, width=ns(0.008))).is_suspend
    assert shift_between(BEFORE, later(boot=1.006, wall=1.006, width=ns(0.008))).is_suspend


def test_a_suspend_shows_in_the_boot_clock_exactly_and_is_no_step() -> None:
    shift = shift_between(BEFORE, later(boot=61, wall=61))
    assert shift.is_suspend and not shift.is_step
    assert shift.suspended_ns == ns(60)


def test_a_wake_up_that_had_to_queue_widens_the_claim_but_a_starved_process_stop_is_its_queue() -> None:
    assert wake_after_ns(ns(0.005), Stall(3.0, waited_s=0.04)) == ns(0.045)
    assert wake_after_ns(ns(0.005), Stall(3.0, waited_s=2.9)) == ns(0.005)
    assert wake_after_ns(ns(0.007), Stall(3.0)) == ns(0.007)


def test_a_step_within_a_suspend_is_told_apart_from_it() -> None:
    shift = shift_between(BEFORE, later(boot=61, wall=59))
    assert shift.suspended_ns == ns(60) and shift.stepped_ns == ns(-2)


STALLS = [
    # measured on real machines: all but the last row say which way the evidence must fall
    ("the machine stood still", Stall(3.0, expected_switches=630, seen_switches=0), Cause.VM_PAUSE),
    ("silence but for a few", Stall(3.0, expected_switches=630, seen_switches=63), Cause.VM_PAUSE),
    ("stopped by a signal, idle machine", Stall(2.07, expected_switches=190, seen_switches=182), Cause.PROCESS_STALL),
    ("stopped by a signal, busy machine", Stall(2, expected_switches=41000, seen_switches=42615), Cause.PROCESS_STALL),
    ("starved on a silent machine", Stall(7.2, expected_switches=700, seen_switches=0, waited_s=7.19),
     Cause.PROCESS_STALL),
    ("control group frozen", Stall(3, expected_switches=630, seen_switches=0, frozen_s=2.9), Cause.PROCESS_STALL),
    ("control group over its quota", Stall(1, expected_switches=630, seen_switches=0, throttled_s=0.9),
     Cause.PROCESS_STALL),
    ("a debugger", Stall(3, expected_switches=630, seen_switches=0, traced_by=77), Cause.PROCESS_STALL),
    ("suspended", Stall(3, expected_switches=630, seen_switches=0, suspended_s=3), Cause.SUSPEND),
    ("a steal clock that counts stops (Xen)", Stall(3, expected_switches=630, seen_switches=2, stolen_s=3),
     Cause.VM_PAUSE),
]


@pytest.mark.parametrize(("stall", "cause"), [row[1:] for row in STALLS], ids=[row[0] for row in STALLS])
def test_evidence_tells_a_stopped_machine_from_a_stalled_process(stall: Stall, cause: Cause) -> None:
    judged = judge_stall(stall)
    assert (judged.cause, judged.quality) == (cause, Quality.MEASURED)
    assert judged.evidence


@pytest.mark.parametrize("stall", [
    Stall(3.0),
    Stall(3.0, expected_switches=4, seen_switches=0),          # silence is usual here
    Stall(3.0, expected_switches=600, seen_switches=200),      # neither silent nor alive
], ids=["no counters", "too quiet a machine", "in between"])
def test_without_evidence_a_gap_is_taken_for_our_own_and_says_so(stall: Stall) -> None:
    """No pause of the machine is claimed that nothing shows."""
    judged = judge_stall(stall)
    assert (judged.cause, judged.quality) == (Cause.PROCESS_STALL, Quality.INFERRED)
    assert "taken for a stall of this process" in judged.evidence[0]


def test_our_own_switches_do_not_count_as_the_others_life() -> None:
    """An agent that polls on an idle machine would else look like a machine that runs."""
    rate = background_rate(Counters(1000, 50), Counters(1040, 60), 2.0)
    assert rate == 10.0


def test_what_ran_beside_the_gap_is_taken_off_before_silence_is_judged() -> None:
    """Measured: +193 switches over 3.98 s of which 0.98 s ran at 210 a second: none in the gap."""
    stall = stall_between(Counters(0, 0), Counters(193, 0), gap_s=3.0, running_s=0.98, rate=210.0)
    assert stall.seen_switches == 0 and stall.expected_switches == 630
    assert judge_stall(stall).cause is Cause.VM_PAUSE


def test_counters_that_a_machine_lacks_are_unknown_and_not_zero() -> None:
    stall = stall_between(Counters(), Counters(), gap_s=3.0, running_s=0.0, rate=200.0)
    assert (stall.expected_switches, stall.waited_s, stall.frozen_s) == (None, None, None)
    assert judge_stall(stall).quality is Quality.INFERRED
    for one, other in ((Counters(5, 1), Counters()), (Counters(), Counters(5, 1))):
        stall = stall_between(one, other, gap_s=3.0, running_s=0.0, rate=200.0)
        assert (stall.expected_switches, stall.seen_switches) == (None, None)
        assert background_rate(one, other, 1.0) is None
    assert background_rate(Counters(5, 1), Counters(9, 1), 0.0) is None
    assert stall_between(Counters(5, 1), Counters(9, 1), gap_s=3.0, running_s=0.0, rate=None).expected_switches is None


def test_what_rose_over_the_gap_is_counted_and_not_what_stood_there_before() -> None:
    before = Counters(1000, 10, waited_ns=ns(50), stolen_ns=ns(60), frozen_ns=ns(70), throttled_ns=ns(80))
    after = Counters(1660, 20, waited_ns=ns(50.5), stolen_ns=ns(61), frozen_ns=ns(71.5), throttled_ns=ns(82))
    stall = stall_between(before, after, gap_s=3.0, running_s=0.2, rate=200.0)
    assert (stall.seen_switches, stall.expected_switches) == (600, 600)
    assert (stall.waited_s, stall.stolen_s, stall.frozen_s, stall.throttled_s) == (0.5, 1.0, 1.5, 2.0)


def test_the_evidence_is_told_in_figures_and_what_explains_nothing_is_left_out() -> None:
    told = " | ".join(judge_stall(Stall(3.0, expected_switches=630, seen_switches=12, waited_s=0.02, stolen_s=2.5,
                                        frozen_s=0.0, throttled_s=0.149)).evidence)
    assert "12 of about 630 context switches expected of other processes" in told
    assert "2.500 s stolen by the host" in told
    assert "ready to run" not in told and "control group" not in told and "quota" not in told
    assert "0.151 s over its quota" in " ".join(judge_stall(Stall(3.0, throttled_s=0.151)).evidence)
    assert "context switches" not in " ".join(judge_stall(Stall(3.0, seen_switches=5)).evidence)
