"""The laws every life obeys, checked in every state that can be reached."""
import gc

import pytest

from lives import DONE, FAILED, GOOD, ME, NOTHING, RECOVER, REFUSED, at, document_at, report, started
from test_docs_phases import draw_phases
from tideover import effects as fx, observations as ob
from tideover.effects import SlotWish
from tideover.lifecycle import Phase, Stage, State, desired_effects, step
from tideover.lifecycle.case import passes_on_raw_s, quiet_raw_s
from tideover.lifecycle.hook_stages import unprepared_applications
from tideover.lifecycle.state import (
    AWAITING_PLATFORM,
    CLAIMING,
    STALL_S,
    AckState,
    PrepareResult,
    RecoveredBy,
    ends_an_event,
    stopped_the_machine,
)
from tideover.model import Cause, HookPhase, HookReport, Kind, Moment
from tideover.observations import SlotState
from tideover.policy import names_me
from walk import (
    FREEZE,
    LATER_S,
    ONE,
    SCOPE,
    SURE,
    WORLDS,
    World,
    every_change,
    every_step,
    is_asked,
    look_at,
    new_effects,
    reachable,
)

BEFORE_THE_START = AWAITING_PLATFORM | {Phase.SCHEDULED}
AFTER_THE_START = {Phase.STARTED, Phase.CHECKING_CLOCK, Phase.SETTLING, Phase.RECOVERING, Phase.RECOVERED}
CORE = (World("a freeze in short", ONE, ((), (FREEZE,), (started(FREEZE),)), outcomes=(DONE, FAILED),
              causes=(Cause.VM_PAUSE,), acknowledgements=SURE),)


@pytest.fixture(autouse=True, scope="module", params=["core", pytest.param("all", marks=pytest.mark.slow)])
def worlds(request):
    """Each law in the core worlds in the fast suite, and in all of them among the slow proofs."""
    look_at(CORE if request.param == "core" else WORLDS)
    yield
    look_at(WORLDS)
    gc.freeze()         # the walk's states live to the end: no later test need look through them


RECOVERS = {Stage.RECOVERING, Stage.RECOVER_NOT_YET, Stage.RECOVER_RETRY, Stage.RECOVER_FAILED}
LATE = {Phase.UNCONFIRMED, Phase.HELD, Phase.WAITING_FOR_PEERS}     # a 200 that comes late is remembered, and ends these
NO_NEWS = ob.PollFailed("no answer")


@pytest.mark.slow
def test_an_answer_counts_only_if_it_was_asked_for():
    """Anything else leaves the state as no news at all would (a 200 that comes late is remembered, and ends a doubt)."""
    for world, state, seen, move in every_step():
        answer = seen.observation
        late = isinstance(answer, ob.AckSettled) and answer.outcome is ob.AckOutcome.ACCEPTED
        if not isinstance(answer, ob.HookSettled | ob.AckSettled | ob.ClockJudged) or is_asked(state, answer, seen.now):
            continue
        idle = step(state, NO_NEWS, world.policy, seen.now).state
        if late:
            decided = {i: Phase.ACKNOWLEDGED if i == answer.event_id and c.phase in LATE else c.phase for i, c in idle.cases.items()}
            again = {i for i, phase in phases(move.state).items() if phase is Phase.PREPARING and unprepared_applications(state)}
            assert phases(move.state) == decided | dict.fromkeys(again, Phase.PREPARING), (state, seen)
        else:
            assert move.state == idle, (state, seen)


def test_every_answer_asked_for_moves_something():
    for _, state, seen, move in every_step():
        if is_asked(state, seen.observation, seen.now):
            assert move.state != state, (state, seen)


def test_the_platform_gets_an_acknowledgement_only_after_a_preparation_that_worked_or_by_hand():
    """Never for an event that has started, that was acknowledged before, or that names others."""
    for _, state, seen, move in every_change():
        for effect in new_effects(state, move.state, seen.now):
            if not isinstance(effect, fx.Acknowledge):
                continue
            case = move.state.cases[effect.event_id]
            wanted = [known for known in move.state.hooks.values() if case.id in known.wanted_by]
            assert not case.event.started and not case.acknowledged and move.state.fresh and case.listed
            if case.fleet is None or not case.fleet.is_shared or case.fleet.is_alone:
                assert case.fleet is not None or all(name == ME for name in case.event.resources)
            else:
                assert effect.is_guarded and case.fleet.view.claim_is_mine, (state, seen)
            by_hand = isinstance(seen.observation, ob.AcknowledgeRequested)
            prepared = wanted and all(known.stage is Stage.PREPARED and (known.prepare_result is PrepareResult.WORKED or not known.spec.required)
                                      for known in wanted)
            assert by_hand or prepared, (state, seen)


def changed_nothing(settled: HookReport) -> bool:
    """By its own word (3, 4), or because no process of it was ever started."""
    return settled.outcome in (NOTHING, REFUSED) or not settled.begun


def test_a_pending_recovery_is_never_forgotten():
    """A hook leaves the table only when its recover worked, or when no run of it can have changed anything."""
    for _, state, seen, move in every_change():
        for name, known in state.hooks.items():
            begun = known.needs_recover or known.stage in (Stage.PREPARING, Stage.STOPPING)
            if not begun or name in move.state.hooks:
                continue
            answer = seen.observation
            assert isinstance(answer, ob.HookSettled) and answer.name == name, (state, seen)
            harmless = answer.phase is HookPhase.PREPARE and not known.needs_recover and changed_nothing(answer.report)
            recovered = answer.phase is RECOVER and answer.report.outcome in (DONE, NOTHING)
            assert harmless or recovered, (state, seen)


def test_what_was_started_needs_a_recover():
    """From the moment a prepare is begun, only its own "nothing changed" can make a recover needless."""
    for _, state, seen, move in every_change():
        for name, known in state.hooks.items():
            after = move.state.hooks.get(name)
            if known.stage is not Stage.PREPARING or after is None or after.run != known.run:
                continue
            settled = isinstance(seen.observation, ob.HookSettled) and changed_nothing(seen.observation.report)
            running = after.stage in (Stage.PREPARING, Stage.STOPPING)
            assert running or after.needs_recover or (settled and not known.needs_recover), (state, seen)


def test_no_hook_is_recovered_while_an_event_claims_the_applications():
    for _, state, seen, move in every_change():
        begun = [e for e in new_effects(state, move.state, seen.now) if isinstance(e, fx.RunHook) and e.phase is RECOVER]
        if begun:
            assert not move.state.claimed() and not move.state.awaits_clock(), (state, seen)
            assert not any(known.stage in (Stage.PREPARING, Stage.STOPPING) for known in move.state.hooks.values())


def test_no_recover_starts_before_the_clock_is_judged():
    """After a start or a pause; only a command, or a start of the agent that had asked before, may pass it."""
    for _, state, seen, move in every_change():
        begun = [e for e in new_effects(state, move.state, seen.now) if isinstance(e, fx.RunHook) and e.phase is RECOVER]
        for effect in begun:
            case = move.state.cases.get(effect.event_id)
            if case is not None and (case.began or case.pauses) and case.phase is Phase.RECOVERING:
                assert case.clock is not None or case.is_recovered_early, (state, seen)


def test_no_recover_starts_before_the_quiet_time_after_the_newest_pause_is_over():
    """While the event is listed: what is gone is over."""
    for world, state, seen, move in every_change():
        if isinstance(seen.observation, ob.Due | ob.ClockJudged):
            for effect in new_effects(state, move.state, seen.now):
                case = move.state.cases.get(getattr(effect, "event_id", ""))
                told_now = isinstance(effect, fx.RunHook) and effect.phase is RECOVER and case is not None \
                    and case.phase is Phase.RECOVERING and state.cases[case.id].phase is not Phase.RECOVERING
                if told_now and case.listed and case.pauses:
                    assert seen.now.raw_s >= quiet_raw_s(case, world.policy), (state, seen)


def test_nothing_is_prepared_or_acknowledged_before_a_fresh_document():
    for _, state, seen, move in every_change():
        if isinstance(seen.observation, ob.Restarted):
            for effect in desired_effects(move.state, seen.now):
                assert not isinstance(effect, fx.Acknowledge), (state, seen)
                begun = isinstance(effect, fx.RunHook) and effect.phase is HookPhase.PREPARE and not effect.resumed_instance
                assert not begun, (state, seen)


def test_an_event_that_begins_is_underway_and_one_that_is_gone_is_over():
    for _, state, seen, move in every_change():
        if not isinstance(seen.observation, ob.Polled):
            continue
        listed = {event.id: event for event in seen.observation.document.events}
        for event_id, before in state.cases.items():
            after = move.state.cases.get(event_id)
            phase = after.phase if after else Phase.CLOSED
            if before.phase is Phase.OBSERVED:
                continue
            if event_id in listed and listed[event_id].started and before.listed:
                assert phase in AFTER_THE_START, (state, seen)
            if event_id not in listed and before.listed:
                assert phase in {Phase.CHECKING_CLOCK, Phase.RECOVERING, Phase.CLOSED}, (state, seen)
                away = before.pending_pause is not None or before.rebooted or before.agent_was_down or before.phase is Phase.STARTED
                if before.phase in BEFORE_THE_START - {Phase.SCHEDULED} and not away:
                    assert phase is not Phase.CHECKING_CLOCK, "cancelled events recover at once"
                elif before.phase is Phase.STARTED:
                    assert phase is Phase.CHECKING_CLOCK


def test_every_pause_after_the_start_is_followed_by_a_clock_check():
    """The machine's, and a stall of our own of a second and more once the event is known to have begun. It joins the
    record, what was heard before it counts no more, and the quiet time runs from it."""
    for world, state, seen, move in every_step():
        if not isinstance(seen.observation, ob.Resumed):
            continue
        newest, policy = seen.observation.pause, world.policy
        if newest.cause is Cause.RESTART:
            continue                                        # no watch tells of one: a start of the agent does
        for event_id, before in state.cases.items():
            after = move.state.cases[event_id]
            waits = before.phase is not Phase.STARTED or policy.recovers_after_pause(before.event.kind)
            if before.phase not in AFTER_THE_START or not waits:
                continue
            if stopped_the_machine(newest) or (ends_an_event(newest) and before.has_begun):
                assert after.phase is Phase.CHECKING_CLOCK and after.check_round == before.check_round + 1, (state, seen)
                assert newest in after.pauses and after.since_raw_s >= newest.resumed_raw_s
                assert quiet_raw_s(after, policy) >= newest.resumed_raw_s + policy.settle_s
            elif newest.cause is Cause.PROCESS_STALL and not (before.listed or before.has_begun):
                assert after == before, "what was withdrawn knows no stall of ours"
        if newest.cause is not Cause.VM_PAUSE:
            continue
        taking = [case for case in state.cases.values() if case.phase not in (Phase.OBSERVED, Phase.SCHEDULED)]
        if not taking and policy.recover_unannounced:
            assert move.state.cases[newest.id].phase is Phase.CHECKING_CLOCK


def test_a_pause_before_the_start_is_kept_and_moves_nothing():
    """Until a document says Started: then it was this event's, and the clock is checked."""
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Resumed):
            for event_id, before in state.cases.items():
                after = move.state.cases[event_id]
                if before.phase in BEFORE_THE_START - {Phase.SCHEDULED}:
                    assert (after.phase, after.ack_attempts) == (before.phase, before.ack_attempts), (state, seen)
                    assert after.pending_pause is not None
        if isinstance(seen.observation, ob.Polled):
            for event in seen.observation.document.events:
                before = state.cases.get(event.id)
                if before is not None and before.listed and event.started and event.kind is Kind.FREEZE \
                        and before.pending_pause is not None and before.phase in BEFORE_THE_START:
                    assert move.state.cases[event.id].phase is Phase.CHECKING_CLOCK, (state, seen)


def test_a_reboot_after_the_start_is_followed_by_a_clock_check():
    for _, state, seen, move in every_change():
        if isinstance(seen.observation, ob.Restarted) and state.boot_id and seen.observation.boot_id != state.boot_id:
            for event_id, before in state.cases.items():
                given_back = before.is_prepared_again
                if before.phase in AFTER_THE_START and not given_back:
                    assert move.state.cases[event_id].phase is Phase.CHECKING_CLOCK, (state, seen)


def test_acknowledged_is_the_phase_of_what_the_platform_accepted_and_held_of_what_it_did_not():
    """In every state: what waits for the platform is either still being decided, held, or acknowledged."""
    for _, state, _, _ in every_step():
        for case in state.cases.values():
            if case.phase is Phase.ACKNOWLEDGED:
                assert case.acknowledged, state
            if case.phase in (Phase.HELD, Phase.ACKNOWLEDGING, Phase.UNCONFIRMED):
                assert not case.acknowledged, state


def test_no_state_holds_a_combination_of_flags_that_means_nothing():
    """The legal combinations are named in `Case` and `HookState`."""
    for _, state, _, _ in every_step():
        for case in state.cases.values():
            assert case.listed or case.phase in {Phase.CHECKING_CLOCK, Phase.SETTLING, Phase.RECOVERING}, state
            assert not case.missed or case.began or not case.listed, state
            assert not (case.hooks_named and case.announced), state
            assert case.ack is AckState.OPEN or case.ack_attempts or case.id in state.settled, state
            assert case.recovered_by is RecoveredBy.EVENT or case.phase not in AWAITING_PLATFORM | {Phase.SCHEDULED}, state
        for known in state.hooks.values():
            has_ended = known.prepare_result is not PrepareResult.NONE
            assert has_ended if known.stage is Stage.PREPARED else has_ended or not known.prepared_for, state
            assert known.needs_recover or known.stage not in RECOVERS or known.run, state


def phases(state: State) -> dict[str, Phase]:
    return {event_id: case.phase for event_id, case in state.cases.items()}


def test_only_a_held_event_is_acknowledged_by_hand():
    for _, state, seen, move in every_change():
        if isinstance(seen.observation, ob.AcknowledgeRequested):
            held = state.cases[seen.observation.event_id]
            if held.fleet is not None and held.fleet.is_shared:
                assert seen.observation.alone or held.phase is Phase.HELD, "the others are waited for"
                assert seen.observation.alone or phases(move.state)[held.id] is Phase.WAITING_FOR_PEERS
                assert held.phase in (Phase.HELD, Phase.WAITING_FOR_PEERS)
                continue
            assert held.phase is Phase.HELD and not held.acknowledged and phases(move.state) == {**phases(state), held.id: Phase.ACKNOWLEDGING}


def test_by_hand_or_by_a_stop_every_claim_is_given_back():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.RecoverRequested | ob.StopRequested):
            for event_id, before in state.cases.items():
                after = phases(move.state).get(event_id, Phase.CLOSED)
                if before.phase in CLAIMING:
                    assert after in (Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED), (state, seen)
                    assert after is Phase.RECOVERING or not move.state.hooks, "only what owes nothing is over"
                elif before.phase in (Phase.OBSERVED, Phase.SCHEDULED, Phase.RECOVERED):
                    assert after is before.phase


def test_a_restart_of_the_agent_moves_only_what_was_asked_and_what_was_given_back_for_it():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Restarted) and seen.observation.boot_id == state.boot_id:
            for event_id, before in state.cases.items():
                after = phases(move.state).get(event_id, Phase.CLOSED)
                again = before.is_prepared_again and before.phase in (Phase.RECOVERING, Phase.RECOVERED)
                if before.phase is Phase.ACKNOWLEDGING:
                    assert after is Phase.UNCONFIRMED
                elif again:
                    assert after is Phase.PREPARING
                elif before.phase is Phase.RECOVERING:
                    assert after in (Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED)
                else:
                    assert after is before.phase, (state, seen)
                assert move.state.cases.get(event_id, before).check_round == before.check_round


def test_a_reboot_before_the_start_leads_back_to_preparation_and_touches_nothing_else():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Restarted) and state.boot_id and seen.observation.boot_id != state.boot_id:
            for event_id, before in state.cases.items():
                after = move.state.cases[event_id]
                if before.phase in (Phase.OBSERVED, Phase.SCHEDULED, Phase.WAITING_FOR_SLOT):
                    assert after.phase is before.phase
                elif before.phase in BEFORE_THE_START:
                    assert after.phase is Phase.PREPARING, (state, seen)
                elif before.is_prepared_again and before.phase in (Phase.RECOVERING, Phase.RECOVERED):
                    assert after.phase is Phase.PREPARING, "it was recovered only because the service stopped"
                elif not before.is_prepared_again:
                    assert after.check_round > before.check_round, "also when it was being checked"


def test_what_has_started_stays_where_it_is_while_documents_repeat_it():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Polled):
            for event in seen.observation.document.events:
                before = state.cases.get(event.id)
                if before is None or not before.listed or before.phase not in AFTER_THE_START:
                    continue
                after = phases(move.state)[event.id]
                assert after is before.phase or before.phase is Phase.RECOVERING, (state, seen)


def test_a_scheduled_event_seen_again_moves_only_what_doubts_or_was_too_early():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Polled):
            for event in seen.observation.document.events:
                before = state.cases.get(event.id)
                if before is None or event.started or not before.listed or before.event.started:
                    continue
                after = phases(move.state)[event.id]
                if before.fleet is not None and not state.fresh:
                    continue                            # what the store has shown meanwhile counts from here on
                if before.phase is Phase.UNCONFIRMED:
                    assert after in (Phase.UNCONFIRMED, Phase.ACKNOWLEDGING, Phase.WAITING_FOR_PEERS)
                elif before.phase in (Phase.OBSERVED, Phase.SCHEDULED, Phase.ACKNOWLEDGING, Phase.HELD, Phase.ACKNOWLEDGED):
                    assert after is before.phase, (state, seen)


def test_an_event_that_was_never_prepared_closes_when_it_is_gone():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Polled) and not seen.observation.document.events:
            for event_id, before in state.cases.items():
                if before.listed and before.phase in (Phase.OBSERVED, Phase.SCHEDULED, Phase.RECOVERED):
                    assert event_id not in move.state.cases, (state, seen)


def test_who_waits_for_a_moment_goes_on_when_it_comes():
    for _, state, seen, move in every_step():
        if isinstance(seen.observation, ob.Due) and seen.observation.key.startswith("case:"):
            before = state.cases.get(seen.observation.key.removeprefix("case:"))
            if before is None:
                continue
            after = phases(move.state).get(before.id, Phase.CLOSED)
            come = before.wake_raw_s is not None and before.wake_raw_s <= seen.now.raw_s
            if before.phase is Phase.SETTLING and come and seen.now.raw_s - before.looked_raw_s >= STALL_S:
                assert after is Phase.SETTLING, "the wait was long enough to have had a pause in it"
            elif before.phase is Phase.SETTLING and come:
                assert after in (Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED), (state, seen)
            elif before.phase in (Phase.SCHEDULED, Phase.WAITING_FOR_SLOT) and come:
                assert after in {Phase.PREPARING, Phase.ACKNOWLEDGING, Phase.HELD, Phase.ACKNOWLEDGED}
            elif before.phase is Phase.UNCONFIRMED and come:
                assert after in {Phase.ACKNOWLEDGING, Phase.HELD, Phase.WAITING_FOR_PEERS}, (state, seen)
            elif before.phase is Phase.UNCONFIRMED and passes_on_raw_s(before) <= seen.now.raw_s:
                assert after is Phase.WAITING_FOR_PEERS, "another machine is to try"
            elif before.phase is not Phase.RECOVERING and before.phase is not Phase.PREPARING:
                assert after is before.phase, (state, seen)


def wishes(state: State, now: Moment) -> dict[str, fx.Coordinate]:
    return {effect.event_id: effect for effect in desired_effects(state, now) if isinstance(effect, fx.Coordinate)}


def test_a_machine_calls_itself_ready_only_while_its_hooks_are_prepared():
    """Or while it has nothing to prepare; and it claims only while it waits for the others."""
    for _, state, _, _ in every_step():
        for event_id, wish in wishes(state, at(0)).items():
            case = state.cases.get(event_id)
            if wish.says == "ready" and case is not None and case.phase is not Phase.OBSERVED:
                assert all(known.stage is Stage.PREPARED for known in state.hooks.values() if event_id in known.wanted_by), state
                assert case.phase in AWAITING_PLATFORM - {Phase.PREPARING, Phase.HELD}
            assert not wish.may_claim or (case is not None and case.phase is Phase.WAITING_FOR_PEERS), state


def test_what_is_prepared_or_away_is_entered_and_what_is_over_is_given_back():
    for _, state, seen, move in every_change():
        for event_id, case in state.cases.items():
            if case.fleet is None or not case.fleet.is_limited:
                continue
            wish = wishes(state, seen.now).get(event_id)
            if case.phase in CLAIMING and case.fleet.takes_slot and case.fleet.view.slot is not SlotState.RELEASED:
                assert wish is not None and wish.slot in (SlotWish.ENTER, SlotWish.AWAY), state
            if event_id not in move.state.cases:
                assert [left.event_id for left in move.state.leaving if left.leaves] == [event_id], (state, seen)


def test_without_a_fleet_no_event_waits_for_a_slot_or_for_peers():
    for world, state, _, _ in every_step():
        if world.policy.fleet is None:
            assert not {Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_PEERS} & set(phases(state).values())
            assert all(case.fleet is None for case in state.cases.values()) and not state.leaving


def test_an_acknowledgement_of_another_machine_counts_for_this_one():
    for _, state, seen, move in every_change():
        if isinstance(seen.observation, ob.FleetSeen) and seen.observation.view.result == 200:
            before = state.cases[seen.observation.event_id]
            if before.phase in (Phase.WAITING_FOR_PEERS, Phase.ACKNOWLEDGING, Phase.UNCONFIRMED, Phase.HELD):
                assert phases(move.state)[before.id] is Phase.ACKNOWLEDGED, (state, seen)
                assert not [one for one in desired_effects(move.state, seen.now) if isinstance(one, fx.Acknowledge)]


def test_what_is_not_ours_is_watched_and_never_touched():
    for _, state, seen, move in every_change():
        for case in move.state.cases.values():
            if case.announced and not names_me(case.event, ME):
                assert case.phase is Phase.OBSERVED
                assert not [e for e in desired_effects(move.state, seen.now) if getattr(e, "event_id", "") == case.id], (state, seen)


def test_a_hook_has_one_run_at_a_time_and_never_a_number_twice():
    for _, state, seen, move in every_change():
        runs = [effect for effect in desired_effects(move.state, seen.now) if isinstance(effect, fx.RunHook)]
        assert len({run.spec.name for run in runs}) == len(runs)
        for run in runs:
            assert run.run <= move.state.runs
        for run in new_effects(state, move.state, seen.now):
            if isinstance(run, fx.RunHook):
                assert run.run > state.runs, (state, seen)


def test_no_hook_is_prepared_again_in_vain():
    """While nothing is announced again, a settled preparation stays settled."""
    for _, state, seen, move in every_change():
        if isinstance(seen.observation, ob.Due | ob.PollFailed):
            for name, known in state.hooks.items():
                if known.stage is Stage.PREPARED and name in move.state.hooks:
                    assert move.state.hooks[name].stage not in (Stage.QUEUED, Stage.PREPARING), (state, seen)


def test_an_application_that_is_away_is_not_asked_to_recover():
    """Waiting for it uses up no retry. Only a run of before the agent's restart may still be waited for."""
    for _, state, seen, move in every_change():
        for effect in new_effects(state, move.state, seen.now):
            if isinstance(effect, fx.RunHook) and effect.spec.is_application and effect.phase is RECOVER:
                assert effect.spec.name in move.state.connected or effect.resumed_instance, (state, seen)


def test_an_application_is_recovered_only_after_a_prepare_that_may_have_reached_it():
    """By a run that was sent to it, or that may have been before the agent's restart."""
    for _, state, seen, move in every_change():
        for name, known in move.state.hooks.items():
            if known.spec.is_application and known.needs_recover and name not in state.hooks:
                raise AssertionError((state, seen))


def test_an_instance_that_was_not_prepared_is_prepared_while_the_event_is_ahead():
    for _, state, seen, move in every_step():
        if not isinstance(seen.observation, ob.ApplicationConnected):
            continue
        known = state.hooks.get(seen.observation.name)
        if known is None or known.stage is not Stage.PREPARED or known.instance == seen.observation.instance:
            continue
        waiting = [state.cases[one] for one in known.wanted_by if one in state.cases and not state.cases[one].has_begun
                   and state.cases[one].phase in (Phase.PREPARING, Phase.HELD, Phase.ACKNOWLEDGED)]
        after = move.state.hooks[seen.observation.name]
        if waiting:
            assert after.stage in (Stage.QUEUED, Stage.PREPARING), (state, seen)
            assert not [e for e in new_effects(state, move.state, seen.now) if isinstance(e, fx.Acknowledge)]


def test_from_anywhere_the_answers_lead_home():
    for world in SCOPE:
        lead_home(world)


def lead_home(world):
    for state, _ in reachable(world):
        now = at(2 * LATER_S)
        state = _see(state, ob.Polled(document_at((), now, "9"), ME), world, now)
        for name in world.applications:
            state = _see(state, ob.ApplicationConnected(name, state.connected.get(name, "last")), world, now)
        for round_ in range(12):
            now = at((3 + round_) * LATER_S)
            for effect in desired_effects(state, now):
                state = _see(state, _reply(effect, state), world, now)
            for name, known in list(state.hooks.items()):
                if known.stage is Stage.STOPPING:
                    state = _see(state, ob.HookSettled(name, HookPhase.PREPARE, known.run, report()), world, now)
            state = _see(state, ob.RecoverRequested(), world, now)
        assert not state.cases and not state.hooks, state


def _reply(effect: fx.Effect, state: State) -> ob.Observation:
    match effect:
        case fx.RunHook(spec, phase, run):
            return ob.HookSettled(spec.name, phase, run, report())
        case fx.Acknowledge(event_id, attempt):
            return ob.AckSettled(event_id, attempt, ob.AckOutcome.ACCEPTED)
        case fx.CheckClock(event_id, round_):
            return ob.ClockJudged(event_id, round_, GOOD)
        case fx.WakeAt(key):
            return ob.Due(key)
    return NO_NEWS


def _see(state: State, seen: ob.Observation, world: object, now: object) -> State:
    return step(state, seen, world.policy, now).state  # type: ignore[attr-defined,arg-type]


def test_no_event_goes_a_way_that_the_diagram_does_not_show():
    """Of one step an event may go through several phases: each pair that a walk sees is joined by arrows."""
    arrows, beyond = set(draw_phases.arrows()), {}
    for one in Phase:
        ways, new = set(), {one}
        while new:
            ways |= new
            new = {other for here, other in arrows if here in new} - ways
        beyond[one] = ways
    for _, state, seen, move in every_step():
        for event_id, case in move.state.cases.items():
            before = state.cases.get(event_id)
            if before is None:
                assert any(case.phase in beyond[first] for first in draw_phases.FIRST), (seen, case.phase)
            elif before.listed or not case.listed:         # not one that is listed again (`listed_again`)
                assert case.phase in beyond[before.phase], (seen, before.phase, case.phase)
