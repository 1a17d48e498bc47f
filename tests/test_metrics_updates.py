"""What is counted and measured of an event's life, and how things stand in between: from the decision's own words alone."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from lives import BAD, DONE, FAILED, GOOD, TIMED_OUT, Life, at, event, hook, pause, started
from tideover import observations as ob
from tideover.metrics.collector import STATES, state_snapshot
from tideover.metrics.updates import (
    Counted,
    CounterName,
    HistogramName,
    Measured,
    MetricUpdate,
    PendingTimes,
    updates_of,
)
from tideover.model import Cause, EntryKind
from tideover.policy import FleetRules, Policy

FREEZE = event()


@dataclass
class Counting(Life):
    """A life whose every step is counted."""

    unfinished: PendingTimes = field(default_factory=PendingTimes)
    changes: list[MetricUpdate] = field(default_factory=list)

    def see(self, *observations: ob.Observation) -> Life:
        for seen in observations:
            before, known = self.state, len(self.entries)
            super().see(seen)
            self.unfinished, new = updates_of(self.unfinished, before, self.state, self.entries[known:], self.now)
            self.changes += new
        return self

    def counted(self, tally: CounterName) -> dict[tuple[str, ...], int]:
        return Counter(change.labels for change in self.changes if isinstance(change, Counted) and change.tally is tally)

    def measured(self, span: HistogramName) -> list[float]:
        return [round(change.seconds, 3) for change in self.changes if isinstance(change, Measured) and change.span is span]


def underway(life: Counting) -> Counting:
    """Noticed 900 s ahead; 3 s later all hooks are prepared; acknowledged and begun."""
    life.polled(FREEZE)
    life.now_s += 3.0
    life.settle().acknowledged().polled(started(FREEZE))
    return life


def test_a_whole_freeze_is_counted_and_measured_once():
    life = underway(Counting())
    life.paused(5.0).judged(replace(GOOD, good_after_s=1.5)).after(5.0)
    life.settle().polled()
    assert life.counted(CounterName.EVENTS) == {("freeze", "resumed"): 1}
    assert life.counted(CounterName.HOOK_RUNS) == {("drain", "hook", "prepare", "done"): 1, ("drain", "hook", "recover", "done"): 1}
    assert life.counted(CounterName.ACKNOWLEDGEMENTS) == {("accepted",): 1}
    assert life.counted(CounterName.PAUSES) == {("vm-pause", "true"): 1}
    assert (life.measured(HistogramName.NOTICE), life.measured(HistogramName.PREPARATION)) == ([900.0], [3.0])
    assert (life.measured(HistogramName.PAUSE), life.measured(HistogramName.GOOD_CLOCK)) == ([5.0], [1.5])


def test_a_preparation_that_was_cut_short_or_had_no_hook_says_nothing_of_how_long_hooks_need():
    cancelled = Counting()
    cancelled.polled(FREEZE).polled()
    cancelled.stop_ended().settle()
    assert cancelled.counted(CounterName.EVENTS) == {("freeze", "cancelled"): 1}
    assert cancelled.measured(HistogramName.PREPARATION) == []
    overtaken = Counting()
    overtaken.polled(FREEZE).polled(started(FREEZE))
    assert overtaken.phase() == "started" and overtaken.measured(HistogramName.PREPARATION) == []
    idle = Counting(Policy())
    idle.polled(FREEZE)
    assert idle.phase() == "held" and idle.measured(HistogramName.PREPARATION) == []


def test_a_preparation_is_measured_until_its_last_hook_and_also_when_one_failed():
    life = Counting(Policy(hooks=(hook("first", 10), hook("second", 20))))
    life.polled(FREEZE)
    life.now_s += 2.0
    life.settle()
    life.now_s += 2.5
    life.settle(FAILED, exit_status=1)
    assert life.phase() == "held" and life.measured(HistogramName.PREPARATION) == [4.5]


def test_a_preparation_that_an_earlier_agent_began_is_not_measured():
    """Its begin stood on a clock that this process did not read."""
    life = Counting()
    life.polled(FREEZE)
    life.unfinished = PendingTimes()
    life.restarted().polled(FREEZE)
    life.settle()
    assert life.phase() == "acknowledging" and life.measured(HistogramName.PREPARATION) == []


def test_an_event_of_others_is_left_alone_and_gives_no_notice():
    life = Counting()
    life.polled(event(resources=("vm-2",))).polled()
    assert life.counted(CounterName.EVENTS) == {("freeze", "left-alone"): 1} and life.measured(HistogramName.NOTICE) == []


def test_what_was_first_seen_started_gave_no_notice_that_we_know_of():
    life = Counting()
    life.polled(replace(event(), started=True)).polled()
    life.judged()
    assert life.counted(CounterName.EVENTS) == {("freeze", "missed"): 1} and life.measured(HistogramName.NOTICE) == []


def test_a_run_and_a_pause_that_belong_to_two_events_happened_once():
    other = event("e2")
    life = Counting()
    life.polled(FREEZE, other).settle()
    life.acknowledged().polled(started(FREEZE), started(other)).paused(5.0)
    assert sum(entry.what is EntryKind.PAUSE for entry in life.entries) == 2
    assert sum(entry.what is EntryKind.PREPARE_RUN for entry in life.entries) == 2
    assert life.counted(CounterName.HOOK_RUNS) == {("drain", "hook", "prepare", "done"): 1}
    assert life.counted(CounterName.PAUSES) == {("vm-pause", "true"): 1} and life.measured(HistogramName.PAUSE) == [5.0]


def test_an_unannounced_pause_is_distinguished():
    life = Counting()
    life.polled().paused(7.0)
    life.judged()
    assert life.counted(CounterName.PAUSES) == {("vm-pause", "false"): 1} and life.measured(HistogramName.PAUSE) == [7.0]
    assert life.counted(CounterName.EVENTS) == {("unannounced", "resumed"): 1}
    recorded = Counting(Policy(recover_unannounced=False))
    recorded.paused(7.0)
    assert recorded.counted(CounterName.PAUSES) == {("vm-pause", "false"): 1} and recorded.counted(CounterName.EVENTS) == {}


@pytest.mark.parametrize(("cause", "length_s"), [(Cause.VM_PAUSE, None), (Cause.CLOCK_STEP, 3.0), (Cause.PROCESS_STALL, 3.0)])
def test_only_a_standstill_of_known_length_is_measured(cause, length_s):
    life = Counting()
    life.see(ob.Resumed(replace(pause(cause=cause), length_s=length_s)))
    assert life.counted(CounterName.PAUSES) == {(cause.value, "false"): 1} and life.measured(HistogramName.PAUSE) == []


@pytest.mark.parametrize(("cause", "length_s", "measured"), [
    (Cause.PROCESS_STALL, 3.0, [3.0]), (Cause.PROCESS_STALL, 0.7, []), (Cause.SUSPEND, 3.0, [3.0])])
def test_a_long_stall_during_an_event_is_that_events_pause(cause, length_s, measured):
    life = underway(Counting())
    life.paused(length_s, cause)
    assert life.counted(CounterName.PAUSES) == {(cause.value, "true"): 1} and life.measured(HistogramName.PAUSE) == measured


def test_a_restart_of_the_machine_is_counted_and_its_length_which_is_only_bounded_is_not_measured():
    life = underway(Counting())
    life.restarted("boot-2", down_s=60.0)
    assert life.counted(CounterName.PAUSES) == {("restart", "true"): 1} and life.measured(HistogramName.PAUSE) == []


def test_a_clock_that_becomes_good_after_its_verdict_is_measured_then_and_once():
    life = underway(Counting())
    life.paused(5.0).judged(BAD)
    assert life.measured(HistogramName.GOOD_CLOCK) == []
    converged = ob.ClockFollowed("e1", "converged", replace(GOOD, good_after_s=80.0))
    life.see(ob.ClockFollowed("e1", "following", BAD), converged, converged)
    assert life.measured(HistogramName.GOOD_CLOCK) == [80.0] and life.unfinished.clock_not_good == ()


def test_a_good_verdict_that_is_followed_is_measured_once():
    life = underway(Counting())
    life.paused(5.0).judged(replace(GOOD, good_after_s=1.5))
    life.see(ob.ClockFollowed("e1", "converged", replace(GOOD, good_after_s=1.5)))
    assert life.measured(HistogramName.GOOD_CLOCK) == [1.5]


def test_memory_of_bad_clocks_is_bounded():
    life = Counting()
    for number in range(150):
        life.see(ob.Resumed(replace(pause(), id=f"p{number}"))).judged(BAD)
        life.settle()
    assert len(life.unfinished.clock_not_good) == 100 and life.unfinished.clock_not_good[-1] == "p149"


@pytest.mark.parametrize(("outcome", "word"), [(ob.AckOutcome.REFUSED, "refused"), (ob.AckOutcome.LOST, "lost")])
def test_each_answer_to_an_acknowledgement_is_counted(outcome, word):
    life = Counting()
    life.polled(FREEZE).settle()
    life.acknowledged(outcome)
    assert life.counted(CounterName.ACKNOWLEDGEMENTS) == {(word,): 1}


# --- how things stand ---------------------------------------------------------------------------------------------

def test_the_state_is_that_of_the_event_which_is_furthest_on():
    life = Life()
    assert state_snapshot(life.state).state == "idle"
    assert state_snapshot(life.polled(event("other", resources=("vm-2",))).state).state == "observed"
    far = event("far", notice_s=86400.0)
    assert state_snapshot(life.polled(far).state).state == "scheduled"
    assert state_snapshot(life.polled(far, FREEZE).state).state == "preparing"
    assert state_snapshot(life.settle().state).state == "acknowledging"
    life.acknowledged().polled(far, started(FREEZE)).paused().judged()
    assert state_snapshot(life.state).state == "settling"
    life.after(5.0)
    assert state_snapshot(life.state).state == "recovering"
    life.settle()
    assert state_snapshot(life.state).state == "scheduled", "what is recovered and only listed still comes after what is ahead"
    assert {case.phase.value for case in life.state.cases.values()} | {"idle"} <= set(STATES)


def test_an_event_that_waits_for_anothers_claim_does_not_look_as_if_it_recovered():
    life, other = Life(), event("e2")
    life.polled(FREEZE, other).settle()
    life.acknowledged().polled(other)
    assert life.phase() == "recovering" and life.runs() == []
    assert state_snapshot(life.state).state == "acknowledged"


def test_the_next_not_before_is_the_earliest_of_what_has_not_begun_and_none_when_there_is_nothing():
    life = Life()
    assert state_snapshot(life.state).next_not_before is None
    life.polled(event("other", resources=("vm-2",), notice_s=60.0), event("far", notice_s=86400.0), FREEZE)
    assert state_snapshot(life.state).next_not_before == FREEZE.not_before
    life.settle().acknowledged().polled(event("far", notice_s=86400.0), started(FREEZE))
    assert state_snapshot(life.state).next_not_before == at(86400.0).utc


def test_a_recovery_is_pending_from_the_prepare_on_also_after_a_restart_until_it_is_done_or_has_failed_for_good():
    def owed():
        return {stage: hooks for stage, hooks in state_snapshot(life.state).recoveries_pending.items() if hooks}
    life = Life()
    life.polled(FREEZE)
    assert owed() == {"claimed": 1}
    life.settle().restarted()
    assert owed() == {"claimed": 1}
    life.polled().judged()
    assert life.running() == ["drain recover"] and owed() == {"due": 1}
    for wait_s in (5.0, 30.0, 120.0, 0.0):
        life.settle(FAILED, exit_status=1).after(wait_s)
    assert owed() == {"failed": 1}
    life.see(ob.RecoverRequested()).settle()
    assert owed() == {}


def test_an_acknowledgement_is_held_by_a_failed_required_hook_and_by_nothing_else():
    def held(outcome=DONE, **options):
        life = Life(Policy(hooks=(hook(**options),)))
        life.polled(FREEZE).settle(outcome, exit_status=int(outcome is not DONE))
        return state_snapshot(life.state).acknowledgements_held
    assert held(FAILED) == held(TIMED_OUT) == 1
    assert held() == held(FAILED, required=False) == 0
    shared = Life()
    assert shared.polled(event(resources=("vm-1", "vm-2"))).settle().phase() == "held"
    assert state_snapshot(shared.state).acknowledgements_held == 0, "held for the other VM's sake"
    nobody = Life(Policy())
    assert nobody.polled(FREEZE).phase() == "held" and state_snapshot(nobody.state).acknowledgements_held == 0
    begun = Life()
    begun.polled(FREEZE).settle(FAILED, exit_status=1).polled(started(FREEZE))
    assert state_snapshot(begun.state).acknowledgements_held == 0, "it has begun: nothing is left to hold"
    by_hand = Life()
    by_hand.polled(FREEZE).settle(FAILED, exit_status=1).see(ob.AcknowledgeRequested("e1"))
    by_hand.acknowledged()
    assert state_snapshot(by_hand.state).acknowledgements_held == 0, "the owner has said so"



# --- The fleet

ALONE = Policy(hooks=(hook(),), fleet=FleetRules(slots=1))


def test_the_wait_for_a_slot_is_measured_and_an_own_acknowledgement_is_sent():
    life = Counting(ALONE)
    life.polled(FREEZE)
    life.see(ob.FleetSeen(FREEZE.id, ob.FleetView(ob.SlotState.WAITING)))
    life.now_s += 42.0
    life.see(ob.FleetSeen(FREEZE.id, ob.FleetView(ob.SlotState.GRANTED)))
    life.settle().acknowledged()
    assert life.measured(HistogramName.FLEET_SLOT_WAIT) == [42.0]
    assert life.counted(CounterName.FLEET_ACKNOWLEDGEMENTS) == {("sent",): 1}
    assert life.counted(CounterName.FLEET_TAKEOVERS) == {}


def test_a_slot_that_was_taken_over_is_counted_and_an_event_without_a_slot_is_withheld():
    life = Counting(ALONE)
    life.polled(FREEZE)
    life.see(ob.FleetSeen(FREEZE.id, ob.FleetView(ob.SlotState.GRANTED, taken_from="web-2")))
    assert life.counted(CounterName.FLEET_TAKEOVERS) == {("slot",): 1}
    life.see(ob.FleetSeen(FREEZE.id, ob.FleetView(ob.SlotState.NOT_GRANTED)))
    life.settle()
    assert life.counted(CounterName.FLEET_ACKNOWLEDGEMENTS) == {("withheld",): 1}


def test_an_acknowledgement_by_another_machine_and_a_claim_that_was_taken_over_are_counted():
    shared = replace(FREEZE, resources=(*FREEZE.resources, "vm-2"))
    for view, counter, label in (
            (ob.FleetView(says="ready", claim=1, claimed_by="vm-2", result=200), CounterName.FLEET_ACKNOWLEDGEMENTS, "by-peer"),
            (ob.FleetView(says="ready", claim=2, claimed_by="vm-1", claim_is_mine=True), CounterName.FLEET_TAKEOVERS, "claim")):
        life = Counting(Policy(hooks=(hook(),), fleet=FleetRules()))
        life.polled(shared)
        life.settle()
        life.see(ob.FleetSeen(shared.id, view))
        assert life.counted(counter) == {(label,): 1}


def test_an_event_without_a_fleet_counts_nothing_of_one():
    life = underway(Counting())
    assert life.counted(CounterName.FLEET_ACKNOWLEDGEMENTS) == {}
