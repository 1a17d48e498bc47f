"""Which effects the state asks for; crash recovery is asking for them again. Pure."""
from __future__ import annotations

import math
from dataclasses import replace

from tideover import effects as fx
from tideover.lifecycle.case import passes_on_raw_s
from tideover.lifecycle.coordination import coordination
from tideover.lifecycle.state import Case, HookState, Phase, Stage, State
from tideover.model import ClockCheck, HookPhase, Moment, Verdict

NEAR_S = 60.0
"""From so long before NotBefore on, the pause watch ticks faster."""


def desired_effects(state: State, now: Moment) -> tuple[fx.Effect, ...]:
    """Given the state, return every effect it asks for. `now` only says what is near, and what is past waking for."""
    wanted: list[fx.Effect] = []
    for case in state.cases.values():
        wanted.extend(_case_wants(case))
    for hook in state.hooks.values():
        wanted.extend(_hook_wants(state, hook, now))
    wanted.extend(_watch_wants(state, now))
    if now.raw_s < state.connect_raw_s:
        wanted.append(fx.WakeAt("applications", state.connect_raw_s))
    wanted.extend(state.leaving)
    return tuple(wanted)


def _case_wants(case: Case) -> list[fx.Effect]:
    wanted = _phase_wants(case)
    if case.fleet is None:
        return wanted
    store = coordination(case, case.fleet)
    if store is not None:
        wanted.insert(0, store)         # it is what an acknowledgement is confirmed with
    if case.phase is Phase.UNCONFIRMED and passes_on_raw_s(case) < math.inf:
        wanted.append(fx.WakeAt(f"pass:{case.id}", passes_on_raw_s(case)))
    return wanted


def _phase_wants(case: Case) -> list[fx.Effect]:
    match case.phase:
        case Phase.ACKNOWLEDGING:
            return [fx.Acknowledge(case.id, case.ack_attempts, case.current_id,
                                   case.fleet is not None and case.fleet.is_guarded)]
        case Phase.CHECKING_CLOCK:
            return [fx.CheckClock(case.id, case.check_round, case.since_raw_s)]
        case (Phase.SCHEDULED | Phase.WAITING_FOR_SLOT | Phase.SETTLING
              | Phase.UNCONFIRMED) if case.wake_raw_s is not None:
            return [fx.WakeAt(f"case:{case.id}", case.wake_raw_s)]
        case _:
            return []


def _hook_wants(state: State, hook: HookState, now: Moment) -> list[fx.Effect]:
    match hook.stage:
        case Stage.PREPARING:
            return [_run(state, hook, HookPhase.PREPARE)]
        case Stage.RECOVERING:
            return [_run(state, hook, HookPhase.RECOVER)]
        case Stage.PREPARE_RETRY if hook.again_raw_s > now.raw_s:
            return [fx.WakeAt(f"hook:{hook.spec.name}", hook.again_raw_s)]
        case Stage.RECOVER_NOT_YET | Stage.RECOVER_RETRY if hook.again_raw_s > now.raw_s and not state.claimed():
            return [fx.WakeAt(f"hook:{hook.spec.name}", hook.again_raw_s)]
        case _:
            return []


def _watch_wants(state: State, now: Moment) -> list[fx.Effect]:
    """Closely while an event may begin or has begun; a wake-up when the next one comes near."""
    wanted: list[fx.Effect] = []
    for case in state.cases.values():
        if case.phase in (Phase.OBSERVED, Phase.CLOSED):
            continue
        near = case.due_raw_s is not None and case.due_raw_s - now.raw_s <= NEAR_S
        if case.began or near or case.phase in (Phase.ACKNOWLEDGING, Phase.UNCONFIRMED) or case.acknowledged:
            return [fx.WatchClosely()]
        if case.due_raw_s is not None:
            wanted.append(fx.WakeAt(f"near:{case.id}", case.due_raw_s - NEAR_S))
    return wanted


def _run(state: State, hook: HookState, phase: HookPhase) -> fx.RunHook:
    case = state.cases.get(hook.event_id)
    return fx.RunHook(hook.spec, phase, hook.run, hook.attempt, hook.limit_s, hook.event_id, hook.kind, hook.reason,
                      _facts(hook, case, phase), hook.resumed_instance)


def _facts(hook: HookState, case: Case | None, phase: HookPhase) -> fx.RunFacts:
    event = case.event if case else None
    facts = fx.RunFacts(event.not_before if event else None, hook.limit_s, event.expected_pause_s if event else None)
    return facts if phase is HookPhase.PREPARE or case is None else _with_pause(facts, case)


def case_facts(case: Case, now: Moment) -> fx.RunFacts:
    """Given an event's case, return all that is known of it now, for a notification."""
    left_s = None if case.due_raw_s is None or case.began else max(0.0, case.due_raw_s - now.raw_s)
    return _with_pause(fx.RunFacts(case.event.not_before, left_s, case.event.expected_pause_s), case)


def _with_pause(facts: fx.RunFacts, case: Case) -> fx.RunFacts:
    longest = max((p for p in case.pauses if p.length_s is not None), key=lambda p: p.length_s or 0.0, default=None)
    clock = case.clock or ClockCheck(Verdict.UNKNOWN)
    return replace(facts, pause_s=longest.length_s if longest else None,
                   pause_uncertainty_s=longest.shown_uncertainty_s if longest else None,
                   clock=clock.verdict, clock_offset_s=clock.offset_s)
