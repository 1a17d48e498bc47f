"""What the owner asks for by hand, decided without a clock, a file or a hook."""
from __future__ import annotations

import pytest

from lives import FAILED, GOOD, ME, Life, event, hook, pause, started
from tideover import observations as ob
from tideover.errors import TideoverError
from tideover.lifecycle.manual import find_event_id, objections, plan_recover, why_not_forget
from tideover.model import HookOutcome, HookRun, Kind
from tideover.policy import Policy

TWO = Policy(hooks=(hook("first", 10), hook("second", 20)))
FREEZE = event("Freeze-1", notice_s=900.0)


def prepared(policy: Policy = TWO) -> Life:
    life = Life(policy).polled(FREEZE)
    while life.runs():
        life.settle()
    return life


@pytest.mark.parametrize(("typed", "found"), [
    ("AbC-1", "ABC-1"), ("abc-2", "abc-2"), ("abc-2x", None), ("d", "d"), ("last", "abc-2"), ("", None), ("LAST", None)])
def test_an_event_is_meant_by_its_id_in_any_spelling_its_beginning_or_last(typed: str, found: str | None) -> None:
    assert find_event_id(["ABC-1", "abc-2", "d"], typed, "abc-2") == found


def test_an_id_that_is_the_beginning_of_another_is_itself_and_what_several_begin_with_is_refused() -> None:
    assert find_event_id(["ab", "abc"], "AB", None) == "ab"
    with pytest.raises(ValueError, match="2 open event ids begin with it"):
        find_event_id(["ab", "abc"], "a", None)
    assert find_event_id(["last"], "last", "other") == "last", "an id counts before the word"


def test_the_last_event_is_the_newest_of_this_vm() -> None:
    life = prepared().polled(FREEZE, event("other", resources=("vm-of-somebody-else",)))
    assert plan_recover(life.state, "last").event_id == FREEZE.id
    with pytest.raises(TideoverError, match="cannot recover nothing: no such event is open"):
        plan_recover(life.state, "nothing")


def test_what_is_prepared_for_an_event_whose_pause_is_to_come_is_ahead() -> None:
    """Started counts: the machine has not been stopped yet."""
    life = prepared()
    for _ in range(2):
        plan = plan_recover(life.state, None)
        assert (plan.pending, plan.ahead) == (("second", "first"), (FREEZE.id,)), "in the order of recover"
        life.polled(started(FREEZE))
    life.paused()
    assert plan_recover(life.state, None).ahead == ()


def test_after_a_reboot_or_a_cancellation_nothing_is_ahead() -> None:
    assert plan_recover(prepared().restarted("boot-2").state, None).ahead == ()
    assert plan_recover(prepared().polled().state, None).ahead == ()


def test_where_nothing_is_prepared_nothing_needs_to_be_confirmed() -> None:
    plan = plan_recover(Life(Policy()).polled(FREEZE).state, None)
    assert (plan.pending, plan.ahead) == ((), ())


def test_what_another_open_event_needs_is_not_recovered_with_this_one() -> None:
    other = event("Reboot-1", Kind.REBOOT)
    life = prepared().polled(FREEZE, other)
    while life.runs():
        life.settle()
    assert plan_recover(life.state, FREEZE.id).pending == ()
    assert plan_recover(life.state, None).pending == ("second", "first")


def failing() -> Life:
    """The event is over; one recover has failed and waits for its next try."""
    return prepared().polled().settle(FAILED, "second").settle(HookOutcome.DONE, "first")


def test_a_recovery_that_is_given_up_is_recorded_and_ends_the_event() -> None:
    life = failing()
    assert life.phase(FREEZE.id) == "recovering"
    life.see(ob.ForgetRequested("second"))
    assert life.phase(FREEZE.id) == "closed" and not life.state.hooks
    [run] = [entry.subject for entry in life.entries if isinstance(entry.subject, HookRun)
             and entry.subject.report.outcome is HookOutcome.FORGOTTEN]
    assert (run.name, run.phase.value, run.report.note) == ("second", "recover", "given up by hand")


def test_a_recover_that_runs_is_ended_when_it_is_given_up() -> None:
    life = prepared().polled()
    assert life.running() == ["second recover"]
    life.see(ob.ForgetRequested("second"))
    assert life.running() == ["first recover"]


def test_what_an_open_event_needs_cannot_be_forgotten() -> None:
    """A failed preparation would be forgotten with it, and the acknowledgement would be free to go."""
    life = Life(TWO).polled(FREEZE).settle(FAILED)
    assert "it is prepared for Freeze-1" in str(why_not_forget(life.state, "first"))
    before = life.state
    assert life.see(ob.ForgetRequested("first"), ob.ForgetRequested("nobody")).state == before
    assert why_not_forget(life.state, "nobody") == "no recovery of it is pending"


def test_against_an_acknowledgement_speak_failed_and_missing_preparations_and_other_machines() -> None:
    shared = event("e1", resources=(ME.upper(), "vm-2"))
    life = Life(TWO).polled(shared).settle(FAILED).settle()
    against = objections(life.state, shared, ME, TWO)
    assert against.text == "a required preparation failed: first; machines that have not agreed: vm-2"
    nobody = objections(Life(TWO).state, event("e1"), ME, TWO)
    assert (nobody.text, bool(nobody)) == ("not prepared: first, second", True)
    assert not objections(prepared().state, FREEZE, ME, TWO)


def test_an_acknowledgement_by_hand_says_what_it_was_given_against() -> None:
    life = Life(TWO).polled(FREEZE).settle(FAILED).settle()
    assert life.phase(FREEZE.id) == "held"
    life.see(ob.AcknowledgeRequested(FREEZE.id))
    assert life.phase(FREEZE.id) == "acknowledging"
    assert life.entries[-1].note == "by hand, although a required preparation failed: first"


def test_a_pause_seen_before_the_news_of_its_event_is_behind_it() -> None:
    life = prepared()
    life.see(ob.Resumed(pause(now=life.now)))
    assert plan_recover(life.state, None).ahead == ()
    assert life.judged(GOOD).state.hooks, "it is prepared all the same"
