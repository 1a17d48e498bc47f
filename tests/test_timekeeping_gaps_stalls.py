"""Whether machine or process was paused in a gap, by what the kernel counted meanwhile."""
from __future__ import annotations

import pytest

from pause_played import ns
from tideover.model import Cause, Quality
from tideover.timekeeping.gaps import (
    NOT_KNOWN,
    KernelCounters,
    ProcessActivity,
    Stall,
    background_rate,
    judge_stall,
    stall_between,
    wake_after_ns,
)


def test_a_wake_up_that_had_to_queue_widens_the_claim_but_a_starved_process_stop_is_its_queue() -> None:
    assert wake_after_ns(ns(0.005), Stall(3.0, waited_s=0.04)) == ns(0.045)
    assert wake_after_ns(ns(0.005), Stall(3.0, waited_s=2.9)) == ns(0.005)
    assert wake_after_ns(ns(0.007), Stall(3.0)) == ns(0.007)


STALLS = [
    # measured on real machines: all but the last row say which way the evidence must fall
    ("the machine stood still", Stall(3.0, expected=ProcessActivity(630), seen=ProcessActivity(0)), Cause.VM_PAUSE),
    ("silence but for a few", Stall(3.0, expected=ProcessActivity(630), seen=ProcessActivity(63)), Cause.VM_PAUSE),
    ("stopped by a signal, idle machine", Stall(2.07, expected=ProcessActivity(190), seen=ProcessActivity(182)), Cause.PROCESS_STALL),
    ("stopped by a signal, busy machine", Stall(2, expected=ProcessActivity(41000), seen=ProcessActivity(42615)), Cause.PROCESS_STALL),
    ("starved on a silent machine", Stall(7.2, expected=ProcessActivity(700), seen=ProcessActivity(0), waited_s=7.19),
     Cause.PROCESS_STALL),
    ("control group frozen", Stall(3, expected=ProcessActivity(630), seen=ProcessActivity(0), frozen_s=2.9), Cause.PROCESS_STALL),
    ("control group over its quota", Stall(1, expected=ProcessActivity(630), seen=ProcessActivity(0), throttled_s=0.9),
     Cause.PROCESS_STALL),
    ("a debugger", Stall(3, expected=ProcessActivity(630), seen=ProcessActivity(0), traced_by=77), Cause.PROCESS_STALL),
    ("suspended", Stall(3, expected=ProcessActivity(630), seen=ProcessActivity(0), suspended_s=3), Cause.SUSPEND),
    ("a steal clock that counts stops (Xen)", Stall(3, expected=ProcessActivity(630), seen=ProcessActivity(2), stolen_s=3),
     Cause.VM_PAUSE),
]


def counted(gap_s: float, seen: float, a_second: float | None, **more: float) -> Stall:
    """A gap with so many interrupts of others, who usually take so many a second."""
    usual = None if a_second is None else a_second * gap_s
    return Stall(gap_s, ProcessActivity(5000, usual), ProcessActivity(3, seen), **more)      # type: ignore[arg-type]


INTERRUPTS = [
    # measured: guests of one processor (the first nine), machines of two
    ("idle guest, hypervisor stopped", counted(1.22, 6, 50), Cause.VM_PAUSE),
    ("… for longer", counted(2.04, 15, 50), Cause.VM_PAUSE),
    ("… for longer still", counted(10.02, 14, 60), Cause.VM_PAUSE),
    ("busy guest, hypervisor stopped", counted(1.22, 5, 270), Cause.VM_PAUSE),
    ("… for longer still", counted(10.04, 10, 270), Cause.VM_PAUSE),
    ("young agent, hypervisor stopped", counted(5.05, 20, None), Cause.VM_PAUSE),
    ("idle guest, only the agent stopped", counted(1.23, 46, 50), Cause.PROCESS_STALL),
    ("… for longer still", counted(10.05, 285, 50), Cause.PROCESS_STALL),
    ("young agent, only it stopped", counted(3.04, 97, None), Cause.PROCESS_STALL),
    ("whoever waits for the agent falls silent with it", counted(1.3, 58, 2000, processors=2), Cause.PROCESS_STALL),
    ("… and had been very busy", counted(3.0, 260, 20_000, processors=2), Cause.PROCESS_STALL),
    ("a big machine's processors all wake at once", counted(10.0, 400, 30_000, processors=64), Cause.VM_PAUSE),
    ("its devices have much to bring before our turn", counted(5.0, 900, 50_000, processors=4, waited_s=0.02),
     Cause.VM_PAUSE),
    ("a machine that does not say how busy it is usually", Stall(3.0, NOT_KNOWN, ProcessActivity(None, 200.0)),
     Cause.PROCESS_STALL),
]


@pytest.mark.parametrize(("stall", "cause"), [row[1:] for row in INTERRUPTS],
                         ids=[f"{n} {row[0]}" for n, row in enumerate(INTERRUPTS)])
def test_a_paused_machine_serves_no_interrupt_and_one_that_runs_serves_its_timers(
        stall: Stall, cause: Cause) -> None:
    judged = judge_stall(stall)
    assert (judged.cause, judged.quality) == (cause, Quality.MEASURED)
    assert "interrupts in the gap" in judged.evidence[1]


def test_a_gap_too_short_for_the_burst_of_a_resume_to_be_distinguished_from_activity_is_undetermined() -> None:
    assert judge_stall(counted(0.6, 27, 50, processors=2)).quality is Quality.INFERRED


@pytest.mark.parametrize(("stall", "cause"), [row[1:] for row in STALLS], ids=[row[0] for row in STALLS])
def test_evidence_tells_a_stopped_machine_from_a_stalled_process(stall: Stall, cause: Cause) -> None:
    judged = judge_stall(stall)
    assert (judged.cause, judged.quality) == (cause, Quality.MEASURED)
    assert judged.evidence


@pytest.mark.parametrize("stall", [
    Stall(3.0),
    Stall(3.0, expected=ProcessActivity(4), seen=ProcessActivity(0)),          # silence is usual here
    Stall(3.0, expected=ProcessActivity(600), seen=ProcessActivity(200)),      # neither silent nor alive
], ids=["no counters", "too quiet a machine", "in between"])
def test_without_evidence_a_gap_is_taken_for_our_own_and_says_so(stall: Stall) -> None:
    """No pause of the machine is claimed that nothing shows."""
    judged = judge_stall(stall)
    assert (judged.cause, judged.quality) == (Cause.PROCESS_STALL, Quality.INFERRED)
    assert "taken as a stall" in judged.evidence[0]


def test_our_own_switches_do_not_count_as_the_others_life() -> None:
    """An agent that polls on an idle machine would else look like a machine that runs."""
    rate = background_rate(KernelCounters(1000, 50), KernelCounters(1040, 60), 2.0)
    assert rate == ProcessActivity(10.0)


def test_what_ran_beside_the_gap_is_taken_off_before_silence_is_judged() -> None:
    """Measured: +193 switches over 3.98 s of which 0.98 s ran at 210 a second: none in the gap."""
    stall = stall_between(KernelCounters(0, 0), KernelCounters(193, 0), gap_s=3.0, running_s=0.98, rate=ProcessActivity(210.0))
    assert stall.seen.switches == 0 and stall.expected.switches == 630
    assert judge_stall(stall).cause is Cause.VM_PAUSE


def test_counters_that_a_machine_lacks_are_unknown_and_not_zero() -> None:
    stall = stall_between(KernelCounters(), KernelCounters(), gap_s=3.0, running_s=0.0, rate=ProcessActivity(200.0))
    assert (stall.expected.switches, stall.waited_s, stall.frozen_s) == (None, None, None)
    assert judge_stall(stall).quality is Quality.INFERRED
    for one, other in ((KernelCounters(5, 1), KernelCounters()), (KernelCounters(), KernelCounters(5, 1))):
        stall = stall_between(one, other, gap_s=3.0, running_s=0.0, rate=ProcessActivity(200.0))
        assert (stall.expected.switches, stall.seen.switches) == (None, None)
        assert background_rate(one, other, 1.0) == NOT_KNOWN
    assert background_rate(KernelCounters(5, 1), KernelCounters(9, 1), 0.0) == NOT_KNOWN
    assert stall_between(KernelCounters(5, 1), KernelCounters(9, 1), gap_s=3.0, running_s=0.0, rate=NOT_KNOWN).expected.switches is None


def test_what_rose_over_the_gap_is_counted_and_not_what_stood_there_before() -> None:
    before = KernelCounters(1000, 10, waited_ns=ns(50), stolen_ns=ns(60), frozen_ns=ns(70), throttled_ns=ns(80))
    after = KernelCounters(1660, 20, waited_ns=ns(50.5), stolen_ns=ns(61), frozen_ns=ns(71.5), throttled_ns=ns(82))
    stall = stall_between(before, after, gap_s=3.0, running_s=0.2, rate=ProcessActivity(200.0))
    assert (stall.seen.switches, stall.expected.switches) == (600, 600)
    assert (stall.waited_s, stall.stolen_s, stall.frozen_s, stall.throttled_s) == (0.5, 1.0, 1.5, 2.0)


def test_the_evidence_is_given_in_figures_and_what_explains_nothing_is_left_out() -> None:
    told = " | ".join(judge_stall(Stall(3.0, expected=ProcessActivity(630), seen=ProcessActivity(12), waited_s=0.02, stolen_s=2.5,
                                        frozen_s=0.0, throttled_s=0.149)).evidence)
    assert "12 of about 630 context switches expected of other processes" in told
    assert "2.500 s stolen by the host" in told
    assert "ready to run" not in told and "control group" not in told and "quota" not in told
    assert "0.151 s over its quota" in " ".join(judge_stall(Stall(3.0, throttled_s=0.151)).evidence)
    assert "context switches" not in " ".join(judge_stall(Stall(3.0, seen=ProcessActivity(5))).evidence)
