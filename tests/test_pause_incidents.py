"""Pauses in which every clock stopped, moves to another host, and what must not be taken for either."""
from __future__ import annotations

import random

import pytest

from pause_played import PlayedMachine, ns
from tideover.model import Cause, Pause, Quality
from tideover.pause.types import (
    CarrierChanged,
    ClockSet,
    DisruptionAnnounced,
    HostChanged,
    MarkerMoved,
    MoveProved,
    NetworkAnnounced,
)
from tideover.timekeeping.pause_fusion import SourceSample


def holds(pause: Pause, truth_s: float) -> bool:
    assert pause.length_s is not None and pause.uncertainty_s is not None
    return abs(pause.length_s - truth_s) <= pause.uncertainty_s


@pytest.fixture
def machine() -> PlayedMachine:
    """One that lives quietly beside a time server that answers every second."""
    machine = PlayedMachine()
    machine.live(30)
    return machine


def test_a_pause_in_which_all_clocks_stop_is_found_and_measured_by_outside_time(machine: PlayedMachine) -> None:
    machine.freeze(10)
    machine.live(30)
    [pause] = machine.pauses
    assert (pause.cause, pause.quality) == (Cause.VM_PAUSE, Quality.MEASURED)
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s < 0.01
    assert "left behind by 10.0" in " ".join(pause.evidence)


def test_a_stop_is_reported_a_beat_after_its_second_answer(machine: PlayedMachine) -> None:
    """One answer alone may be a server's error; the second is asked for at once."""
    machine.freeze(10)
    machine.ask()
    machine.tick()
    assert machine.pauses == [] and machine.heard.wanted == 2 and machine.noticer.is_waiting
    machine.ask()
    machine.tick()
    assert len(machine.pauses) == 1 and not machine.noticer.is_waiting


def test_a_stop_that_only_one_answer_showed_is_reported_when_no_source_answers_again(machine: PlayedMachine) -> None:
    machine.freeze(10)
    machine.ask()
    machine.tick(50)
    assert len(machine.pauses) == 1


def test_while_an_event_is_near_nothing_is_waited_for_longer_than_a_second(machine: PlayedMachine) -> None:
    machine.noticer.expect_event()
    machine.freeze(10)
    machine.ask()
    machine.tick(6)
    assert len(machine.pauses) == 1


def test_one_wrong_answer_of_the_only_server_is_no_pause(machine: PlayedMachine) -> None:
    for error in (7.0, -7.0):
        machine.ask(error_s=error)
        machine.tick(2)
        machine.live(40)
    assert machine.pauses == []


def test_a_server_that_was_set_alone_is_no_pause() -> None:
    machine = PlayedMachine()
    machine.live(30, "ntp:a", "ntp:b")
    machine.set_server("ntp:a", 5)
    machine.live(60, "ntp:a", "ntp:b")
    machine.set_server("ntp:b", -5)
    machine.live(60, "ntp:a", "ntp:b")
    assert machine.pauses == []
    machine.freeze(4)
    machine.live(10, "ntp:a", "ntp:b")
    assert [round(pause.length_s or 0, 2) for pause in machine.pauses] == [4.0]


def test_the_host_putting_the_clock_right_is_part_of_the_pause_and_no_second_one(machine: PlayedMachine) -> None:
    """Azure's way: every clock freezes, and a moment after the resume the wall clock is stepped by as much."""
    machine.freeze(28)
    machine.clocks.set_wall(28.0)
    machine.tick(1, ClockSet())
    assert machine.heard.clock_sets == 1 and machine.heard.wanted == 1
    machine.live(30)
    [pause] = machine.pauses
    assert pause.cause is Cause.VM_PAUSE and holds(pause, 28)
    assert "corrected since" in " ".join(pause.evidence)


def test_a_daemon_putting_the_clock_right_later_is_a_step_and_no_second_pause(machine: PlayedMachine) -> None:
    machine.noticer.expect_event()
    machine.freeze(10)
    machine.live(21)
    machine.clocks.set_wall(10.0)
    machine.live(21)
    assert [pause.cause for pause in machine.pauses] == [Cause.VM_PAUSE, Cause.CLOCK_STEP]


def test_time_servers_are_not_urged_for_a_step_that_only_puts_a_known_pause_right(machine: PlayedMachine) -> None:
    """The next stop may come soon, and one question beyond the credit is all there is for it."""
    machine.freeze(10)
    machine.live(30)
    wanted = machine.heard.wanted
    machine.clocks.set_wall(10.0)
    machine.live(20)
    machine.clocks.set_wall(-3.0)
    machine.live(20)
    assert machine.heard.wanted == wanted
    machine.clocks.set_wall(10.0)
    machine.tick()
    assert machine.heard.wanted == wanted + 1


def test_a_stop_that_a_date_shows_while_such_a_step_is_looked_into_is_asked_about() -> None:
    machine = PlayedMachine()
    machine.noticer.expect_event()
    machine.live(30, "date:metadata", "ntp:a")
    machine.clocks.set_wall(-3.0)
    machine.tick()
    assert machine.heard.wanted == 0
    machine.freeze(10)
    machine.ask("date:metadata", bound_s=1.0)
    machine.tick()
    assert machine.heard.wanted == 1


def test_a_step_by_hand_is_no_pause_even_while_one_is_due(machine: PlayedMachine) -> None:
    machine.noticer.expect_event()
    machine.clocks.set_wall(5.0)
    machine.live(20)
    assert [pause.cause for pause in machine.pauses] == [Cause.CLOCK_STEP]
    assert "no pause longer than" in " ".join(machine.pauses[0].evidence)


def test_a_step_there_and_back_while_no_source_answers_is_two_steps(machine: PlayedMachine) -> None:
    machine.clocks.set_wall(5.0)
    machine.tick(4)
    machine.clocks.set_wall(-5.0)
    machine.tick(60)
    assert [pause.evidence[0][-12:] for pause in machine.pauses] == ["d by 5.000 s", "k by 5.000 s"]
    assert machine.pauses[0].resumed_raw_s < machine.pauses[1].resumed_raw_s


def test_a_machine_without_a_source_infers_the_pause_from_the_step_when_one_is_due() -> None:
    machine = PlayedMachine()
    machine.tick(40)
    machine.noticer.expect_event()
    machine.freeze(9)
    machine.clocks.set_wall(9.0)
    machine.tick(4)
    [pause] = machine.pauses
    assert (pause.cause, pause.quality) == (Cause.VM_PAUSE, Quality.INFERRED) and holds(pause, 9)


def test_a_second_pause_is_measured_from_the_first_one_on(machine: PlayedMachine) -> None:
    machine.freeze(10)
    machine.live(3)
    machine.freeze(2)
    machine.live(30)
    first, second = machine.pauses
    assert holds(first, 10) and holds(second, 2)


def test_a_source_that_slept_through_the_pause_does_not_tell_it_again(machine: PlayedMachine) -> None:
    machine.live(5, "ntp:a", "ntp:b")
    machine.freeze(10)
    machine.live(40, "ntp:a")
    machine.live(40, "ntp:a", "ntp:b")
    assert len(machine.pauses) == 1


def test_the_date_header_alone_bounds_a_pause() -> None:
    machine = PlayedMachine()
    machine.live(30, "date:metadata", bound_s=1.0)
    machine.freeze(10)
    machine.live(30, "date:metadata", bound_s=1.0)
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s <= 2.1


def test_a_finer_source_is_waited_for_when_a_coarse_one_shows_the_pause_first() -> None:
    machine = PlayedMachine()
    machine.noticer.expect_event()
    machine.live(30, "date:metadata", bound_s=1.0)
    machine.ask("ntp:a")
    machine.tick(4)
    machine.freeze(10)
    machine.ask("date:metadata", bound_s=1.0)
    machine.tick()
    machine.ask("date:metadata", bound_s=1.0)
    machine.tick()
    assert machine.pauses == []
    machine.ask("ntp:a")
    machine.tick()
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s < 0.01


def stopped_as_the_date_shows(*, fine_source_spoke_before: bool) -> PlayedMachine:
    """A machine near an event that was paused for ten seconds; two answers' Date show it, no time server does yet."""
    machine = PlayedMachine()
    machine.noticer.expect_event()
    machine.live(30, "date:metadata", bound_s=1.0)
    if fine_source_spoke_before:
        machine.ask("ntp:a")
    machine.tick(4)
    machine.freeze(10)
    for _ in range(2):
        machine.ask("date:metadata", bound_s=1.0)
        machine.tick()
    return machine


def test_a_time_server_that_must_be_left_alone_for_two_seconds_measures_the_stop_all_the_same() -> None:
    """A Date header counts whole seconds; the time server was asked just before the stop."""
    machine = stopped_as_the_date_shows(fine_source_spoke_before=True)
    machine.live(2, "date:metadata", bound_s=1.0)
    assert machine.pauses == [] and machine.heard.wanted == 1
    machine.tick()
    machine.ask("ntp:a")
    machine.tick()
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s < 0.01


def test_what_is_known_is_reported_when_the_finer_source_stays_silent() -> None:
    machine = stopped_as_the_date_shows(fine_source_spoke_before=True)
    machine.live(2.5, "date:metadata", every_s=0.5, bound_s=1.0)
    assert machine.pauses == []
    machine.tick(4)
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s > 0.5


def test_a_finer_source_that_gave_nothing_before_the_stop_is_not_waited_for() -> None:
    machine = stopped_as_the_date_shows(fine_source_spoke_before=False)
    assert len(machine.pauses) == 1
    machine = stopped_as_the_date_shows(fine_source_spoke_before=False)
    machine.ask("ntp:a")
    machine.tick()
    assert len(machine.pauses) == 1


def test_a_stop_soon_after_the_clock_was_set_is_found_though_the_fine_source_was_first_heard_in_between() -> None:
    """As an agent lives that starts, sees the time daemon set the clock, and is stopped some seconds later."""
    machine = PlayedMachine()
    machine.live(3, "date:metadata", bound_s=1.0)
    machine.clocks.set_wall(-0.2)
    machine.tick()
    machine.live(3, "date:metadata", "ntp:a")
    machine.live(4, "date:metadata", bound_s=1.0)
    machine.noticer.expect_event()
    machine.live(2, "ntp:a")
    machine.freeze(10)
    machine.ask("ntp:a")
    machine.tick(2)
    machine.live(10, "date:metadata", "ntp:a")
    [pause] = machine.pauses
    assert pause.cause is Cause.VM_PAUSE and holds(pause, 10)


def test_a_stop_while_a_step_still_waits_for_its_answers_is_not_denied_by_who_has_not_spoken_since() -> None:
    machine = PlayedMachine()
    machine.live(30, "ntp:a", "date:metadata")
    machine.clocks.set_wall(-5)
    machine.tick()
    machine.ask("date:metadata", bound_s=1.0)
    machine.tick()
    machine.freeze(10)
    machine.ask("ntp:a")
    machine.tick(2)
    machine.live(12, "ntp:a", "date:metadata")
    assert [pause.cause for pause in machine.pauses] == [Cause.VM_PAUSE] and holds(machine.pauses[0], 10)


def test_a_hyperv_clock_that_froze_with_the_guest_does_not_outvote_a_server() -> None:
    machine = PlayedMachine()
    machine.live(30, "ntp:a", "ptp_hyperv")
    machine.freeze(10)
    machine.set_server("ptp_hyperv", -10)
    machine.live(3, "ntp:a", "ptp_hyperv")
    assert [round(pause.length_s or 0, 1) for pause in machine.pauses] == [10.0]
    machine.set_server("ptp_hyperv", 10)
    machine.live(60, "ntp:a", "ptp_hyperv")
    assert len(machine.pauses) == 1


def test_a_jump_too_small_to_tell_is_silent_and_hides_nothing(machine: PlayedMachine) -> None:
    machine.freeze(0.3)
    machine.live(2)
    machine.freeze(5)
    machine.live(40)
    assert len(machine.pauses) == 1 and holds(machine.pauses[0], 5)


def test_a_migration_that_the_network_announces_is_measured_by_one_answer(machine: PlayedMachine) -> None:
    """The announcement is the second witness, so nothing is waited for."""
    machine.freeze(2)
    machine.tick(1, NetworkAnnounced("eth0"))
    assert machine.heard.wanted == 1
    machine.ask()
    machine.tick()
    [pause] = machine.pauses
    assert holds(pause, 2) and "eth0 announced itself to the network" in pause.evidence


@pytest.mark.parametrize("signal", [NetworkAnnounced("bond0"), CarrierChanged("eth0", "its link changed")])
@pytest.mark.parametrize("event_is_near", [False, True])
def test_a_network_event_alone_is_a_reason_to_look_and_no_pause(signal: NetworkAnnounced | CarrierChanged,
                                                                 event_is_near: bool) -> None:
    """A prepare hook may well take a link down; that must not look like the end of the freeze."""
    for answers in (True, False):
        machine = PlayedMachine()
        if event_is_near:
            machine.noticer.expect_event()
        if answers:
            machine.live(20)
        machine.tick(1, signal)
        assert machine.heard.wanted == 1
        machine.live(20) if answers else machine.tick(80)
        assert machine.pauses == []


def test_the_hypervisors_marker_is_reported_with_the_blackout_however_short(machine: PlayedMachine) -> None:
    machine.freeze(0.04)
    machine.tick(1, MarkerMoved(1, 2))
    machine.live(10)
    [pause] = machine.pauses
    assert pause.cause is Cause.VM_PAUSE and holds(pause, 0.04)
    assert "from 1 to 2" in " ".join(pause.evidence)


def test_a_move_too_short_for_any_clock_is_bounded_and_one_that_cannot_be_measured_is_unknown(
        machine: PlayedMachine) -> None:
    machine.tick(1, MarkerMoved(1, 2))
    machine.live(10)
    lonely = PlayedMachine()
    lonely.tick(4, MarkerMoved(1, 2))
    [bounded], [unknown] = machine.pauses, lonely.pauses
    assert bounded.quality is Quality.BOUNDED and holds(bounded, 0.0)
    assert (unknown.quality, unknown.length_s, unknown.uncertainty_s) == (Quality.UNKNOWN, None, None)


def test_what_proves_a_pause_after_it_was_reported_becomes_evidence_of_that_pause(machine: PlayedMachine) -> None:
    """A pause is reported at once; the platform's word of it comes with a later poll."""
    machine.halt(2.0)
    machine.tick(12)
    machine.tick(1, MoveProved("the drift token changed from 3 to 4"))
    machine.tick(40, MoveProved("the drift token changed from 3 to 4"))
    [pause], [proved] = machine.pauses, machine.heard.proved
    assert proved.id == pause.id and proved.evidence == (*pause.evidence, "the drift token changed from 3 to 4")


def test_a_move_that_no_clock_shows_is_a_pause_by_the_word_of_the_platform_alone(machine: PlayedMachine) -> None:
    machine.tick(1, MoveProved("the drift token changed from 3 to 4"))
    machine.live(10)
    [pause] = machine.pauses
    assert pause.cause is Cause.VM_PAUSE and pause.evidence[0] == "the drift token changed from 3 to 4"
    assert machine.heard.proved == []


def test_a_change_of_the_physical_host_is_called_out_and_in_the_pause(machine: PlayedMachine) -> None:
    machine.freeze(1.5)
    machine.tick(1, HostChanged("node-3", "node-7"))
    machine.live(10)
    [pause] = machine.pauses
    assert pause.host == ("node-3", "node-7") and holds(pause, 1.5)
    assert machine.heard.hosts == [("node-3", "node-7")]


@pytest.mark.parametrize("signal", [MarkerMoved(1, 2), HostChanged("a", "b"), NetworkAnnounced("eth0")])
def test_with_a_sign_as_second_witness_one_answer_is_enough(
        machine: PlayedMachine, signal: MarkerMoved | HostChanged | NetworkAnnounced) -> None:
    machine.freeze(2)
    machine.tick(1, signal)
    machine.ask()
    machine.tick()
    assert len(machine.pauses) == 1


def test_five_announcements_of_one_migration_ask_for_outside_time_once(machine: PlayedMachine) -> None:
    """QEMU repeats them at 0, 41, 197, 448 and 803 ms."""
    machine.freeze(0.04)
    for _ in range(5):
        machine.tick(1, NetworkAnnounced("eth0"))
        machine.ask()
    machine.live(20)
    assert machine.heard.wanted <= 2 and machine.pauses == []
    machine.tick(1, NetworkAnnounced("eth0"))
    assert machine.heard.wanted >= 2


def test_a_suspend_too_short_to_tell_is_silent(machine: PlayedMachine) -> None:
    machine.clocks.suspend(0.4)
    machine.freeze(0.4)
    machine.live(30)
    assert machine.pauses == []


def test_a_pause_inferred_from_its_step_is_not_reported_again_when_the_server_is_back(machine: PlayedMachine) -> None:
    machine.noticer.expect_event()
    machine.freeze(9)
    machine.clocks.set_wall(9.0)
    machine.tick(80)
    machine.live(40)
    [pause] = machine.pauses
    assert pause.quality is Quality.INFERRED and holds(pause, 9)


def test_a_coarse_pause_put_right_by_a_step_later_is_not_a_second_one() -> None:
    """The Date header cannot tell 2.4 s from nothing; what was left behind before tells that this is the repair."""
    machine = PlayedMachine()
    machine.noticer.expect_event()
    machine.live(30, "date:metadata", bound_s=1.0)
    machine.freeze(2.4)
    machine.tick(1, HostChanged("a", "b"))
    machine.live(20, "date:metadata", bound_s=1.0)
    assert len(machine.pauses) == 1
    for _ in range(3):
        machine.clocks.set_wall(1.2)
        machine.live(20, "date:metadata", bound_s=1.0)
    assert [pause.cause for pause in machine.pauses] == [Cause.VM_PAUSE, Cause.CLOCK_STEP, Cause.CLOCK_STEP,
                                                         Cause.VM_PAUSE]
    assert machine.pauses[-1].quality is Quality.INFERRED


def test_gaps_that_were_part_of_one_pause_are_not_part_of_the_next(machine: PlayedMachine) -> None:
    machine.freeze(3)
    machine.halt(0.5, into_s=0.2)
    machine.live(3)
    machine.freeze(2)
    machine.live(20)
    assert [holds(pause, truth) for pause, truth in zip(machine.pauses, (3.5, 2.0), strict=True)] == [True, True]
    assert (machine.pauses[1].uncertainty_s or 1) < 0.01


@pytest.mark.parametrize("by_s", [0.1, -5.0])
def test_the_samples_of_a_source_before_it_was_set_are_forgotten(machine: PlayedMachine, by_s: float) -> None:
    """So that the next stop is measured from the newest word."""
    machine.set_server("ntp:a", by_s)
    machine.live(44, every_s=4)
    assert machine.pauses == [] and machine.outside.inconsistent() == {}
    machine.freeze(4)
    machine.live(10)
    assert len(machine.pauses) == 1 and holds(machine.pauses[0], 4)


def test_of_two_sources_that_disagree_the_one_that_jumped_is_compared_again(machine: PlayedMachine) -> None:
    machine.live(10, "ntp:a", "ntp:b")
    machine.set_server("ntp:a", 5)
    machine.live(10, "ntp:a", "ntp:b")
    assert machine.outside.inconsistent() == {} and not machine.noticer.is_waiting
    machine.freeze(3)
    machine.live(10, "ntp:a")
    assert len(machine.pauses) == 1 and holds(machine.pauses[0], 3)


def test_coarse_answers_go_on_narrowing_however_many_there_are() -> None:
    """A ring that only dropped its oldest would forget what a lucky answer once pinned down."""
    machine = PlayedMachine()
    machine.ask("date:b", bound_s=1.0, error_s=0.95)
    machine.ask("date:b", bound_s=1.0, error_s=-0.95)
    machine.live(100, "date:b", bound_s=1.0)
    machine.freeze(1.2)
    machine.live(10, "date:b", bound_s=1.0)
    assert [holds(pause, 1.2) for pause in machine.pauses] == [True]


def test_a_host_name_that_comes_seconds_after_its_pause_is_logged_and_reported_no_second_time(
        machine: PlayedMachine) -> None:
    machine.freeze(3)
    machine.live(8)
    machine.tick(1, HostChanged("node-3", "node-7"))
    machine.live(30)
    assert len(machine.pauses) == 1 and machine.heard.hosts == [("node-3", "node-7")]


def test_a_marker_beside_a_visible_gap_makes_it_the_machines(machine: PlayedMachine) -> None:
    machine.counters.rate = 0
    machine.live(60)
    machine.halt(3.0, MarkerMoved(1, 2))
    machine.live(10)
    [pause] = machine.pauses
    assert (pause.cause, pause.quality) == (Cause.VM_PAUSE, Quality.INFERRED) and holds(pause, 3)


def test_what_cannot_be_decided_is_the_stop_that_was_due_and_the_next_is_a_stall_again(machine: PlayedMachine) -> None:
    """An agent held up while its event is cleared up must not make a second, unannounced stop of the machine of it."""
    machine.counters.rate = 0
    machine.tick(100)
    machine.noticer.expect_event()
    machine.halt(3)
    machine.tick(40)
    machine.halt(2)
    assert [(pause.cause, pause.quality) for pause in machine.pauses] == [
        (Cause.VM_PAUSE, Quality.INFERRED), (Cause.PROCESS_STALL, Quality.INFERRED)]


def test_a_pause_that_shows_in_part_on_the_raw_clock_is_reported_in_two_parts_that_add_up(machine: PlayedMachine) -> None:
    """A clocksource that wraps (acpi_pm, 4.7 s) shows 0.63 s of a 10 s pause as a gap; the rest only outside."""
    machine.freeze(9.37)
    machine.halt(0.9)
    machine.live(10)
    visible, frozen = machine.pauses
    assert holds(visible, 0.9) and holds(frozen, 9.37)


def test_a_gap_below_the_threshold_counts_as_part_of_the_frozen_time_it_goes_with(machine: PlayedMachine) -> None:
    machine.freeze(3)
    machine.halt(0.5, into_s=0.2)
    machine.live(10)
    [pause] = machine.pauses
    assert holds(pause, 3.5)


def test_a_suspend_is_reported_once_and_not_again_by_outside_time(machine: PlayedMachine) -> None:
    machine.clocks.suspend(600)
    machine.freeze(600)
    machine.live(30)
    [pause] = machine.pauses
    assert (pause.cause, pause.length_s) == (Cause.SUSPEND, 600.0)


def test_a_disruption_that_the_hypervisor_foresees_is_passed_on(machine: PlayedMachine) -> None:
    machine.tick(1, DisruptionAnnounced(imminent=True))
    assert machine.heard.disruptions == [True] and machine.pauses == []


def test_the_resume_lies_between_the_last_answer_before_and_the_first_after(machine: PlayedMachine) -> None:
    """A clock check asks for samples newer than this moment."""
    before_s = machine.clocks.raw / 1e9
    machine.freeze(10)
    machine.tick(2)
    asked_s = machine.clocks.raw / 1e9
    machine.live(10)
    [pause], now = machine.pauses, machine.clocks.moment()
    assert before_s < pause.resumed_raw_s <= asked_s
    assert (now.utc - pause.resumed_at).total_seconds() == pytest.approx(now.raw_s - pause.resumed_raw_s, abs=1e-5)


def test_only_the_first_contradiction_wakes_the_watch(machine: PlayedMachine) -> None:
    sample = machine.outside.newest()["ntp:a"]
    jumped = SourceSample(sample.raw_ns + 1, sample.offset_ns + ns(9), sample.bound_ns)
    assert machine.outside.add("ntp:a", jumped)
    assert not machine.outside.add("ntp:a", jumped)


@pytest.mark.parametrize("bound_s", [0.0005, pytest.param(0.02, marks=pytest.mark.slow)])
def test_whatever_the_order_of_answers_and_signs_every_stop_is_reported_once_within_its_bounds(bound_s: float) -> None:
    """Random lives: stops of 1 to 20 s, with or without signs and steps by the host, answers at any moment."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)
    for _ in range(15):
        machine = PlayedMachine()
        truths = []
        machine.live(5, bound_s=bound_s)
        for _ in range(3):
            machine.tick(dice.randrange(3))
            truths.append(dice.uniform(1, 20))
            machine.freeze(truths[-1])
            if dice.random() < 0.4:
                machine.tick(1, dice.choice((MarkerMoved(1, 2), NetworkAnnounced("eth0"), HostChanged("a", "b"))))
            if dice.random() < 0.4:
                machine.clocks.set_wall(truths[-1])
            machine.tick(dice.randrange(4))
            for _ in range(40):
                machine.ask(bound_s=bound_s, error_s=dice.uniform(-bound_s, bound_s))
                machine.tick(dice.randrange(1, 6))
        told = [pause for pause in machine.pauses if pause.cause is Cause.VM_PAUSE]
        assert len(told) == 3, (truths, machine.pauses)
        assert all(holds(pause, truth) for pause, truth in zip(told, truths, strict=True)), (truths, told)
        assert all((pause.uncertainty_s or 0) < 2.1 * bound_s + 0.002 for pause in told)


@pytest.mark.slow
def test_no_life_without_a_stop_ever_tells_one() -> None:
    """Random lives without a stop: signs, steps, delays, drift and silent servers, but nothing is invented."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)
    for _ in range(10):
        machine = PlayedMachine()
        machine.live(10, "ntp:a", "date:b", bound_s=0.01)
        for _ in range(60):
            event = dice.randrange(8)
            if event == 0:
                machine.clocks.set_wall(dice.uniform(-5, 5))
            elif event == 1:
                machine.tick(1, NetworkAnnounced("eth0"))
            elif event == 2:
                machine.tick(3, late_s=dice.uniform(0, 0.45))
            elif event == 3:
                machine.lost_ns += ns(dice.uniform(-1, 1) * 1e-4)      # the raw clock drifts
            else:
                machine.live(dice.randrange(1, 5), *dice.choice((("ntp:a",), ("date:b",), ("ntp:a", "date:b"))),
                             bound_s=0.01)
        assert all(pause.cause is Cause.CLOCK_STEP for pause in machine.pauses), machine.pauses


def test_a_stop_that_the_platform_tells_of_ten_times_a_second_is_not_forgotten_while_a_time_server_is_waited_for() -> None:
    machine = PlayedMachine()
    machine.TICK_S = 0.1
    machine.noticer.expect_event()
    machine.live(30, "date:metadata", bound_s=1.0)
    machine.ask("ntp:a")
    machine.tick()
    machine.freeze(10)
    machine.live(5, "date:metadata", every_s=0.1, bound_s=1.0)
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s <= 2.1


@pytest.mark.parametrize("answers", [1, 4])
def test_a_second_stop_while_the_first_is_measured_is_told_with_it_as_one(answers: int) -> None:
    machine = stopped_as_the_date_shows(fine_source_spoke_before=True)
    machine.freeze(5)
    wanted = machine.heard.wanted
    for _ in range(answers):
        machine.ask("date:metadata", bound_s=1.0)
    machine.tick()
    assert machine.pauses == [] and machine.heard.wanted == wanted + 1
    again_raw_ns = machine.clocks.raw
    machine.ask("ntp:a")
    machine.tick()
    [pause] = machine.pauses
    assert holds(pause, 15) and pause.uncertainty_s is not None and pause.uncertainty_s < 0.01
    assert pause.resumed_raw_s >= again_raw_ns / 1e9 - 0.3, "the clock is not judged by what was heard between the stops"


def test_a_wrong_answer_while_a_stop_is_measured_is_no_second_stop() -> None:
    machine = stopped_as_the_date_shows(fine_source_spoke_before=True)
    for error_s in (40.0, 0.0, 0.0):
        machine.ask("date:metadata", bound_s=1.0, error_s=error_s)
        machine.tick()
    machine.ask("ntp:a")
    machine.tick()
    [pause] = machine.pauses
    assert holds(pause, 10) and pause.uncertainty_s is not None and pause.uncertainty_s < 0.01
