"""[policy] mode = "observe": for running beside another agent. Nothing is prepared or acknowledged, everything is recorded."""
from __future__ import annotations

from dataclasses import replace

import pytest

from lives import BAD, DONE, FAILED, GOOD, ME, Life, at, document_at, event, hook, pause, report, started
from tideover import effects as fx, observations as ob
from tideover.lifecycle import Phase, desired_effects, step
from tideover.lifecycle.manual import is_pending
from tideover.model import EntryKind, HookPhase, Kind
from tideover.policy import Policy, Rules
from walk import ONE, WORLDS, World, reachable

TWO = Policy(hooks=(hook("first", 10), hook("second", 20)))
OBSERVES = replace(TWO, observes=True)
FREEZE = event("Freeze-1")


def told(life: Life, what: EntryKind | Phase) -> list[str]:
    return [entry.note for entry in life.entries if entry.what is what]


def test_an_event_is_only_observed_and_the_record_says_what_would_have_been_done_and_when() -> None:
    life = Life(OBSERVES).polled(FREEZE)
    assert (life.phase("Freeze-1"), life.runs()) == ("held", [])
    life.polled(started(FREEZE)).see(ob.Resumed(pause(now=life.now)))
    assert life.phase("Freeze-1") == "checking-clock"
    life.judged(GOOD).after(10.0)
    assert life.phase("Freeze-1") == "recovered"
    life.polled()
    assert not life.state.cases
    assert not [effect for effect in life.begun if isinstance(effect, fx.RunHook | fx.Acknowledge)]
    assert told(life, EntryKind.WOULD_PREPARE) == ["first, second; at most 120 s"]
    assert told(life, EntryKind.WOULD_ACKNOWLEDGE) == ["at the latest when its hooks had been prepared"]
    assert told(life, EntryKind.WOULD_RECOVER) == ["second, first"]
    assert told(life, Phase.HELD) == ["[policy] mode is observe"]
    assert told(life, EntryKind.PAUSE) and told(life, EntryKind.CLOCK_CHECKED)


@pytest.mark.parametrize(("policy", "because"), [
    (replace(OBSERVES, hooks=()), "no hook for this kind"),
    (replace(OBSERVES, hooks=(hook("first", refused="others can write it"),)), "a hook would be refused: first"),
    (replace(OBSERVES, rules={Kind.FREEZE: Rules(acknowledge=False)}), "acknowledged by hand")])
def test_what_would_not_have_been_acknowledged_says_why(policy: Policy, because: str) -> None:
    life = Life(policy).polled(FREEZE)
    [note] = told(life, Phase.HELD)
    assert because in note
    assert not told(life, EntryKind.WOULD_ACKNOWLEDGE)


def test_just_in_time_is_shown_at_the_time_at_which_it_would_be_prepared() -> None:
    life = Life(replace(OBSERVES, rules={Kind.FREEZE: Rules(just_in_time=True)})).polled(FREEZE)
    assert life.phase("Freeze-1") == "scheduled"
    assert not told(life, EntryKind.WOULD_PREPARE)
    life.after(900.0 - 120.0 - 5.0)
    assert told(life, EntryKind.WOULD_PREPARE)


def test_an_unannounced_pause_checks_the_clock_and_runs_no_hook() -> None:
    asks = hook("asks", kinds=frozenset({Kind.UNANNOUNCED}))
    life = Life(replace(OBSERVES, hooks=(asks,)))
    life.see(ob.Resumed(pause(now=life.now)))
    assert life.phase("p1") == "checking-clock"
    life.judged(GOOD).after(10.0)
    assert not life.state.cases
    assert not life.state.hooks
    assert told(life, EntryKind.WOULD_RECOVER) == ["asks"]
    assert not [effect for effect in life.begun if isinstance(effect, fx.RunHook)]


def test_by_hand_nothing_is_acknowledged_either() -> None:
    life = Life(OBSERVES).polled(FREEZE)
    assert life.see(ob.AcknowledgeRequested("Freeze-1")).phase("Freeze-1") == "held"


def test_a_user_who_stops_observing_has_the_open_event_prepared_by_the_next_start() -> None:
    life = Life(OBSERVES).polled(FREEZE)
    life.policy = TWO
    life.see(ob.Restarted(life.boot_id))
    assert life.phase("Freeze-1") == "preparing"
    life.polled(FREEZE)
    assert life.running() == ["first prepare"]
    life.settle(DONE, "first").settle(DONE, "second")
    assert life.phase("Freeze-1") == "acknowledging"


def test_what_runs_when_observing_begins_is_not_run_again_and_is_recovered_when_the_event_is_over() -> None:
    life = Life(TWO).polled(FREEZE)
    assert life.running() == ["first prepare"]
    life.policy = OBSERVES
    life.see(ob.Restarted(life.boot_id)).polled(FREEZE)
    assert (life.phase("Freeze-1"), life.runs(), list(life.state.hooks)) == ("held", [], ["first"])
    life.polled(started(FREEZE)).see(ob.Resumed(pause(now=life.now))).judged(GOOD).after(10.0)
    assert life.running() == ["first recover"]
    life.settle(DONE, "first")
    assert (life.phase("Freeze-1"), life.state.hooks) == ("recovered", {})


def test_an_acknowledgement_in_doubt_when_observing_begins_is_not_sent_again() -> None:
    life = Life(TWO).polled(FREEZE).settle(DONE, "first").settle(DONE, "second")
    assert life.phase("Freeze-1") == "acknowledging"
    life.policy = OBSERVES
    sent = sum(isinstance(effect, fx.Acknowledge) for effect in life.begun)
    life.see(ob.Restarted(life.boot_id)).polled(FREEZE).after(30.0).polled(FREEZE)
    assert life.phase("Freeze-1") == "held"
    assert sum(isinstance(effect, fx.Acknowledge) for effect in life.begun) == sent


SHORT = World("a freeze in short", ONE, WORLDS[0].documents, outcomes=(DONE, FAILED),
              acknowledgements=(ob.AckOutcome.ACCEPTED, ob.AckOutcome.LOST))


@pytest.mark.slow
def test_while_observing_nothing_is_prepared_or_acknowledged_in_any_state_that_can_be_reached() -> None:
    observing = replace(SHORT, policy=replace(ONE, observes=True))
    assert [effect for state, moves in reachable(observing) for seen, move in moves
            for effect in desired_effects(move.state, seen.now) if isinstance(effect, fx.RunHook | fx.Acknowledge)] == []


@pytest.mark.slow
@pytest.mark.parametrize("boot_id", ["boot", "another boot"])
def test_from_every_state_that_can_be_reached_observing_recovers_what_is_prepared_and_prepares_nothing(boot_id: str) -> None:
    observing = replace(ONE, observes=True)
    pending = 0
    for state, _ in reachable(SHORT):
        was_pending = {name for name, known in state.hooks.items() if is_pending(known) or known.needs_recover}
        after, now_s, recovered = step(state, ob.Restarted(boot_id), observing, at(2000)).state, 2000.0, set()
        # The event goes, and everything that is waited for comes.
        for turn in range(12):
            now_s += 100.0
            now = at(now_s)
            document = ob.Polled(document_at((), now), ME)
            after = step(after, document, observing, now).state
            for effect in desired_effects(after, now):
                match effect:
                    case fx.RunHook(spec=spec, phase=phase, run=run):
                        assert phase is HookPhase.RECOVER
                        recovered.add(spec.name)
                        seen: ob.Observation = ob.HookSettled(spec.name, phase, run, report(DONE))
                    case fx.Acknowledge():
                        raise AssertionError("acknowledged while observing")
                    case fx.CheckClock(event_id=event_id, round=number):
                        seen = ob.ClockJudged(event_id, number, GOOD if turn % 2 else BAD)
                    case fx.WakeAt(key=key, at_raw_s=raw_s):
                        seen = ob.Due(key) if raw_s <= now.raw_s else ob.PollFailed("")
                    case _:
                        seen = ob.PollFailed("")
                after = step(after, seen, observing, now).state
        assert not after.hooks, state
        assert was_pending <= recovered, state
        pending += bool(was_pending)
    assert pending > 10
