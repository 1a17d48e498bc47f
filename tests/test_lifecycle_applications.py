"""An application takes its place among the hooks: it connects, goes and comes back in the middle of an event."""
from __future__ import annotations

from dataclasses import replace

import pytest

from lives import DONE, FAILED, NOTHING, Life, event, hook, started
from tideover import effects as fx, observations as ob
from tideover.lifecycle import Phase, Stage
from tideover.lifecycle.hook_stages import unanswered_outcome
from tideover.lifecycle.state import CONNECT_AGAIN_S
from tideover.model import HookPhase, Kind
from tideover.policy import Policy
from tideover.record import records_of
from told_lives import ToldLife

FREEZE = event()
APP = replace(hook("app", 10), path="", is_application=True)
LATER = replace(hook("later", 30), path="", is_application=True)
ALONE, BOTH = Policy(hooks=(APP,)), Policy(hooks=(APP, hook("file", 20)))


def connected(policy: Policy = ALONE, instance: str = "one") -> Life:
    return Life(policy).see(ob.ApplicationConnected("app", instance))


def runs(life: Life) -> list[tuple[str, HookPhase]]:
    return [(effect.spec.name, effect.phase) for effect in life.wanted().values() if isinstance(effect, fx.RunHook)]


def prepared(life: Life) -> Life:
    return life.polled(FREEZE).settle().settle().acknowledged()


def over(life: Life) -> Life:
    """The event starts, pauses the machine and is over."""
    return life.polled(started(FREEZE)).paused().judged().after(30.0).judged().after(30.0)


def test_an_application_prepares_and_recovers_in_one_order_with_the_hooks():
    life = connected(BOTH).polled(FREEZE)
    assert runs(life) == [("app", HookPhase.PREPARE)]
    assert runs(life.settle()) == [("file", HookPhase.PREPARE)]
    over(life.settle().acknowledged())
    assert runs(life) == [("file", HookPhase.RECOVER)]
    assert runs(life.settle()) == [("app", HookPhase.RECOVER)]
    assert not life.settle().state.hooks


def test_an_application_that_was_away_and_changed_nothing_is_not_recovered():
    life = Life(ALONE).polled(FREEZE)
    life.settle(NOTHING, exit_status=None).acknowledged()
    assert life.state.cases["e1"].phase is Phase.ACKNOWLEDGED
    assert runs(over(life)) == [] and not life.state.hooks


def test_an_application_that_gave_no_answer_had_nothing_to_prepare_or_has_failed():
    strict = replace(APP, fails_absent=True)
    assert unanswered_outcome(APP, HookPhase.PREPARE, may_have_begun=False) is NOTHING
    assert unanswered_outcome(APP, HookPhase.PREPARE, may_have_begun=True) is FAILED
    assert unanswered_outcome(APP, HookPhase.RECOVER, may_have_begun=False) is FAILED
    assert unanswered_outcome(strict, HookPhase.PREPARE, may_have_begun=False) is FAILED


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_new_instance_prepares_while_the_event_is_ahead_and_nothing_is_acknowledged_twice(acknowledged):
    life = connected().polled(FREEZE).settle(DONE if acknowledged else FAILED).acknowledged()
    assert life.state.cases["e1"].phase is (Phase.ACKNOWLEDGED if acknowledged else Phase.HELD)
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two"))
    assert runs(life) == [("app", HookPhase.PREPARE)] and life.state.cases["e1"].phase is Phase.PREPARING
    life.settle().acknowledged()
    assert life.state.cases["e1"].phase is Phase.ACKNOWLEDGED and life.state.cases["e1"].ack_attempts == 1


def test_the_same_instance_is_not_asked_again():
    life = prepared(connected())
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "one"))
    assert runs(life) == [] and life.state.cases["e1"].phase is Phase.ACKNOWLEDGED


def test_a_new_instance_that_comes_while_the_acknowledgement_is_under_way_prepares_after_its_answer():
    life = connected().polled(FREEZE).settle()
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two"))
    assert runs(life) == []
    assert runs(life.acknowledged()) == [("app", HookPhase.PREPARE)]


def test_a_prepare_that_ended_with_its_instance_is_run_again_by_the_next_one():
    life = connected().polled(FREEZE)
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two")).settle(FAILED)
    assert runs(life) == [("app", HookPhase.PREPARE)]


def test_a_new_instance_that_comes_while_others_still_prepare_is_asked_before_the_acknowledgement():
    life = connected(BOTH).polled(FREEZE).settle()
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two"))
    assert runs(life) == [("app", HookPhase.PREPARE), ("file", HookPhase.PREPARE)]
    life.settle(DONE, "file")
    assert life.state.cases["e1"].phase is Phase.PREPARING
    assert life.settle().state.cases["e1"].phase is Phase.ACKNOWLEDGING


def test_a_new_instance_after_the_start_is_asked_to_recover_with_the_others():
    life = prepared(connected()).polled(started(FREEZE))
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two"))
    assert runs(life) == []
    assert runs(over(life)) == [("app", HookPhase.RECOVER)]


def test_the_recovery_of_an_application_that_is_away_is_pending_until_it_connects_and_uses_up_no_retry():
    life = prepared(connected(BOTH)).see(ob.ApplicationGone("app"))
    over(life).settle().after(1000.0)
    assert life.state.hooks["app"].stage is Stage.RECOVER_PENDING and life.state.hooks["app"].failures == 0
    assert runs(life.see(ob.ApplicationConnected("app", "two"))) == [("app", HookPhase.RECOVER)]
    assert not life.settle().state.hooks


def test_the_others_recover_without_waiting_for_an_application_that_is_away():
    life = Life(Policy(hooks=(hook("file", 20), LATER))).see(ob.ApplicationConnected("later", "one"))
    prepared(life).see(ob.ApplicationGone("later"))
    assert runs(over(life)) == [("file", HookPhase.RECOVER)]


def test_a_recover_that_has_failed_is_asked_for_again_when_the_application_connects():
    life = over(prepared(connected()))
    for wait_s in (5.0, 30.0, 120.0, 1.0):
        life.settle(FAILED).after(wait_s)
    assert life.state.hooks["app"].stage is Stage.RECOVER_FAILED
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "one"))
    assert runs(life) == [("app", HookPhase.RECOVER)]


def test_after_a_restart_of_the_agent_the_others_wait_a_moment_for_applications_to_connect_again():
    life = prepared(Life(Policy(hooks=(hook("file", 20), LATER))).see(ob.ApplicationConnected("later", "one")))
    life.see(ob.Restarted("boot-1")).polled()
    life.judged().after(CONNECT_AGAIN_S - 1.0)
    assert runs(life) == [] and "applications" in life.wanted()
    assert runs(life.after(2.0)) == [("file", HookPhase.RECOVER)]


def test_a_run_of_an_application_goes_on_over_a_restart_of_the_agent_by_its_number():
    life = connected().polled(FREEZE)
    number = life.state.hooks["app"].run
    life.see(ob.Restarted("boot-1"))
    [run] = [effect for effect in life.wanted().values() if isinstance(effect, fx.RunHook)]
    assert (run.run, run.resumed_instance) == (number, "one")
    life.see(ob.ApplicationConnected("app", "one")).settle().polled(FREEZE)
    assert life.state.cases["e1"].phase is Phase.ACKNOWLEDGING


def test_a_run_that_no_instance_was_sent_begins_anew_after_a_restart_of_the_agent():
    life = Life(ALONE).polled(FREEZE).see(ob.Restarted("boot-1"))
    assert runs(life) == []
    assert runs(life.polled(FREEZE)) == [("app", HookPhase.PREPARE)]


def test_an_unannounced_pause_concerns_the_applications_that_are_connected():
    app = replace(APP, kinds=frozenset({Kind.UNANNOUNCED}))
    for life, expected in ((Life(Policy(hooks=(app,))), []), (connected(Policy(hooks=(app,))), [("app", HookPhase.RECOVER)])):
        life.polled().paused().judged().after(30.0).judged().after(30.0)
        assert runs(life) == expected


def test_where_events_are_only_observed_a_new_instance_prepares_nothing():
    life = connected().polled(FREEZE).settle().acknowledged()
    life.policy = replace(ALONE, observes=True)
    life.see(ob.ApplicationGone("app"), ob.ApplicationConnected("app", "two"))
    assert runs(life) == []


def test_a_kind_is_wanted_while_a_hook_or_an_application_takes_part_in_it():
    assert ALONE.wants(Kind.FREEZE) and not ALONE.wants(Kind.UNANNOUNCED)
    assert not replace(ALONE, act_on=frozenset()).wants(Kind.FREEZE)


def test_the_record_says_which_runs_were_an_applications_and_status_which_are_connected():
    life = ToldLife(BOTH).see(ob.ApplicationConnected("app", "one"))
    prepared(life)
    kinds = {run["name"]: run["kind"] for run in records_of(life.rows)[0].as_json()["hooks"]}
    assert kinds == {"app": "application", "file": "hook"}
    shown = {one["name"]: one["connected"] for one in life.status()["hooks"]}
    assert shown == {"app": True, "file": None} and life.status()["applications"] == ["app"]
    life.see(ob.ApplicationGone("app"))
    assert any("not connected" in line for line in life.shown(None))
