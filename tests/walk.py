"""Every state that can be reached from the beginning, by every observation that can come: for laws that hold everywhere.

Counters and moments are left out of a state's identity, so that the walk ends; what they are does not change what may
happen next, only when.
"""
from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from lives import (
    BAD,
    DONE,
    FAILED,
    GOOD,
    ME,
    NOT_YET,
    NOTHING,
    RAW_S,
    at,
    document_at,
    event,
    hook,
    pause,
    report,
    started,
)
from tideover import effects as fx, observations as ob
from tideover.lifecycle import Case, HookState, Phase, Stage, State, case as cases, desired_effects, step
from tideover.lifecycle.state import RETRIED_RECOVERS
from tideover.lifecycle.step import Step
from tideover.model import Cause, HookOutcome, HookPhase, Kind, Moment
from tideover.observations import AckOutcome, SlotState
from tideover.policy import FleetRules, Policy

FREEZE, REBOOT = event("e1"), event("e2", Kind.REBOOT)
THEIRS = event("e3", resources=("vm-2",))
FAR = event("e1", notice_s=86400.0)
LATER_S = 1000.0


@dataclass(frozen=True, eq=False)
class World:
    """What a walk may see: the documents, and the owner's choices."""

    name: str
    policy: Policy
    documents: tuple[tuple[object, ...], ...]
    causes: tuple[Cause, ...] = (Cause.VM_PAUSE,)
    outcomes: tuple[HookOutcome, ...] = (DONE, NOTHING, FAILED, NOT_YET)
    acknowledgements: tuple[AckOutcome, ...] = tuple(AckOutcome)
    restarts: bool = True
    by_hand: tuple[ob.Observation, ...] = ()
    applications: tuple[str, ...] = ()          # names; each may connect, in two instances, and go, at any moment
    views: tuple[ob.FleetView, ...] = ()        # what the fleet's store may say of each event, at any moment


ONE = Policy(hooks=(hook("must", 10),))
TWO = Policy(hooks=(hook("must", 10), hook("may", 20, required=False)))
ASKS = Policy(hooks=(hook("asks", 10, kinds=frozenset({Kind.UNANNOUNCED, Kind.FREEZE})),))
SURE = (AckOutcome.ACCEPTED,)
APPLICATION = Policy(hooks=(hook("must", 10), replace(hook("app", 20), path="", is_application=True)))
FLEET = Policy(hooks=(hook("must", 10),), fleet=FleetRules(slots=1, waives_slot=True))
TOGETHER = replace(FLEET, fleet=FleetRules())
SHARED = event("e1", resources=("vm-1", "vm-2"))
SLOT_VIEWS = tuple(ob.FleetView(slot, is_reached=reached) for slot, reached in (
    (SlotState.WAITING, True), (SlotState.GRANTED, True), (SlotState.NOT_GRANTED, True), (SlotState.RELEASED, True),
    (SlotState.NONE, False)))
SHARED_VIEWS = (ob.FleetView(says="ready"), ob.FleetView(says="ready", claim=1, claimed_by="vm-1", claim_is_mine=True),
                ob.FleetView(says="ready", claim=2, claimed_by="vm-2", result=200),
                ob.FleetView(says="ready", claim=2, claimed_by="vm-2", result=404))
HAND = (ob.AcknowledgeRequested("e1"), ob.RecoverRequested(), ob.StopRequested())

WORLDS = (
    World("a freeze with every answer", ONE, ((), (FREEZE,), (started(FREEZE),))),
    World("a freeze and the owner's hand", ONE, ((), (FREEZE,), (started(FREEZE),)), outcomes=(DONE, FAILED),
          acknowledgements=SURE, by_hand=HAND),
    World("far away", ONE, ((), (FAR,), (started(FAR),), (event("e1"),)), outcomes=(DONE,), acknowledgements=SURE,
          by_hand=HAND),
    World("a freeze and stalls", ONE, ((), (FREEZE,), (started(FREEZE),)), causes=(Cause.VM_PAUSE, Cause.PROCESS_STALL),
          outcomes=(DONE, FAILED), acknowledgements=SURE, by_hand=HAND),
    World("two hooks", TWO, ((), (FREEZE,), (started(FREEZE),)), causes=(), outcomes=(DONE, FAILED), acknowledgements=SURE,
          restarts=False),
    World("freeze and reboot", ONE, ((), (FREEZE, REBOOT), (REBOOT,), (started(FREEZE), REBOOT), (started(REBOOT),)),
          causes=(), outcomes=(DONE,), acknowledgements=SURE, restarts=False),
    World("somebody else's", ONE, ((), (THEIRS,), (started(THEIRS),)), outcomes=(DONE,), acknowledgements=SURE,
          by_hand=(ob.AcknowledgeRequested("e3"), ob.RecoverRequested(), ob.StopRequested())),
    World("somebody else's beside ours", ONE, ((), (THEIRS,), (FREEZE, THEIRS), (started(FREEZE), started(THEIRS))),
          causes=(), outcomes=(DONE,), acknowledgements=SURE, restarts=False),
    World("an application that comes and goes", APPLICATION, ((), (FREEZE,), (started(FREEZE),)), outcomes=(DONE, FAILED),
          acknowledgements=SURE, applications=("app",)),
    World("a fleet: an event of two machines", TOGETHER, ((), (SHARED,), (started(SHARED),)), outcomes=(DONE,), causes=(),
          acknowledgements=(AckOutcome.ACCEPTED, AckOutcome.LOST, AckOutcome.WITHHELD), views=SHARED_VIEWS,
          by_hand=(ob.AcknowledgeRequested("e1", alone=True), ob.RecoverRequested())),
    World("a fleet: one slot", FLEET, ((), (FREEZE,), (started(FREEZE),)), outcomes=(DONE,), causes=(), views=SLOT_VIEWS,
          acknowledgements=(AckOutcome.ACCEPTED, AckOutcome.WITHHELD), by_hand=HAND[1:2]),
    World("unannounced", ASKS, ((), (FREEZE,), (started(FREEZE),)), causes=(Cause.VM_PAUSE, Cause.PROCESS_STALL),
          outcomes=(DONE,), acknowledgements=SURE, restarts=False),
)


@dataclass(frozen=True)
class Seen:
    """One observation and the moment it comes at."""

    observation: ob.Observation
    now: Moment


def alphabet(state: State, world: World) -> Iterator[Seen]:
    """Everything that can happen to this state, unwanted answers included."""
    now = at(0)
    for events in world.documents:
        yield Seen(ob.Polled(document_at(events, now), ME), now)  # type: ignore[arg-type]
    for cause in world.causes:
        if not any(known.id == f"p-{cause.value}" for case in state.cases.values() for known in case.pauses):
            yield Seen(ob.Resumed(pause(f"p-{cause.value}", cause=cause, now=now)), now)
    if world.restarts:
        yield Seen(ob.Restarted(state.boot_id or "boot"), now)
        yield Seen(ob.Restarted(f"{state.boot_id[:9]}'" if "'" not in state.boot_id else "boot"), now)
    yield from (Seen(thing, now) for thing in (*world.by_hand, ob.PollFailed("no answer")))
    for name in world.applications:
        if name in state.connected:
            yield Seen(ob.ApplicationGone(name), now)
        else:
            yield from (Seen(ob.ApplicationConnected(name, instance), now) for instance in ("1", "2"))
    yield from (Seen(ob.FleetSeen(event_id, view), now) for event_id in state.cases for view in world.views)
    yield from (Seen(ob.FleetLeft(left.event_id), now) for left in state.leaving)
    yield from (Seen(ob.Due(f"pass:{case.id}"), at(cases.passes_on_raw_s(case) - RAW_S)) for case in state.cases.values()
                if cases.passes_on_raw_s(case) < math.inf)
    if state.connect_raw_s > now.raw_s:
        yield Seen(ob.Due("applications"), at(LATER_S))
    yield from (Seen(ob.Due(f"case:{event_id}"), at(LATER_S)) for event_id in state.cases)
    yield from (Seen(ob.Due(f"case:{case.id}"), at(case.wake_raw_s - RAW_S)) for case in state.cases.values()
                if case.wake_raw_s is not None)
    if any(known.stage in (Stage.PREPARE_RETRY, *RETRIED_RECOVERS) for known in state.hooks.values()):
        yield Seen(ob.Due("hook"), at(LATER_S))
    yield from (Seen(answer, now) for answer in answers(state, world))


def answers(state: State, world: World) -> Iterator[ob.Observation]:
    """Every answer an effect handler could bring now, asked for or not."""
    for name, known in state.hooks.items():
        for phase in HookPhase:
            for outcome in world.outcomes:
                yield ob.HookSettled(name, phase, known.run, report(outcome))
    for case in state.cases.values():
        for outcome in world.acknowledgements:
            yield ob.AckSettled(case.id, case.ack_attempts, outcome)
        for check in (GOOD, BAD):
            yield ob.ClockJudged(case.id, case.check_round, check)


def is_asked(state: State, answer: ob.Observation, now: Moment) -> bool:
    """Whether the state wants the effect this would be the answer to (a run being stopped still has to answer)."""
    keys = _KEYS.get(id(state)) or _KEYS.setdefault(id(state), (state, {effect.key for effect in desired_effects(state, now)}))
    return _names_an_effect(state, answer, keys[1])


_KEYS: dict[int, tuple[State, set[str]]] = {}      # the state is kept with its keys, so that its id stays its own


def _names_an_effect(state: State, answer: ob.Observation, keys: set[str]) -> bool:
    match answer:
        case ob.HookSettled(name, phase, run, _):
            known = state.hooks.get(name)
            stopping = known is not None and known.stage is Stage.STOPPING and phase is HookPhase.PREPARE and known.run == run
            return stopping or f"hook:{name}:{phase.value}:{run}" in keys
        case ob.AckSettled(event_id, attempt, _, _):
            return f"acknowledge:{event_id}:{attempt}" in keys
        case ob.ClockJudged(event_id, round_, _):
            return f"clock:{event_id}:{round_}" in keys
    return False


def identity(state: State) -> object:
    """Coarse on purpose: one representative of each combination of phases, stages and what is pending is walked on from.
    `whole_identity` leaves nothing out that can matter; that walk takes minutes."""
    return (frozenset((case.id, case.phase, case.pending_pause is not None, case.began, case.ack, case.recovered_by,
                       case.phase is Phase.UNCONFIRMED and case.wake_raw_s is not None,
                       case.phase is Phase.SETTLING and case.looked_raw_s > 0)
                      for case in state.cases.values()),
            frozenset((known.spec.name, known.stage, known.needs_recover, *_instance(state, known))
                      for known in state.hooks.values()),
            state.fresh, bool(state.connected),
            frozenset((case.id, *_fleet_identity(case)) for case in state.cases.values() if case.fleet is not None))


def _fleet_identity(case: Case) -> tuple[object, ...]:
    fleet = case.fleet
    assert fleet is not None
    return (fleet.view.slot, fleet.view.claim_is_mine, fleet.view.result, fleet.view.is_reached, bool(fleet.hold), fleet.awaits_slot,
            fleet.is_alone, bool(fleet.sent), bool(fleet.passes))


def _instance(state: State, known: HookState) -> tuple[bool, ...]:
    """Of an application: whether a run was begun with an instance, whether that one is connected, and whether the run
    is one of before the agent's restart."""
    if not known.spec.is_application:
        return ()
    return bool(known.instance), state.connected.get(known.spec.name) == known.instance, bool(known.resumed_instance)


def whole_identity(state: State) -> object:
    return (frozenset(_case_identity(case) for case in state.cases.values()),
            frozenset(_hook_identity(known) for known in state.hooks.values()),
            bool(state.boot_id), state.fresh, frozenset(state.settled))


def _case_identity(case: Case) -> object:
    return (case.id, case.event.started, case.phase, case.listed, case.due_raw_s is None, case.acknowledged,
            case.pending_pause is not None, frozenset(known.id for known in case.pauses), case.began, case.missed, case.agent_was_down,
            case.rebooted, case.recovered_by)


def _hook_identity(known: HookState) -> object:
    return (known.spec.name, known.stage, frozenset(known.wanted_by), known.prepared_for, known.prepare_result,
            known.needs_recover, known.failures > 0, known.until_raw_s > RAW_S + LATER_S)


@cache
def reachable(world: World) -> tuple[tuple[State, tuple[tuple[Seen, Step], ...]], ...]:
    """Every reachable state of a world, each with every step out of it."""
    known: dict[object, tuple[State, tuple[tuple[Seen, Step], ...]]] = {}
    begin = State()
    todo = deque([begin])
    queued = {identity(begin)}
    while todo:
        state = todo.popleft()
        steps = tuple((seen, step(state, seen.observation, world.policy, seen.now)) for seen in alphabet(state, world))
        known[identity(state)] = (state, steps)
        for _, move in steps:
            mark = identity(move.state)
            if mark not in queued:
                queued.add(mark)
                todo.append(move.state)
    return tuple(known.values())


SCOPE: list[World] = list(WORLDS)      # which worlds the laws look at


def look_at(worlds: Iterable[World]) -> None:
    SCOPE[:] = worlds
    every_change.cache_clear()


def every_step() -> Iterator[tuple[World, State, Seen, Step]]:
    for world in SCOPE:
        for state, steps in reachable(world):
            for seen, move in steps:
                yield world, state, seen, move


@cache
def every_change() -> tuple[tuple[World, State, Seen, Step], ...]:
    """Only the steps that lead somewhere else."""
    return tuple(taken for taken in every_step() if taken[3].state != taken[1])


def new_effects(before: State, after: State, now: Moment) -> Iterable[fx.Effect]:
    had = {effect.key for effect in desired_effects(before, now)}
    return [effect for effect in desired_effects(after, now) if effect.key not in had]


def forget() -> None:
    """Another table is walked now."""
    _KEYS.clear()
