"""The lives of events, one by one."""
from dataclasses import replace
from datetime import timedelta

import pytest

from lives import (
    BAD,
    BEGIN,
    DONE,
    FAILED,
    GOOD,
    ME,
    NOT_YET,
    NOTHING,
    REFUSED,
    TIMED_OUT,
    UNKNOWN,
    Life,
    at,
    event,
    hook,
    pause,
    started,
)
from tideover import effects as fx, observations as ob
from tideover.hooks.environment import VARIABLES
from tideover.lifecycle import Phase, desired_effects
from tideover.model import Cause, Document, EntryKind, Event, HookRun, Kind, Verdict
from tideover.observations import AckOutcome
from tideover.policy import Policy, Rules, names_me
from tideover.record import Row, record_of

FREEZE = event()
YEAR_S = 365.25 * 86_400
WHEN_READY = Policy(hooks=(hook(),))
THREE = Policy(hooks=(hook("last", 50), hook("first", 10), hook("second", 20), hook("beside", 20)))


def test_an_announced_freeze_is_prepared_acknowledged_checked_recovered_and_closed():
    """The whole road, once: ascending prepare, one acknowledgement, check, quiet, descending recover."""
    life = Life(THREE).polled(FREEZE)
    assert life.running() == ["first prepare"]
    life.settle()
    assert sorted(life.running()) == ["beside prepare", "second prepare"]
    life.settle(DONE, "second")
    assert life.running() == ["beside prepare"], "the next number waits for all of this one"
    life.settle().settle()
    assert life.phase() == "acknowledging"
    life.acknowledged().polled(started(FREEZE)).paused()
    assert life.phase() == "checking-clock" and life.running() == []
    life.judged()
    assert life.phase() == "settling" and life.running() == []
    life.after(5.0)
    assert life.running() == ["last recover"]
    life.settle().settle().settle()
    assert life.phase() == "recovered"
    life.polled()
    assert life.phase() == "closed" and life.outcome() == "resumed" and life.acknowledgements() == 1
    assert life.begun_runs()[4:] == ["last recover", "second recover", "beside recover", "first recover"]
    assert not life.state.cases and not life.state.hooks


@pytest.mark.parametrize(("resources", "me", "is_me"), [
    (("x", "Pool_VMSS_1"), "pool_vmss_1", True), (("pool_vmss_10", "_pool_vmss_1", "pool"), "pool_vmss_1", False),
    (("", "x"), "", False)])
def test_a_vm_is_named_whole_and_without_case_and_one_without_a_name_by_nothing(resources, me, is_me):
    assert names_me(replace(FREEZE, resources=resources), me) is is_me


@pytest.mark.parametrize("wait_s", [2.0, 5.0])
def test_a_clock_that_is_set_after_it_was_judged_is_judged_again_before_a_further_recover(wait_s):
    """While the pause settles, and between two recovers: what was good when it was judged may be a day off now."""
    policy = Policy(hooks=(hook("first", 10), hook("second", 20)))
    life = Life(policy).polled(FREEZE).settle().settle().acknowledged().polled(started(FREEZE)).paused().judged()
    life.after(wait_s).see(ob.Resumed(pause("set", 86_400.0, Cause.CLOCK_STEP, life.now)))
    assert life.phase() == "checking-clock"
    assert life.settle().running() == [], "who recovers now goes on, nobody else begins"
    assert [known.id for known in life.state.cases["e1"].pauses] == ["p1"], "a step of the clock is no pause"
    life.judged(BAD).after(5.0).settle().settle()
    assert life.begun[-1].facts.clock is Verdict.BAD


def test_recover_does_not_start_before_the_clock_is_judged():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().after(30.0).polled(started(FREEZE))
    assert life.phase() == "checking-clock" and life.running() == []


@pytest.mark.parametrize("check, waits", [(GOOD, False), (BAD, True), (UNKNOWN, False)])
def test_an_owner_who_holds_for_the_clock_waits_for_a_good_one_unless_there_is_no_source_to_ask(check, waits):
    life = Life(Policy(hooks=(hook(),), hold_for_clock=True)).polled(FREEZE).settle().acknowledged()
    life.polled(started(FREEZE)).paused().after(10.0).judged(check)
    assert (life.phase() == "checking-clock") is waits
    assert any(isinstance(effect, fx.CheckClock) for effect in life.wanted().values()) is waits


def test_recover_hooks_get_the_pause_the_verdict_and_the_reason():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused(7.25).judged(BAD).after(5.0)
    [run] = life.runs()
    facts = {one.name: one.value(run) for one in VARIABLES}
    assert (run.reason, facts["TIDEOVER_PAUSE_S"], facts["TIDEOVER_PAUSE_UNCERTAINTY_S"]) == ("resumed", "7.250", "0.100")
    assert (facts["TIDEOVER_CLOCK"], facts["TIDEOVER_CLOCK_OFFSET_S"]) == ("bad", "-4.000000")


@pytest.mark.parametrize("outcome, status", [(FAILED, 1), (TIMED_OUT, None), (REFUSED, 4), (REFUSED, None)])
def test_a_required_preparation_that_failed_holds_the_acknowledgement(outcome, status):
    life = Life().polled(FREEZE).settle(outcome, exit_status=status)
    assert life.phase() == "held" and life.acknowledgements() == 0


def test_a_failure_that_is_not_required_does_not_hold():
    life = Life(Policy(hooks=(hook(required=False),))).polled(FREEZE).settle(FAILED, exit_status=1)
    assert life.phase() == "acknowledging"


def test_a_refused_file_holds_even_where_its_failure_would_not():
    life = Life(Policy(hooks=(hook(required=False),))).polled(FREEZE).settle(REFUSED, exit_status=None)
    assert life.phase() == "held"


def test_a_failure_does_not_stop_the_hooks_after_it():
    life = Life(THREE).polled(FREEZE).settle(FAILED)
    assert sorted(life.running()) == ["beside prepare", "second prepare"]


@pytest.mark.parametrize("outcome, owed", [(DONE, 1), (FAILED, 1), (TIMED_OUT, 1), (NOTHING, 0), (REFUSED, 0)])
def test_recover_runs_for_each_hook_whose_prepare_may_have_changed_something_and_for_no_other(outcome, owed):
    life = Life().polled(FREEZE).settle(outcome).polled()
    assert len(life.runs()) == owed and life.phase() == ("recovering" if owed else "closed")


def test_a_run_that_changed_nothing_does_not_take_back_what_an_earlier_one_left_pending():
    """The first prepare died with the agent, and how far it came is not known; the second found nothing left to do."""
    life = Life().polled(FREEZE).restarted().polled(FREEZE).settle(NOTHING, exit_status=3).polled()
    assert life.running() == ["drain recover"]


def test_not_yet_is_tried_again_and_the_platform_waits():
    life = Life().polled(FREEZE).settle(NOT_YET)
    assert life.running() == [] and life.phase() == "preparing"
    life.after(1.0)
    assert life.running() == ["drain prepare"] and life.runs()[0].attempt == 2
    life.settle()
    assert life.phase() == "acknowledging"


def test_not_yet_for_ever_fails_when_the_time_is_over():
    life = Life().polled(event(notice_s=20.0))
    for _ in range(40):
        life.settle(NOT_YET).after(1.0)
    assert life.phase() == "held" and 10 <= len(life.begun_runs()) <= 15, "14 s of trying: 20 s less the reserve"


def test_an_event_withdrawn_while_prepare_runs_stops_it_and_recovers_at_once():
    life = Life(THREE).polled(FREEZE).settle(DONE, "first").polled()
    assert life.runs() == [] and {h.stage.value for h in life.state.hooks.values()} == {"stopping", "recover-pending"}
    life.stop_ended()
    assert sorted(life.running()) == ["beside recover", "second recover"], "what was not begun is not recovered"
    life.settle().settle()
    assert life.outcome() == "cancelled" and set(life.reasons()) == {"cancelled"}


def test_no_recover_begins_while_a_prepare_still_ends():
    life = Life(Policy(hooks=(hook("a", 10), hook("b", 10)))).polled(FREEZE).settle(DONE, "a").polled()
    assert life.running() == []
    assert life.stop_ended().running() == ["a recover", "b recover"]


def test_when_an_event_starts_while_prepare_runs_nothing_is_begun_and_running_hooks_go_on():
    life = Life(THREE).polled(FREEZE).polled(started(FREEZE))
    assert life.running() == ["first prepare"]
    life.settle()
    assert life.running() == [] and life.phase() == "started" and life.acknowledgements() == 0
    life.paused().judged().after(5.0)
    assert life.running() == ["first recover"]


def test_recover_waits_for_a_prepare_that_outlives_the_pause():
    life = Life().polled(FREEZE).polled(started(FREEZE)).paused().judged().after(5.0)
    assert life.running() == ["drain prepare"]
    assert life.settle().running() == ["drain recover"]


def test_an_event_for_another_vm_is_watched_and_never_touched():
    life = Life().polled(event(resources=("vm-10",))).polled(started(event(resources=("vm-10",)))).polled()
    assert life.begun == [] and life.outcome() == "not-ours"


def test_the_own_name_is_matched_whole_and_without_case():
    assert Life().polled(event(resources=("VM-1",))).running() == ["drain prepare"]
    assert Life().polled(event(resources=("vm-1-replica", "xvm-1"))).running() == []


def test_an_event_that_names_other_vms_too_is_prepared_but_not_released():
    shared = event(resources=(ME, "vm-2"))
    life = Life().polled(shared).settle()
    assert life.phase() == "held" and life.acknowledgements() == 0
    allowed = Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(acknowledge_shared=True)})
    assert Life(allowed).polled(shared).settle().phase() == "acknowledging"


def test_without_a_hook_the_platforms_event_is_left_alone_and_a_users_own_is_released():
    assert Life(Policy()).polled(FREEZE).phase() == "held"
    assert Life(Policy()).polled(event(source="user")).phase() == "acknowledging"


def test_a_hook_spared_by_the_announced_length_counts_as_none():
    spared = Policy(hooks=(hook(min_pause_s=10.0),))
    assert Life(spared).polled(event(expected_s=5.0)).running() == []
    assert Life(spared).polled(event(expected_s=None)).running() == ["drain prepare"], "unknown length counts as long"
    assert Life(spared).polled(event(kind=Kind.REBOOT, expected_s=5.0)).running() == ["drain prepare"]


def test_kinds_the_owner_leaves_alone_are_only_watched():
    life = Life(Policy(hooks=(hook(),), act_on=frozenset({Kind.REBOOT}))).polled(FREEZE)
    assert life.phase() == "observed" and life.begun == []


def test_never_means_by_hand():
    life = Life(Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(acknowledge=False)})).polled(FREEZE).settle()
    assert life.phase() == "held"
    assert life.see(ob.AcknowledgeRequested("e1")).phase() == "acknowledging"


# --- the acknowledgement --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("status", ["Postponed", ""])
def test_an_unknown_status_is_prepared_for_and_acknowledged_only_by_hand(status):
    """It may announce as much as any other, and the meaning of "go ahead" is not defined."""
    odd = replace(FREEZE, odd_status=status)
    life = Life().polled(odd)
    assert life.running() == ["drain prepare"]
    life.settle().polled(odd)
    assert life.phase() == "held" and life.acknowledgements() == 0
    assert "its status is" in next(entry.note for entry in life.entries if entry.what is Phase.HELD)
    assert life.see(ob.AcknowledgeRequested("e1")).acknowledgements() == 1


def test_an_acknowledgement_in_doubt_is_not_sent_again_under_an_unknown_status():
    life = Life().polled(FREEZE).settle().acknowledged(ob.AckOutcome.LOST).after(60.0)
    assert life.polled(replace(FREEZE, odd_status="Postponed")).phase() == "held"
    assert life.acknowledgements() == 1


def test_an_accepted_acknowledgement_is_never_sent_again():
    life = Life().polled(FREEZE).settle().acknowledged().restarted().polled(FREEZE).polled(FREEZE)
    assert life.acknowledgements() == 1
    life.polled().settle().polled(FREEZE).settle()
    assert life.phase() == "acknowledged" and life.acknowledgements() == 1, "also when the event is listed again"


def test_a_refused_acknowledgement_ends_it():
    life = Life().polled(FREEZE).settle().acknowledged(AckOutcome.REFUSED)
    assert life.phase() == "held" and life.after(60.0).polled(FREEZE).acknowledgements() == 1


def test_events_whose_ids_differ_beyond_ascii_case_are_two_events_and_each_is_acknowledged():
    life = Life().polled(event("ß"), event("SS", resources=("VM-1",))).settle()
    assert list(life.state.cases) == ["ß", "SS"]
    asked = [effect.event_id for effect in life.begun if isinstance(effect, fx.Acknowledge)]
    assert sorted(asked) == ["SS", "ß"]


def test_a_vm_is_named_by_its_own_name_whatever_folds_like_it():
    assert names_me(event(resources=("VM-1",)), "vm-1") and not names_me(event(resources=("vm-SS",)), "vm-ß")


LATE = Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(just_in_time=True)})


@pytest.mark.parametrize(("date_off_s", "clock_is_good", "phase"), [
    (0.0, True, "scheduled"), (0.0, False, "scheduled"),
    (-2000 * YEAR_S, True, "scheduled"), (-7201.0, True, "scheduled"),
    (2000 * YEAR_S, True, "preparing"),
    (850.0, True, "preparing"), (850.0, False, "preparing"),
])
def test_the_nearer_start_counts_where_the_answers_date_and_a_good_clock_differ_by_more_than_an_hour(date_off_s, clock_is_good, phase):
    """Up to an hour the Date counts: it is the clock that NotBefore is meant by."""
    life = Life(LATE)
    date = life.now.utc + timedelta(seconds=date_off_s)
    life.see(ob.Polled(Document((FREEZE,), life.now.raw_s, life.now.raw_s, "1", date), ME, clock_is_good=clock_is_good))
    assert life.phase() == phase
    assert life.after(890.0).phase() == "preparing", "900 s of notice by our own clock are nearly over"


def test_a_date_is_believed_as_long_as_no_clock_is_known_to_be_better():
    life = Life(LATE)
    for clock_is_good, phase in ((False, "scheduled"), (False, "scheduled"), (True, "preparing")):
        now = life.after(445.0).now
        years_ago = now.utc - timedelta(days=7300)
        life.see(ob.Polled(Document((FREEZE,), now.raw_s, now.raw_s, "1", years_ago), ME, clock_is_good=clock_is_good))
        assert life.after(0.0).phase() == phase


def test_an_event_listed_in_upper_and_lower_case_is_one_event_acknowledged_once():
    """EventIds are GUIDs. The first spelling stays the record's; the acknowledgement has its newest."""
    upper, lower = event("AB-1"), event("ab-1")
    life = Life().polled(upper, lower).settle()
    assert list(life.state.cases) == ["AB-1"] and life.begun_runs() == ["drain prepare"]
    [asked] = [effect for effect in life.begun if isinstance(effect, fx.Acknowledge)]
    assert (asked.event_id, asked.spelling) == ("AB-1", "ab-1")
    life.acknowledged().polled(upper).polled(lower).polled(started(upper)).polled(started(lower)).paused().judged()
    life.after(5.0).settle().polled()
    assert life.outcome("AB-1") == "resumed" and {entry.event_id for entry in life.entries} == {"AB-1"}
    assert {entry.subject.id for entry in life.entries if isinstance(entry.subject, Event)} == {"AB-1"}
    life.polled(lower).settle()
    assert life.phase("AB-1") == "acknowledged" and life.acknowledgements() == 1, "also when it is listed again"


def test_a_lost_answer_is_decided_by_a_fresh_document():
    """Still Scheduled: sent again after 1, 2, 5, 10 s. Started: it had counted."""
    life = Life().polled(FREEZE).settle()
    for wait_s in (1.0, 2.0, 5.0, 10.0, 10.0):
        life.acknowledged(AckOutcome.LOST).polled(FREEZE)
        assert life.phase() == "unconfirmed"
        life.after(wait_s - 0.5).polled(FREEZE)
        assert life.phase() == "unconfirmed"
        life.after(0.6).polled(FREEZE)
        assert life.phase() == "acknowledging"
    assert Life().polled(FREEZE).settle().acknowledged(AckOutcome.LOST).polled(started(FREEZE)).phase() == "started"


def test_one_document_after_the_loss_is_enough_when_the_wait_is_over():
    """Else each wait became as much longer as the next poll was away: 2, 3, 6 and 11 s (found with a real agent)."""
    life = Life().polled(FREEZE).settle()
    for wait_s in (1.0, 2.0, 5.0, 10.0, 10.0):
        life.acknowledged(AckOutcome.LOST).after(0.3).polled(FREEZE)
        assert life.after(wait_s - 0.4).phase() == "unconfirmed"
        assert life.after(0.2).phase() == "acknowledging"
    life.acknowledged(AckOutcome.LOST)
    assert life.after(60.0).phase() == "unconfirmed", "no document since the loss"


def test_what_was_agreed_to_before_the_answer_was_lost_is_not_asked_again_for_a_vm_named_since():
    life = Life(Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(acknowledge_shared=True)})).polled(FREEZE).settle()
    life.acknowledged(AckOutcome.LOST).after(0.3).polled(event(resources=(ME, "vm-2"))).after(5.0)
    assert life.phase() == "held" and life.acknowledgements() == 1


@pytest.mark.parametrize("away", [lambda life: life.restarted(), lambda life: life.paused(5.0)])
def test_a_document_from_before_the_agent_or_the_machine_was_away_does_not_end_the_wait(away):
    life = Life().polled(FREEZE).settle().acknowledged(AckOutcome.LOST).after(0.3).polled(FREEZE).after(0.1)
    assert away(life).after(5.0).phase() == "unconfirmed"
    assert life.polled(FREEZE).phase() == "acknowledging"


def test_a_pause_while_the_answer_is_in_doubt_does_not_postpone_the_next_asking():
    life = Life().polled(FREEZE).settle().acknowledged(AckOutcome.LOST).paused(1.5)
    assert life.polled(FREEZE).phase() == "acknowledging"


def test_a_document_asked_for_before_the_answer_was_lost_decides_nothing():
    life = Life().polled(FREEZE).settle().after(1.0).acknowledged(AckOutcome.LOST)
    life.now_s += 10.0
    asked_before = at(0.5).raw_s
    life.see(ob.Polled(Document((FREEZE,), asked_before, asked_before, "1", None), ME))
    assert life.phase() == "unconfirmed"


def test_an_answer_that_comes_after_the_start_still_counts():
    life = Life().polled(FREEZE).settle()
    life.polled(started(FREEZE)).see(ob.AckSettled("e1", 1, AckOutcome.ACCEPTED))
    assert life.state.cases["e1"].acknowledged and life.phase() == "started"


# --- pauses ---------------------------------------------------------------------------------------------------------

def test_the_freeze_that_comes_before_the_news_of_it_is_this_events_pause():
    """Acknowledged, stopped and resumed before a poll could show Started: otherwise applications stay drained for minutes."""
    life = Life().polled(FREEZE).settle().acknowledged().paused()
    assert life.phase() == "acknowledged"
    life.polled(FREEZE)
    assert life.phase() == "acknowledged", "still Scheduled: go on waiting"
    life.polled(started(FREEZE))
    assert life.phase() == "checking-clock"


def test_a_pause_long_before_the_start_is_not_this_events():
    life = Life().polled(FREEZE).settle().acknowledged().paused().after(31.0).polled(started(FREEZE))
    assert life.phase() == "started"


def test_an_event_gone_after_an_early_pause_is_checked_before_recover():
    assert Life().polled(FREEZE).settle().acknowledged().paused().polled().phase() == "checking-clock"


@pytest.mark.parametrize("length_s, phase", [(0.6, "started"), (1.0, "checking-clock")])
def test_a_stall_of_our_own_process_counts_from_a_second_on(length_s, phase):
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused(length_s, Cause.PROCESS_STALL)
    assert life.phase() == phase and len(life.state.cases["e1"].pauses) == 1


def test_a_clock_step_is_no_pause_of_any_event():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused(0.0, Cause.CLOCK_STEP)
    assert life.phase() == "started" and life.state.cases["e1"].pauses == ()
    assert [entry.event_id for entry in life.entries if entry.what is EntryKind.PAUSE] == [""], "nor in its record"


def test_a_clock_check_takes_samples_from_the_end_of_the_last_pause_on_and_after_a_restart_from_the_start_on():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE))
    ended = life.after(3.0).now
    life.after(2.0).see(ob.Resumed(pause("p1", 5.0, now=ended)))
    [check] = [effect for effect in life.wanted().values() if isinstance(effect, fx.CheckClock)]
    assert check.since_raw_s == ended.raw_s < life.now.raw_s
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).restarted("boot-2").polled()
    [check] = [effect for effect in life.wanted().values() if isinstance(effect, fx.CheckClock)]
    assert check.since_raw_s == life.now.raw_s


def test_a_further_pause_while_the_event_is_listed_is_checked_again():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().judged().after(5.0).settle()
    assert life.phase() == "recovered"
    life.paused(2.0, pause_id="p2")
    assert life.phase() == "checking-clock"
    life.judged().after(5.0)
    assert life.phase() == "recovered" and life.begun_runs().count("drain recover") == 1


def test_a_further_pause_while_recover_runs_stops_further_recovers_until_the_clock_is_good():
    life = Life(THREE).polled(FREEZE).settle().settle().settle().acknowledged().polled(started(FREEZE))
    life.paused().judged().after(5.0).paused(3.0, pause_id="p2")
    assert life.phase() == "checking-clock" and life.running() == ["last recover"]
    life.settle()
    assert life.running() == []
    assert sorted(life.judged().after(5.0).running()) == ["beside recover", "second recover"]


@pytest.mark.parametrize("first", [Cause.VM_PAUSE, Cause.PROCESS_STALL])
@pytest.mark.parametrize("reached", ["checking-clock", "settling", "recovering", "recovered"])
def test_a_further_stall_of_a_second_is_a_further_pause_settled_and_checked_again(reached, first):
    """Else recover began milliseconds after it, with a verdict from before it (found by stopping a real agent)."""
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused(1.5, first)
    for phase, go_on in (("settling", lambda: life.judged()), ("recovering", lambda: life.after(5.0)),
                         ("recovered", lambda: life.settle())):
        if life.phase() != reached:
            go_on()
            assert life.phase() == phase
    rounds = life.state.cases["e1"].check_round
    life.paused(0.9, Cause.PROCESS_STALL, "short")
    assert (life.phase(), life.state.cases["e1"].check_round) == (reached, rounds), "a shorter one ends nothing"
    life.paused(1.0, Cause.PROCESS_STALL, "again")
    [check] = [effect for effect in life.wanted().values() if isinstance(effect, fx.CheckClock)]
    assert life.phase() == "checking-clock" and (check.round, check.since_raw_s) == (rounds + 1, life.now.raw_s)
    assert len(life.state.cases["e1"].pauses) == 3
    begun = life.begun_runs().count("drain recover")
    assert life.judged(BAD).after(4.9).begun_runs().count("drain recover") == begun and life.phase() == "settling"
    life.after(0.2).settle()
    assert life.phase() == "recovered" and life.begun_runs().count("drain recover") == 1, "nobody recovers twice"
    if not begun:
        assert life.begun[-1].facts.clock is Verdict.BAD


@pytest.mark.parametrize("stopped_at_s, stopped_for_s", [(2.0, 8.0), (3.0, 1.9), (4.9, 1.1), (2.0, 2.9)])
def test_a_wait_that_ends_in_a_pause_does_not_begin_recover_before_the_pause_is_reported(stopped_at_s, stopped_for_s):
    """At the resume the wait is over, and the pause watch speaks some milliseconds later (found with a real agent)."""
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().judged().after(stopped_at_s)
    life.now_s += stopped_for_s
    life.after(0.0)
    assert life.phase() == "settling"
    life.after(0.2)
    assert life.see(ob.Resumed(pause("p2", stopped_for_s, Cause.PROCESS_STALL, life.now))).phase() == "checking-clock"


def test_a_check_that_outlasts_the_quiet_time_does_not_begin_recover_before_a_pause_is_reported_either():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().after(10.0).judged()
    assert life.phase() == "settling"
    assert life.after(0.26).phase() == "recovering"


def test_the_quiet_time_is_no_longer_for_that():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().after(1.0).judged()
    assert life.after(3.99).phase() == "settling" and life.after(0.02).phase() == "recovering"


def test_a_stall_while_recover_runs_holds_back_only_those_that_have_not_begun():
    """Applications that start make stalls: each of them waits for the clock once more, and all are recovered once."""
    life = Life(THREE).polled(FREEZE).settle().settle().settle().acknowledged().polled(started(FREEZE)).paused().judged()
    life.after(5.0)
    for number in range(3):
        life.paused(2.0, Cause.PROCESS_STALL, f"stall-{number}").settle()
        assert life.running() == [] and life.phase() == "checking-clock"
        life.judged().after(5.0)
    assert life.phase() == "recovered" and sorted(life.begun_runs()[4:]) == [
        "beside recover", "first recover", "last recover", "second recover"]


def test_later_evidence_of_a_pause_stands_in_its_record_and_moves_nothing():
    life = Life(THREE).polled(started(FREEZE)).paused()
    [known] = life.state.cases[FREEZE.id].pauses
    before = life.phase(), list(life.begun)
    proved = replace(known, evidence=("a gap", "the drift token changed"))
    life.see(ob.PauseProved(proved), ob.PauseProved(replace(proved, id="another")))
    assert (life.phase(), life.begun) == before
    assert life.state.cases[FREEZE.id].pauses[0].evidence == ("a gap", "the drift token changed")
    told = [(entry.event_id, entry.note) for entry in life.entries if entry.what is EntryKind.PAUSE_EVIDENCE]
    assert told == [(FREEZE.id, "the drift token changed"), ("", "the drift token changed")]


@pytest.mark.parametrize("length_s", [0.9, 3.0])
def test_a_stall_after_an_event_was_withdrawn_is_not_its_pause(length_s):
    life = Life(THREE).polled(FREEZE).settle().settle().settle().acknowledged().polled()
    life.paused(length_s, Cause.PROCESS_STALL).settle().settle().settle()
    assert life.outcome() == "cancelled" and set(life.reasons()) == {"cancelled"}
    assert [entry.event_id for entry in life.entries if entry.what is EntryKind.PAUSE] == [""], "recorded all the same"


def test_recover_after_the_event_waits_until_it_has_left_the_list():
    patient = Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(recover_after_pause=False)})
    life = Life(patient).polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().after(60.0)
    assert life.phase() == "started"
    assert life.polled().judged().running() == ["drain recover"]


def test_an_event_that_ends_without_a_pause_is_checked_and_recovered():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).polled()
    assert life.phase() == "checking-clock"
    assert life.judged().settle().outcome() == "resumed"


def test_an_event_gone_while_the_quiet_time_runs_ends_it():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().judged()
    assert life.phase() == "settling"
    assert life.polled().running() == ["drain recover"]


def test_an_unannounced_pause_is_checked_and_recovers_only_the_hooks_that_ask_for_it():
    policy = Policy(hooks=(hook("asks", 20, kinds=frozenset({Kind.UNANNOUNCED})), hook("not")))
    life = Life(policy).paused()
    assert life.phase("p1") == "checking-clock"
    life.judged().after(5.0)
    assert life.begun_runs() == ["asks recover"]
    life.settle()
    assert life.outcome("p1") == "resumed"


ASKING_TWO = Policy(hooks=(hook("a", 10, kinds=frozenset({Kind.UNANNOUNCED})), hook("b", 20, kinds=frozenset({Kind.UNANNOUNCED}))))


@pytest.mark.parametrize("cause", [Cause.VM_PAUSE, Cause.PROCESS_STALL, Cause.CLOCK_STEP])
def test_what_makes_the_clock_doubtful_after_an_unannounced_pause_holds_back_who_has_not_recovered_yet(cause):
    """A recovered hook runs again only for a further pause of the machine: else a hook whose start stalls the agent
    would be run for ever."""
    life = Life(ASKING_TWO).paused().judged()
    assert life.running() == ["b recover"]
    life.paused(2.0, cause, "p2").settle()
    assert life.phase("p1") == "checking-clock" and life.running() == []
    life.judged(BAD).settle().settle()
    again = ["b recover"] if cause is Cause.VM_PAUSE else []
    assert life.begun_runs() == ["b recover", *again, "a recover"] and life.outcome("p1") == "resumed"
    assert life.begun[-1].facts.clock is Verdict.BAD


def test_what_is_withdrawn_while_the_clock_is_checked_after_an_unannounced_pause_waits_for_the_verdict():
    life = Life(THREE).paused(pause_id="p1").polled(FREEZE).settle().polled()
    assert life.runs() == [] and "stopping" in {known.stage.value for known in life.state.hooks.values()}
    life.stop_ended()
    assert life.running() == []
    life.judged()
    assert life.running() and all(name.endswith("recover") for name in life.running())


def test_what_the_owner_takes_back_by_hand_waits_for_no_check_of_an_unannounced_pause():
    life = Life().paused().polled(FREEZE).settle().see(ob.RecoverRequested("e1"))
    assert life.phase("p1") == "checking-clock" and life.running() == ["drain recover"]


def test_a_pause_after_which_the_host_is_another_one_is_a_live_migration():
    policy = Policy(hooks=(hook("asks", 20, kinds=frozenset({Kind.LIVE_MIGRATION})),
                           hook("unannounced", 20, kinds=frozenset({Kind.UNANNOUNCED}))))
    moved = replace(pause("p1", now=at(5.0)), host=("host-a", "host-b"))
    life = Life(policy).after(5.0).see(ob.Resumed(moved)).judged().after(5.0)
    assert life.begun_runs() == ["asks recover"] and life.state.cases["p1"].event.kind is Kind.LIVE_MIGRATION


def test_a_stall_without_an_event_runs_no_hook():
    life = Life(Policy(hooks=(hook(kinds=frozenset({Kind.UNANNOUNCED})),))).paused(3.0, Cause.PROCESS_STALL)
    assert life.begun == [] and not life.state.cases and life.entries[-1].what is EntryKind.PAUSE


def test_an_owner_who_only_wants_a_record_of_unannounced_pauses_gets_just_that():
    life = Life(Policy(hooks=(hook(kinds=frozenset({Kind.UNANNOUNCED})),), recover_unannounced=False)).paused()
    assert life.begun == [] and life.entries[-1].what is EntryKind.PAUSE


# --- overlap --------------------------------------------------------------------------------------------------------

def test_overlapping_events_share_one_preparation_and_recover_when_the_last_claim_goes():
    other = event("e2", notice_s=1200.0)
    life = Life().polled(FREEZE).settle().polled(FREEZE, other)
    assert life.begun_runs() == ["drain prepare"]
    life.polled(other)
    assert life.phase("e1") == "recovering" and life.running() == []
    life.polled()
    assert life.running() == ["drain recover"]
    life.settle()
    assert (life.outcome("e1"), life.outcome("e2")) == ("cancelled", "cancelled")


def test_a_harder_kind_is_prepared_again_and_a_softer_one_is_not():
    reboot, preempt = event("e2", Kind.REBOOT), event("e3", Kind.PREEMPT)
    life = Life().polled(FREEZE).settle().polled(FREEZE, reboot)
    assert life.running() == ["drain prepare"] and life.runs()[0].kind is Kind.REBOOT
    life.settle().polled(FREEZE, reboot, preempt)
    assert life.runs()[0].kind is Kind.PREEMPT
    life.settle().polled(FREEZE, reboot, preempt, event("e4", Kind.REDEPLOY))
    assert life.running() == []


def test_a_harder_kind_that_goes_away_unprepared_leaves_no_run_behind():
    life = Life().polled(FREEZE).polled(FREEZE, event("e2", Kind.REBOOT)).polled(FREEZE).settle()
    assert life.running() == [] and life.phase() == "acknowledging"


def test_the_earliest_not_before_sets_the_budget():
    life = Life(Policy(hooks=(hook(timeout_s=60.0),))).polled(event(notice_s=900.0), event("e2", notice_s=35.0))
    assert life.runs()[0].limit_s == 30.0


def test_an_event_that_appears_while_recover_runs_is_prepared_after_it():
    policy = Policy(hooks=(hook("a", 10), hook("b", 20)))
    life = Life(policy).polled(FREEZE).settle().settle().polled()
    assert life.running() == ["b recover"]
    life.polled(event("e2"))
    assert life.running() == ["b recover"], "running ones end, nothing is prepared meanwhile"
    life.settle()
    assert life.running() == ["b prepare"], "a was never recovered, so it is still prepared"
    life.settle()
    assert life.phase("e2") == "acknowledging"
    life.polled().settle().settle()
    assert life.outcome("e1") == "cancelled" and life.outcome("e2") == "cancelled"


def test_a_service_that_changes_an_events_id_with_its_status_costs_no_recover():
    life = Life().polled(FREEZE).settle().polled(event("other", started=True))
    assert life.running() == [] and life.phase("e1") == "recovering" and life.phase("other") == "started"
    life.paused().judged().after(5.0)
    assert life.running() == ["drain recover"]


# --- time -----------------------------------------------------------------------------------------------------------

def test_an_event_far_away_is_prepared_an_hour_before():
    life = Life().polled(event(notice_s=86400.0))
    assert life.phase() == "scheduled" and life.running() == []
    life.after(86400.0 - 3601.0)
    assert life.running() == []
    assert life.after(1.5).running() == ["drain prepare"]


def test_just_in_time_starts_when_the_budget_and_the_reserve_are_left():
    policy = Policy(hooks=(hook("a", 10, timeout_s=20.0), hook("b", 10, timeout_s=30.0), hook("c", 20, timeout_s=40.0)),
                    rules={Kind.FREEZE: Rules(just_in_time=True)})
    life = Life(policy).polled(event(notice_s=900.0)).after(900.0 - 76.0)
    assert life.running() == []
    assert sorted(life.after(1.1).running()) == ["a prepare", "b prepare"]


def test_a_not_before_that_moves_moves_the_start():
    life = Life().polled(event(notice_s=86400.0)).polled(event(notice_s=1800.0)).after(0.0)
    assert life.running() == ["drain prepare"]


@pytest.mark.parametrize("notice_s, first_s, second_s", [(900.0, 60.0, 60.0), (65.0, 30.0, 60.0), (None, 60.0, 60.0)])
def test_when_time_is_short_each_number_gets_its_share(notice_s, first_s, second_s):
    """The second runs at once after the first here, so it has all that the first left over."""
    life = Life(Policy(hooks=(hook("a", 10), hook("b", 20)))).polled(event(notice_s=notice_s))
    assert life.runs()[0].limit_s == pytest.approx(first_s)
    assert life.settle().runs()[0].limit_s == pytest.approx(second_s)


def test_a_not_before_that_comes_nearer_shortens_the_runs_under_way_and_one_that_goes_away_does_not():
    life = Life(Policy(hooks=(hook(timeout_s=20.0),), reserve_s=2.0)).polled(event(notice_s=60.0)).after(1.0)
    [run] = life.runs()
    assert run.limit_s == 20.0
    life.polled(event(notice_s=9.0)).after(1.0)
    assert [(again.key, again.limit_s) for again in life.runs()] == [(run.key, 7.0)]
    assert life.polled(event(notice_s=60.0)).runs()[0].limit_s == 7.0
    life.polled(event(notice_s=2.5))
    assert life.runs()[0].limit_s == 3.0, "less than a second is never given"


def test_an_earlier_event_beside_the_one_prepared_for_shortens_the_run_too():
    life = Life(Policy(hooks=(hook(timeout_s=20.0),))).polled(event(notice_s=900.0)).after(2.0)
    assert life.polled(event(notice_s=900.0), event("e2", notice_s=12.0)).runs()[0].limit_s == 7.0


@pytest.mark.parametrize("notice_s", [900.0, 45.0, 4.0])
def test_time_that_passes_changes_no_limit(notice_s):
    life = Life(Policy(hooks=(hook("a", 10, timeout_s=20.0), hook("b", 10, timeout_s=30.0), hook("c"))))
    life.polled(event(notice_s=notice_s))
    before = life.runs()
    for _ in range(40):
        life.after(1.0).polled(event(notice_s=notice_s))
        assert life.runs() == before


def test_not_yet_is_not_tried_again_beyond_the_newest_not_before():
    life = Life().polled(event(notice_s=900.0)).settle(NOT_YET, exit_status=75)
    life.polled(event(notice_s=20.0)).after(10.0).settle(NOT_YET, exit_status=75)
    life.after(5.0)
    assert life.settle(NOT_YET, exit_status=75).phase() == "held"


def test_a_not_before_that_has_passed_bounds_nothing():
    assert Life().polled(event(notice_s=-10.0)).runs()[0].limit_s == 60.0


# --- restarts -------------------------------------------------------------------------------------------------------

def test_after_a_restart_nothing_is_prepared_or_acknowledged_before_a_fresh_document():
    life = Life().polled(FREEZE).restarted()
    assert life.running() == []
    assert life.polled(FREEZE).running() == ["drain prepare"]
    asked = Life().polled(FREEZE).settle().restarted()
    assert asked.phase() == "unconfirmed"
    assert asked.polled(FREEZE).phase() == "acknowledging"


def test_after_a_restart_recovery_and_clock_checks_go_on_at_once():
    life = Life().polled(FREEZE).settle().polled().restarted()
    assert life.running() == ["drain recover"] and life.runs()[0].attempt == 2
    checking = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused().restarted()
    assert any(isinstance(effect, fx.CheckClock) for effect in desired_effects(checking.state, checking.now))


def test_an_event_that_came_and_went_while_the_agent_was_down_is_missed_and_recovered():
    life = Life().polled(FREEZE).settle().acknowledged().restarted().polled()
    assert life.phase() == "checking-clock"
    assert life.judged().settle().outcome() == "missed"


NEVER = Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(acknowledge=False)})


@pytest.mark.parametrize("policy, down_s, outcome, reason", [
    (NEVER, 60.0, "cancelled", "cancelled"), (NEVER, 900.0, "missed", "resumed"), (WHEN_READY, 60.0, "missed", "resumed")])
def test_what_went_while_the_agent_was_down_was_cancelled_if_it_cannot_have_come(policy, down_s, outcome, reason):
    """The platform begins nothing before NotBefore, without an acknowledgement."""
    life = Life(policy).polled(FREEZE).settle().after(down_s).restarted().polled()
    life.judged()
    assert life.reasons() == [reason] and life.settle().outcome() == outcome


@pytest.mark.parametrize("notice_s", [None, 900.0])
def test_what_went_while_the_agent_was_down_may_have_come_where_its_time_is_unknown_or_the_machine_was_away(notice_s):
    life = Life(NEVER).polled(event(notice_s=notice_s)).settle().restarted()
    life = life if notice_s is None else life.paused()
    assert life.polled().judged().settle().outcome() == "missed"


def test_an_event_first_seen_started_is_missed_and_runs_no_hook():
    life = Life().polled(started(FREEZE)).paused().judged().after(5.0).polled()
    assert life.outcome() == "missed" and life.begun_runs() == []


def prepared_and_started():
    return Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE))


def test_an_event_the_list_left_out_for_a_moment_is_not_missed_and_keeps_the_applications_prepared():
    life = prepared_and_started().polled()
    assert life.phase() == "checking-clock"
    life.polled(started(FREEZE))
    assert life.phase() == "started" and life.running() == []
    life.paused().judged().after(5.0).settle().polled()
    assert life.outcome() == "resumed" and life.begun_runs() == ["drain prepare", "drain recover"]


@pytest.mark.parametrize("gone", [
    lambda: prepared_and_started().paused().polled(), lambda: prepared_and_started().paused().polled().judged()])
def test_an_event_left_out_for_a_moment_after_its_pause_is_checked_and_settled_once_more(gone):
    life = gone().polled(started(FREEZE))
    assert life.phase() == "checking-clock" and [known.id for known in life.state.cases["e1"].pauses] == ["p1"]
    life.judged().after(5.0).settle()
    assert life.phase() == "recovered" and life.begun_runs().count("drain recover") == 1
    assert life.polled().outcome() == "resumed"


@pytest.mark.parametrize("over", [
    lambda: prepared_and_started().polled().judged().settle(), lambda: Life().polled(FREEZE).settle().polled().settle()])
@pytest.mark.parametrize("spelling", ["e1", "E1"])
def test_an_event_that_is_over_and_listed_again_as_started_was_not_missed(over, spelling):
    life = over()
    assert life.phase() == "closed"
    life.restarted().polled(started(event(spelling)))
    assert life.phase() == "started"
    assert life.polled().judged().phase() == "closed" and life.outcome() == "resumed"


def test_an_event_missed_once_stays_missed_however_often_it_is_listed():
    life = Life().polled(started(FREEZE)).polled().polled(started(FREEZE)).polled().judged()
    assert life.outcome() == "missed"
    assert life.polled(started(FREEZE)).polled().judged().outcome() == "missed"


def test_what_the_owner_took_back_stays_so_though_the_event_is_listed_again():
    life = prepared_and_started().see(ob.RecoverRequested("e1")).polled().polled(started(FREEZE))
    assert life.phase() == "recovering" and life.running() == ["drain recover"]


def test_only_the_newest_events_that_are_over_are_remembered():
    life = Life(Policy())
    for number in range(120):
        life.polled(event(f"e{number % 110}")).polled()
    assert len(life.state.over) == 100 and life.state.over[-1] == "e9" and len(set(life.state.over)) == 100


def test_a_reboot_with_the_event_open_ends_restarted():
    reboot = event(kind=Kind.REBOOT)
    life = Life().polled(reboot).settle().acknowledged().polled(started(reboot)).restarted("boot-2")
    assert life.phase() == "checking-clock"
    life.judged().after(5.0)
    assert life.reasons() == ["restarted"]
    assert life.settle().polled().outcome() == "restarted"


def test_a_reboot_while_the_event_is_still_scheduled_prepares_again_without_a_second_acknowledgement():
    life = Life().polled(FREEZE).settle().acknowledged().restarted("boot-2").polled(FREEZE)
    assert life.running() == ["drain prepare"]
    assert life.settle().phase() == "acknowledged" and life.acknowledgements() == 1


@pytest.mark.parametrize("document", [(), (started(FREEZE),)])
def test_a_reboot_after_which_the_event_is_gone_or_started_is_its_own(document):
    life = Life().polled(FREEZE).settle().acknowledged().restarted("boot-2").polled(*document)
    assert life.phase() == "checking-clock"
    life.judged().after(5.0).settle().polled()
    assert life.outcome() == "restarted"


def test_a_reboot_while_hooks_prepare_prepares_again_those_that_had_settled_too():
    """Else the event would wait for ever for a preparation that is not run (found by killing a real agent there)."""
    policy = Policy(hooks=(hook("first", 10), hook("second", 20)))
    life = Life(policy).polled(FREEZE).settle().restarted("boot-2").polled(FREEZE)
    assert life.running() == ["first prepare"]
    assert life.settle().running() == ["second prepare"]
    assert life.settle().phase() == "acknowledging"


@pytest.mark.parametrize(("outcome", "status"), [(NOTHING, 3), (REFUSED, 4), (FAILED, 1), (TIMED_OUT, None)])
def test_the_record_says_of_each_run_how_it_ended_and_that_a_hook_did_it(outcome, status):
    """What had nothing to do was not done, and what refused for safety is not the same as a failure."""
    [run] = runs_told(Life().polled(FREEZE).settle(outcome, exit_status=status))
    assert (run["kind"], run["outcome"], run["exit_status"]) == ("hook", outcome.value, status)


def test_the_record_says_who_acknowledged():
    life = Life().polled(FREEZE).settle()
    assert told_record(life)["acknowledged_by"] is None
    assert told_record(life.acknowledged())["acknowledged_by"] == "this machine"


def told_record(life):
    rows = [Row(life.now.utc, entry.event_id, entry.what, entry.note, entry.subject) for entry in life.entries]
    return record_of([row for row in rows if row.event_id == "e1"]).as_json()


def runs_told(life):
    return told_record(life)["hooks"]


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_a_run_that_was_being_stopped_when_the_agent_ended_is_in_the_record_once(boot_id):
    """In its own event's; not in that of one that is only watched."""
    life = Life().polled(FREEZE, event("e3", resources=("vm-2",))).polled(event("e3", resources=("vm-2",)))
    life.restarted(boot_id)
    assert [(run["phase"], run["outcome"]) for run in runs_told(life)] == [("prepare", "stopped")]
    assert not [entry for entry in life.entries if entry.event_id == "e3" and isinstance(entry.subject, HookRun)]
    assert life.judged().after(5.0).settle().begun_runs() == ["drain prepare", "drain recover"]
    assert [(run["phase"], run["outcome"]) for run in runs_told(life)] == [("prepare", "stopped"), ("recover", "done")]


def test_the_record_says_which_run_the_end_of_the_agent_cut_short():
    """No other could: its end was not seen, when it began is known, and the next one of it is another."""
    life = Life().after(3.0).polled(FREEZE).after(4.0).restarted().polled(FREEZE).settle().acknowledged()
    life.polled(started(FREEZE)).paused().judged().after(5.0).restarted()
    words = [(entry.what.value, entry.note) for entry in life.entries if entry.event_id == "e1"]
    for phase in ("prepare", "recover"):
        assert words.count((f"hook {phase} interrupted", "drain: the agent ended during the run")) == 1
    prepare, recover = [run for run in runs_told(life) if run["outcome"] == "stopped"]
    assert prepare == {"name": "drain", "kind": "hook", "phase": "prepare", "attempt": 1, "outcome": "stopped",
                       "exit_status": None, "started_at": "2026-11-20T10:00:03.000Z", "duration_s": None, "limit_s": 60.0, "output": "",
                       "note": "the agent ended during the run"}
    assert (recover["phase"], recover["attempt"], recover["duration_s"]) == ("recover", 1, None)
    assert [(run["phase"], run["attempt"]) for run in runs_told(life)] == [
        ("prepare", 1), ("prepare", 2), ("recover", 1)]
    assert words.count(("agent restarted", "")) == 2


@pytest.mark.parametrize("hurt", [lambda life: life.restarted("boot-2").polled(FREEZE).settle(),
                                  lambda life: life.paused(0.6, Cause.PROCESS_STALL).polled(FREEZE)])
def test_what_is_withdrawn_is_cancelled_though_the_machine_was_rebooted_or_stalled_for_a_moment_before(hurt):
    life = hurt(Life(Policy(hooks=(hook(),), rules={Kind.FREEZE: Rules(acknowledge=False)})).polled(FREEZE).settle())
    assert life.phase() == "held"
    life.polled()
    assert life.reasons() == ["cancelled"]
    assert life.settle().outcome() == "cancelled"


# --- recover that fails ---------------------------------------------------------------------------------------------

def test_a_failed_recover_is_tried_again_after_5_30_and_120_s_and_then_stays_pending():
    life = Life().polled(FREEZE).settle().polled()
    for wait_s in (5.0, 30.0, 120.0):
        assert life.settle(FAILED, exit_status=1).running() == []
        assert life.after(wait_s - 0.1).running() == []
        assert life.after(0.2).running() == ["drain recover"]
    life.settle(FAILED, exit_status=1).after(3600.0)
    assert life.running() == [] and life.phase() == "recovering"
    assert any(entry.what is EntryKind.RECOVER_FAILED for entry in life.entries)
    assert life.see(ob.RecoverRequested()).running() == ["drain recover"]
    assert life.settle().outcome() == "cancelled"


def test_a_failed_recover_does_not_stop_the_ones_after_it_but_not_yet_does():
    policy = Policy(hooks=(hook("a", 10), hook("b", 20)))
    assert Life(policy).polled(FREEZE).settle().settle().polled().settle(FAILED).running() == ["a recover"]
    assert Life(policy).polled(FREEZE).settle().settle().polled().settle(NOT_YET).running() == []


def test_what_was_started_is_recovered_whatever_the_configuration_says_by_now():
    life = Life().polled(FREEZE).settle()
    life.policy = Policy(hooks=())
    assert life.polled().runs()[0].spec.path == "/hooks/20-drain"


def test_a_stopped_service_recovers_if_the_owner_wants_that_and_the_next_start_prepares_again():
    life = Life().polled(FREEZE).settle().acknowledged().see(ob.StopRequested())
    assert life.running() == ["drain recover"]
    life.settle().polled(FREEZE)
    assert life.phase() == "recovered" and life.running() == []
    assert life.restarted().polled(FREEZE).running() == ["drain prepare"]
    assert life.settle().phase() == "acknowledged" and life.acknowledgements() == 1


def test_by_hand_everything_is_given_back():
    life = Life().polled(FREEZE).settle().acknowledged().see(ob.RecoverRequested("e1"))
    assert life.running() == ["drain recover"]


def test_a_failed_poll_says_nothing_about_any_event():
    life = Life().polled(FREEZE).settle()
    before = life.state
    assert life.see(ob.PollFailed("no answer")).state is before


def test_a_document_with_an_entry_left_out_prepares_for_the_others_and_takes_none_for_gone():
    life = Life().polled_in_part(FREEZE)
    assert life.running() == ["drain prepare"]
    life.settle().acknowledged().polled_in_part()
    assert life.phase() == "acknowledged"
    life.polled_in_part(started(FREEZE))
    assert life.phase() == "started"
    life.polled_in_part()
    assert life.phase() == "started"
    assert life.polled().phase() == "checking-clock"


def test_after_a_restart_an_event_missing_from_a_document_that_is_not_whole_is_not_prepared_for():
    """It may have gone meanwhile, or be the entry that was left out: a whole document decides."""
    life = Life().polled(FREEZE).restarted()
    assert life.polled_in_part().running() == [] and life.phase() == "preparing"
    assert life.polled_in_part(FREEZE).running() == ["drain prepare"]
    assert Life().polled(FREEZE).restarted().polled_in_part().polled(FREEZE).running() == ["drain prepare"]


def test_a_document_seen_twice_changes_nothing():
    life = Life().polled(FREEZE).settle().acknowledged()
    before = life.state
    assert life.polled(FREEZE).state == before


# --- bounds -------------------------------------------------------------------------------------------------------

def test_of_thousands_of_own_events_the_earliest_are_handled_and_the_others_are_reported_and_wait_their_turn():
    many = [event(f"e{n}", notice_s=900.0 + (n * 7919) % 4000) for n in range(4000)]
    begun = started(event("begun"))
    life = Life().polled(*many, begun)
    by_time = sorted(many, key=lambda one: one.not_before)
    assert set(life.state.cases) == {"begun", *(one.id for one in by_time[:63])}
    assert life.running() == ["drain prepare"] and life.state.beyond == 3937
    assert [entry.what for entry in life.entries if not entry.event_id] == [EntryKind.LEFT_OUT]
    life.polled(*many, begun).settle()
    assert [entry.what for entry in life.entries if not entry.event_id] == [EntryKind.LEFT_OUT], "once, not at each poll"
    life.polled(*by_time[40:80]).polled(*by_time[40:80])
    assert {one.id for one in by_time[40:80]} <= set(life.state.cases) and life.state.beyond == 0
    assert [entry.what for entry in life.entries if not entry.event_id][-1] is EntryKind.LEFT_OUT_NO_MORE


def test_thousands_of_other_machines_events_leave_room_for_ours():
    theirs = [event(f"t{n}", resources=("vm-2",)) for n in range(3000)]
    life = Life().polled(*theirs, event("ours"))
    assert life.phase("ours") == "preparing" and len(life.state.cases) == 1001 and life.state.beyond == 2000


def test_an_event_on_a_machine_that_stalls_for_weeks_keeps_its_newest_pause_and_its_longest_ones():
    life = Life().polled(event()).settle().acknowledged().polled(started(event()))
    life.paused(300.0, pause_id="long")
    for number in range(250):
        life.paused(1.0, pause_id=f"p{number}")
    kept = [known.id for known in life.state.cases["e1"].pauses]
    assert len(kept) == 100 and "long" in kept and kept[-1] == "p249"


# --- durations ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong_by_s", [0.0, -86400.0 * 3, 86400.0 * 4000])
def test_the_notice_is_computed_by_the_platforms_own_time_whatever_our_clock_says(wrong_by_s):
    life = Life()
    platform = BEGIN + timedelta(seconds=wrong_by_s)
    ahead = replace(event(), not_before=platform + timedelta(seconds=40))
    life.see(ob.Polled(Document((ahead,), life.now.raw_s, life.now.raw_s, "1", platform), ME))
    assert record_of([Row(life.now.utc, *told(entry)) for entry in life.entries]).as_json()["notice_s"] == 40.0


def test_a_notice_that_only_our_clock_could_tell_is_unknown_and_one_of_a_started_event_is_none():
    for one, expected in ((event(), None), (started(event()), 0.0), (event(notice_s=None), None)):
        life = Life()
        life.see(ob.Polled(Document((one,), life.now.raw_s, life.now.raw_s, "1", None), ME))
        assert record_of([Row(life.now.utc, *told(entry)) for entry in life.entries]).as_json()["notice_s"] == expected


def told(entry):
    return entry.event_id, entry.what, entry.note, entry.subject


@pytest.mark.parametrize(("cause", "length_s", "tried_again"), [
    (Cause.VM_PAUSE, 700.0, True), (Cause.PROCESS_STALL, 700.0, True), (Cause.SUSPEND, 700.0, False)])
def test_a_pause_while_a_hook_says_not_yet_takes_nothing_of_its_time(cause, length_s, tried_again):
    """Ten timeouts of 60 s; in a suspend the raw clock does not run, so time that it shows was lived."""
    life = Life().polled(event()).settle().acknowledged().polled(started(event())).paused().judged().after(5.0)
    life.settle(NOT_YET, exit_status=75).after(2.0)
    assert life.running() == ["drain recover"]
    life.paused(length_s, cause, "p2")
    life.settle(NOT_YET, exit_status=75)
    assert (life.state.hooks["drain"].failures == 0) is tried_again


def test_a_restart_of_the_machine_has_no_length_for_only_wall_clocks_stand_on_both_sides_of_it():
    life = Life().polled(event()).settle().acknowledged().restarted("boot-2", down_s=86400.0 * 4000)
    [told_of] = [entry.subject for entry in life.entries if entry.what is EntryKind.PAUSE]
    assert (told_of.length_s, told_of.uncertainty_s, told_of.quality.value) == (None, None, "unknown")
    assert "4000 d old" in told_of.evidence[0]


def test_an_acknowledgement_that_was_refused_is_not_sent_again_after_a_reboot_but_by_hand():
    life = Life().polled(event()).settle().acknowledged(AckOutcome.REFUSED).restarted("boot-2").polled(event()).settle()
    assert life.phase() == "held" and life.acknowledgements() == 1
    life.see(ob.AcknowledgeRequested("e1"))
    assert life.acknowledgements() == 2


def test_what_concerned_other_machines_only_ends_as_not_ours_and_what_the_owner_leaves_alone_does_not():
    theirs, left_alone = event("theirs", resources=("vm-2",)), event("left", kind=Kind.REBOOT)
    life = Life(Policy(act_on=frozenset({Kind.FREEZE}), hooks=(hook(),))).polled(theirs, left_alone).polled()
    assert (life.outcome("theirs"), life.outcome("left")) == ("not-ours", "cancelled")
