"""What the pause watch tells, on played clocks: each pause once, with its bounds, cause and evidence."""
from __future__ import annotations

import pytest

from pause_played import PlayedMachine, ns
from tideover.model import Cause, Quality


@pytest.fixture
def machine() -> PlayedMachine:
    machine = PlayedMachine()
    machine.tick(20)
    return machine


def test_a_calm_machine_tells_nothing(machine: PlayedMachine) -> None:
    machine.tick(1000)
    assert machine.heard.told == [] and machine.heard.clock_sets == 0


def test_a_stop_of_the_machine_comes_out_once_with_its_length_and_bounds(machine: PlayedMachine) -> None:
    machine.halt(3.0)
    machine.tick(20)
    [pause] = machine.heard.pauses
    assert pause.cause is Cause.VM_PAUSE and pause.quality is Quality.MEASURED
    assert pause.length_s is not None and pause.uncertainty_s is not None
    assert abs(pause.length_s - 3.0) <= pause.uncertainty_s <= 0.13
    assert pause.clocksource == ("tsc", "tsc")


@pytest.mark.parametrize("into_s", [0.0, 0.01, 0.12, 0.24, 0.25])
def test_the_claimed_interval_holds_the_truth_wherever_the_stop_began(machine: PlayedMachine, into_s: float) -> None:
    machine.halt(3.0, into_s=into_s)
    [pause] = machine.heard.pauses
    assert pause.length_s is not None and pause.uncertainty_s is not None
    assert abs(pause.length_s - 3.0) <= pause.uncertainty_s


def test_a_stop_of_this_process_alone_is_a_stall(machine: PlayedMachine) -> None:
    machine.halt(3.0, others=True)
    [pause] = machine.heard.pauses
    assert (pause.cause, pause.quality) == (Cause.PROCESS_STALL, Quality.MEASURED)
    assert any("ran in the gap" in line for line in pause.evidence)


def test_starvation_is_a_stall_even_where_no_other_process_switches(machine: PlayedMachine) -> None:
    machine.counters.add(waited_ns=ns(2.9))
    machine.halt(3.0)
    assert [pause.cause for pause in machine.heard.pauses] == [Cause.PROCESS_STALL]


def test_a_burst_of_scheduler_delays_below_the_threshold_is_silent(machine: PlayedMachine) -> None:
    machine.tick(200, late_s=0.499)
    assert machine.heard.told == []


def test_delays_make_later_claims_more_careful(machine: PlayedMachine) -> None:
    machine.tick(10, late_s=0.1)
    machine.halt(3.0)
    assert machine.heard.pauses[0].uncertainty_s == pytest.approx(0.125 + 0.1)


def test_a_gap_in_the_first_second_is_not_called_a_stop_of_the_machine() -> None:
    """What is usual here is not known yet, so silence means nothing."""
    machine = PlayedMachine()
    machine.tick(2)
    machine.halt(3.0)
    assert (machine.heard.pauses[0].cause, machine.heard.pauses[0].quality) == (Cause.PROCESS_STALL, Quality.INFERRED)


@pytest.mark.parametrize(("by_s", "words"), [(4.0, "forward by 4.000 s"), (-0.7, "back by 0.700 s")])
def test_a_step_of_the_wall_clock_is_reported_without_a_length(machine: PlayedMachine, by_s: float, words: str) -> None:
    machine.clocks.set_wall(by_s)
    machine.tick(20)
    [step] = machine.heard.pauses
    assert (step.cause, step.length_s, step.uncertainty_s) == (Cause.CLOCK_STEP, 0.0, 0.0)
    assert step.evidence[0].endswith(words)
    assert machine.heard.clock_sets == 1


def test_a_small_step_asks_for_a_clock_check_and_is_no_pause(machine: PlayedMachine) -> None:
    machine.clocks.set_wall(0.004)
    machine.tick(20)
    assert machine.heard.told == [] and machine.heard.clock_sets == 1


def test_steps_too_small_to_tell_add_up_to_one_that_is_not(machine: PlayedMachine) -> None:
    """A daemon that steps by 0.4 ms every second moves the clock as far as one that steps by a second at once."""
    for _ in range(3):
        machine.clocks.set_wall(0.0004)
        machine.tick()
    assert machine.heard.clock_sets == 1


def test_a_suspend_is_reported_with_its_exact_length_and_is_no_step(machine: PlayedMachine) -> None:
    machine.clocks.suspend(3600.0)
    machine.tick(20)
    [pause] = machine.heard.pauses
    assert (pause.cause, pause.length_s) == (Cause.SUSPEND, 3600.0)
    assert machine.heard.clock_sets == 0


def test_a_stop_and_a_step_in_one_wait_are_two_pauses_with_two_ids(machine: PlayedMachine) -> None:
    machine.clocks.set_wall(5.0)
    machine.halt(3.0)
    assert [pause.cause for pause in machine.heard.pauses] == [Cause.VM_PAUSE, Cause.CLOCK_STEP]
    assert len({pause.id for pause in machine.heard.pauses}) == 2


def test_a_pause_id_says_when_in_utc_and_on_the_raw_clock(machine: PlayedMachine) -> None:
    machine.halt(3.0)
    [pause] = machine.heard.pauses
    assert pause.id == f"pause-{pause.resumed_at:%Y%m%dT%H%M%S}100-{round(pause.resumed_raw_s * 1000)}"


def test_a_clocksource_that_the_kernel_gave_up_is_in_the_record(machine: PlayedMachine) -> None:
    machine.counters.source = "hpet"
    machine.halt(3.0)
    machine.halt(3.0)
    assert [pause.clocksource for pause in machine.heard.pauses] == [("tsc", "hpet"), ("hpet", "hpet")]


def test_counters_that_are_dear_are_read_seldom(machine: PlayedMachine) -> None:
    machine.counters.price_ns = ns(5)
    before = machine.counters.reads
    machine.tick(400)
    assert machine.counters.reads - before == 20


def test_the_first_seconds_and_an_event_are_worth_any_price() -> None:
    """What ran before a stop must not be taken for having run in it, and an agent that has just started must judge too."""
    machine = PlayedMachine()
    machine.counters.price_ns, machine.counters.rate = ns(10), 200.0
    machine.tick(16)
    machine.noticer.expect_event()
    machine.tick(8)
    machine.counters.others_run(30)
    machine.tick()
    machine.halt(3.0)
    assert [pause.cause for pause in machine.heard.pauses] == [Cause.VM_PAUSE]


def test_a_machine_that_has_just_become_quiet_is_not_taken_for_a_stopped_one(machine: PlayedMachine) -> None:
    """What was usual a minute of work ago is not what must be expected now."""
    machine.tick(400)
    machine.counters.rate = 0.5
    machine.tick(60)
    machine.halt(3.0, others=True)
    assert [pause.cause for pause in machine.heard.pauses] == [Cause.PROCESS_STALL]


def test_a_burst_of_work_does_not_make_a_quiet_machine_look_stopped_later(machine: PlayedMachine) -> None:
    machine.counters.rate = 0.5
    machine.tick(400)
    machine.counters.add(switches=100_000)
    machine.tick(4)
    machine.halt(3.0, others=True)
    assert [pause.cause for pause in machine.heard.pauses] == [Cause.PROCESS_STALL]
