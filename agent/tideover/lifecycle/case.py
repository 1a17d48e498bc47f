"""The phases' table of one event: each transition, acknowledgement retries, settling, and the limits of waiting. Pure.

A Moore machine: first the case takes in what was seen (`remember`), then the table's cell for (phase, signal) names the
next phase, then entering the phase fixes what it waits for (`enter`). What is wanted of the world follows from the case
alone (see `desired`). No clock, socket, file or logger is read here.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tideover.lifecycle.hook_stages import last_start_raw_s, start_raw_s
from tideover.lifecycle.state import (
    AWAITING_PLATFORM,
    PAUSES_AT_MOST,
    STALL_S,
    AckState,
    Case,
    FleetState,
    Phase,
    RecoveredBy,
    ends_an_event,
    stopped_the_machine,
)
from tideover.model import Cause, ClockCheck, Event, Kind, Moment, Pause, fold_case
from tideover.observations import AckOutcome, FleetView, SlotState
from tideover.policy import Policy

# --- The inputs: what one observation means for one case, the columns of the table

@dataclass(frozen=True, slots=True)
class Began:
    """The newest document shows it Started."""

    event: Event


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The newest document still shows it Scheduled; the document was asked for at `asked_raw_s`."""

    event: Event
    asked_raw_s: float


@dataclass(frozen=True, slots=True)
class Removed:
    """A well-formed document no longer lists it."""


@dataclass(frozen=True, slots=True)
class TimerElapsed:
    """The time it waited for has come."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All hooks it wanted have settled. `hold`: why the acknowledgement is withheld; None: it may be sent.
    `observed_only`: nothing was prepared, for [policy] mode is observe; `awaits_slot`: only a slot is missing."""

    hold: str | None
    observed_only: bool = False
    awaits_slot: bool = False


@dataclass(frozen=True, slots=True)
class AckAnswered:
    """The acknowledgement has its answer."""

    outcome: AckOutcome
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The machine was paused."""

    pause: Pause


@dataclass(frozen=True, slots=True)
class ClockChecked:
    """A clock check has ended."""

    check: ClockCheck


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The machine has restarted."""


@dataclass(frozen=True, slots=True)
class AgentRestarted:
    """The agent has restarted on a machine that went on."""


@dataclass(frozen=True, slots=True)
class Released:
    """No recovery is pending any more."""


@dataclass(frozen=True, slots=True)
class ManualAcknowledge:
    """An operator asks for the acknowledgement. `alone`: without the other machines that it names."""

    alone: bool = False


@dataclass(frozen=True, slots=True)
class ManualRecover:
    """An operator asks for recovery, or the service is being stopped (`stopping`)."""

    stopping: bool


@dataclass(frozen=True, slots=True)
class FleetNews:
    """What the fleet's store says of it."""

    view: FleetView


CaseInput = (Began | Scheduled | Removed | TimerElapsed | Prepared | AckAnswered | Paused | ClockChecked | Rebooted
             | AgentRestarted
          | Released | ManualAcknowledge | ManualRecover | FleetNews)
COLUMNS: tuple[type[CaseInput], ...] = (
    Began, Scheduled, Removed, TimerElapsed, Prepared, AckAnswered, Paused, ClockChecked, Rebooted, AgentRestarted,
    Released, ManualAcknowledge, ManualRecover, FleetNews)


# --- The table, its cells and its entry actions

PENDING_PAUSE_S = 30.0
"""How long a pause that came before the news of its event is kept: the longest pause the platform's documents speak of
is 30 s, and a document that shows the start follows within a poll or two."""

ACK_RETRY_S = (1.0, 2.0, 5.0, 10.0)
"""After an acknowledgement without a clear answer: the wait before each further one; the last repeats."""

DETECTED_S = 0.25
"""A pause is detected at most so long after its end: the pause watch ticks at least as often ([pause] tick)."""

EARLY_START_S = 60.0
"""How long before NotBefore a pause may be that of an event whose start the platform never tells: a notice of a live
migration is no longer (Google Compute Engine)."""

SHORT_NOTICE_S = 4.0
"""With less time than this to the last start of the preparation no slot is waited for: two requests to the store."""

PASSES_ON_S = 10.0
"""After so long without an answer of the platform another machine sends the acknowledgement of a shared event."""

TAKEN = 200
"""The platform's status code for an acknowledgement that it took."""

ASKED = frozenset({Phase.WAITING_FOR_PEERS, Phase.ACKNOWLEDGING, Phase.UNCONFIRMED, Phase.HELD})
"""The phases of a shared event in which the acknowledgement of another machine is its own."""

DUE_MOVES_S = 1.0
"""NotBefore on our raw clock is corrected only by more than the grain of the answer's Date header."""


# --- cells that decide between phases -------------------------------------------------------------------------

def _begun(case: Case, seen: Began, policy: Policy, now: Moment) -> Phase | None:
    back = case.rebooted or (_keeps(case, now) and policy.recovers_after_pause(case.event.kind))
    return C if back else U


def _gone(case: Case, seen: Removed, policy: Policy, now: Moment) -> Phase | None:
    """Cancelled, unless something says that the machine was away: then the clock comes first."""
    return C if case.rebooted or case.agent_was_down or _keeps(case, now) else R


def _prepared(case: Case, seen: Prepared, policy: Policy, now: Moment) -> Phase | None:
    """Where the platform takes no acknowledgement nothing is sent and nothing held: it starts in its own time."""
    if not case.event.takes_acknowledgement:
        return stay
    if case.acknowledged:
        return K
    if seen.hold is not None or case.ack is not AckState.OPEN:
        return H
    return V if case.fleet is not None and case.fleet.is_shared else A


def _on_ack_answer(case: Case, seen: AckAnswered, policy: Policy, now: Moment) -> Phase | None:
    if seen.outcome is AckOutcome.ACCEPTED:
        return K
    if seen.outcome is AckOutcome.WITHHELD and case.fleet is not None and case.fleet.is_shared:
        return V
    return D if seen.outcome is AckOutcome.LOST else H


def _again(case: Case, seen: Scheduled | TimerElapsed, policy: Policy, now: Moment) -> Phase | None:
    """Only a document asked for after the answer was lost says that the first request did not count. What was agreed
    to then is not agreed to for a VM that was not named then, nor for a status that was not known then. What the
    platform does not answer one machine of a fleet, another one may get through."""
    if passes_on_raw_s(case) <= now.raw_s:
        return V
    if case.wake_raw_s is None or now.raw_s < case.wake_raw_s:
        return stay
    if policy.observes:
        return H
    fleet = case.fleet
    if fleet is not None and fleet.is_shared and not (fleet.is_alone or fleet.view.claim_is_mine):
        return V
    known = {fold_case(name) for name in case.ack_resources}
    is_agreed = case.event.odd_status is None and known.issuperset(fold_case(name) for name in case.event.resources)
    return A if is_agreed else H


def _paused(case: Case, seen: Paused, policy: Policy, now: Moment) -> Phase | None:
    return C if policy.recovers_after_pause(case.event.kind) and ends_an_event(seen.pause) else stay


def _paused_unasked(case: Case, seen: Paused, policy: Policy, now: Moment) -> Phase | None:
    """A platform that takes no acknowledgement may never say that it has started: then a pause says it."""
    return C if seen_to_start(case, seen.pause) and policy.recovers_after_pause(case.event.kind) else stay


def _repaused(case: Case, seen: Paused, policy: Policy, now: Moment) -> Phase | None:
    """The verdict from before it is outdated, and the quiet time starts again. A stall of our own is a pause only of
    what has begun: after an event that was withdrawn, applications that start make stalls of their own."""
    again = stopped_the_machine(seen.pause) or (ends_an_event(seen.pause) and case.has_begun)
    return C if again or seen.pause.cause is Cause.CLOCK_STEP else stay


def _judged(case: Case, seen: ClockChecked, policy: Policy, now: Moment) -> Phase | None:
    if policy.must_wait_for(seen.check):
        return C
    return S if case.listed and case.pauses else R


def _settled(case: Case, seen: TimerElapsed, policy: Policy, now: Moment) -> Phase | None:
    """What fell due in a pause comes at once after it, before the news of the pause. So the quiet time is over only at
    the end of a wait that is long enough for such news, and too short to have had a pause of a second in it."""
    return R if now.raw_s - case.looked_raw_s < STALL_S else S


def _time_to_prepare(case: Case, seen: TimerElapsed, policy: Policy, now: Moment) -> Phase | None:
    return F if waits_for_slot(case, policy, now) else P


def _slot_news(case: Case, seen: FleetNews, policy: Policy, now: Moment) -> Phase | None:
    """It is prepared for with a slot, or entered without one; and what cannot be waited for is not."""
    known = case.fleet
    is_entered = known is None or known.view.slot in (SlotState.GRANTED, SlotState.NOT_GRANTED, SlotState.RELEASED)
    return P if is_entered or (known is not None and known.is_waived) else stay


def _peers_news(case: Case, seen: FleetNews, policy: Policy, now: Moment) -> Phase | None:
    if case.acknowledged:
        return K
    if seen.view.result is not None:
        return H
    is_ours = seen.view.claim_is_mine and case.fleet is not None and seen.view.claim != case.fleet.passes
    return A if is_ours and not seen.view.not_ready_count else stay


def _held_news(case: Case, seen: FleetNews, policy: Policy, now: Moment) -> Phase | None:
    if case.acknowledged:
        return K
    has_slot = case.fleet is not None and case.fleet.awaits_slot and case.fleet.has_slot
    return A if has_slot and case.ack is AckState.OPEN else stay


def _acknowledged_elsewhere(case: Case, seen: FleetNews, policy: Policy, now: Moment) -> Phase | None:
    return K if case.acknowledged else stay


def _by_hand(case: Case, seen: ManualAcknowledge, policy: Policy, now: Moment) -> Phase | None:
    """By hand this machine agrees; the acknowledgement waits for the others, unless the operator asks for it alone."""
    return V if case.fleet is not None and case.fleet.is_shared and not seen.alone else A


def _alone(case: Case, seen: ManualAcknowledge, policy: Policy, now: Moment) -> Phase | None:
    return A if seen.alone else stay


def _released(case: Case, seen: Released, policy: Policy, now: Moment) -> Phase | None:
    return L if case.listed else X


def _resumes(case: Case, seen: AgentRestarted, policy: Policy, now: Moment) -> Phase | None:
    """What was recovered only because the service stopped is prepared again, once a document still shows the event."""
    return P if case.is_prepared_again else stay


def _reboot(case: Case, seen: Rebooted, policy: Policy, now: Moment) -> Phase | None:
    return P if case.is_prepared_again else C


stay = __ = None      # this cell says: nothing changes

# Short names for the grid, and for the grid only:
W, T, F, P, V, A, D, H, K, U, C, S, R, L, X = Phase
TransitionCell = Phase | None | Callable[[Case, Any, Policy, Moment], Phase | None]
GRID: Mapping[Phase, tuple[TransitionCell, ...]] = {        # all columns but the last, which few phases have
    #   Began   Sched   Gone   Woken Prepared   Answered   Paused     Judged   Reboot   Restart   Released   Ack Recover
    W: (__,     __,     X,     __,   __,        __,        __,        __,      __,      __,       __,        __, __),
    T: (U,      __,     X,     _time_to_prepare, __, __,   __,        __,      __,      __,       __,        __, __),
    F: (U,      __,     X,     P,    __,        __,        __,        __,      __,      __,       __,        __, __),
    P: (_begun, __,     _gone, __,   _prepared, __,        _paused_unasked, __, P,      __,       __,        __, R),
    V: (_begun, __,     _gone, __,   __,        K,         __,        __,      P,       __,       __,        _alone, R),
    A: (_begun, __,     _gone, __,   __,        _on_ack_answer, __,   __,      P,       D,        __,        __, R),
    D: (_begun, _again, _gone, _again, __,      K,         __,        __,      P,       __,       __,        __, R),
    H: (_begun, __,     _gone, __,   __,        K,         __,        __,      P,       __,       __,     _by_hand, R),
    K: (_begun, __,     _gone, __,   __,        __,        __,        __,      P,       __,       __,        __, R),
    U: (__,     __,     C,     __,   __,        __,        _paused,   __,      C,       __,       __,        __, R),
    C: (__,     __,     __,    __,   __,        __,        _repaused, _judged, C,       __,       __,        __, R),
    S: (__,     __,     R,     _settled, __,    __,        _repaused, __,      C,       __,       __,        __, R),
    R: (__,     __,     __,    __,   __,        __,        _repaused, __,      _reboot, _resumes, _released, __, __),
    L: (__,     __,     X,     __,   __,        __,        _repaused, __,      _reboot, _resumes, __,        __, __),
    X: (__,) * (len(COLUMNS) - 1),
}
ON_FLEET_NEWS: Mapping[Phase, TransitionCell] = {
    F: _slot_news, V: _peers_news, A: _acknowledged_elsewhere, D: _acknowledged_elsewhere, H: _held_news}
TABLE: Mapping[Phase, tuple[TransitionCell, ...]] = {
    phase: (*row, ON_FLEET_NEWS.get(phase, stay)) for phase, row in GRID.items()}


# --- the way through the table ------------------------------------------------------------------------------

def advance(case: Case, seen: CaseInput, policy: Policy, now: Moment) -> Case:
    """Given a case and what was seen, return the case as it is now (the same object if nothing changed)."""
    knowing = remember(case, seen, policy, now)
    cell = TABLE[case.phase][COLUMNS.index(type(seen))]
    phase = cell(knowing, seen, policy, now) if callable(cell) else cell
    return knowing if phase is stay else enter(knowing, phase, policy, now)


def enter(case: Case, phase: Phase, policy: Policy, now: Moment) -> Case:
    """Given a case, return it in `phase`, with what that phase waits for fixed."""
    case = replace(case, phase=phase, wake_raw_s=None)
    make = ENTRIES.get(phase)
    return make(case, policy, now) if make else case


def listed_again(case: Case, event: Event, policy: Policy, now: Moment) -> Case:
    """Given a case whose event had left the list and is now listed as Started, return the case going on: back to where
    a pause is waited for, or to the check after the one it had. What an operator has recovered stays recovered."""
    had = any(ends_an_event(pause) for pause in case.pauses) if case.began else _keeps(case, now)
    back = case.rebooted or (had and policy.recovers_after_pause(case.event.kind))
    known = replace(case, event=replace(event, not_before=event.not_before or case.event.not_before), listed=True,
                    agent_was_down=False, missed=case.missed and case.began)
    return known if case.is_recovered_early else enter(known, C if back else U, policy, now)


def waits_for_slot(case: Case, policy: Policy, now: Moment) -> bool:
    """Whether its preparation waits for a slot of the group: with short notice, or none, hooks start at once, and the
    slot is asked for beside them."""
    last = last_start_raw_s(case, policy)
    fleet = case.fleet
    if fleet is None or last is None or not (fleet.is_limited and fleet.takes_slot):
        return False
    is_entered = fleet.view.slot in (SlotState.GRANTED, SlotState.NOT_GRANTED, SlotState.RELEASED)
    return not is_entered and last - now.raw_s > SHORT_NOTICE_S


def passes_on_raw_s(case: Case) -> float:
    """When a claim without an answer of the platform is passed on to another machine; inf: never."""
    fleet = case.fleet
    if fleet is None or not fleet.is_shared or fleet.is_alone or not fleet.sent_raw_s:
        return math.inf
    return fleet.sent_raw_s + PASSES_ON_S


def quiet_raw_s(case: Case, policy: Policy) -> float:
    """When the newest pause counts as over."""
    return max(pause.resumed_raw_s for pause in case.pauses) + policy.settle_s


def _keeps(case: Case, now: Moment) -> bool:
    return case.pending_pause is not None and now.raw_s - case.pending_pause.resumed_raw_s <= PENDING_PAUSE_S


def _wait(case: Case, policy: Policy, now: Moment) -> Case:
    start = start_raw_s(case, policy)
    return replace(case, wake_raw_s=now.raw_s if start is None else start)


def _prepare(case: Case, policy: Policy, now: Moment) -> Case:
    return replace(case, recovered_by=RecoveredBy.EVENT, observed_only=policy.observes)


def _wait_for_slot(case: Case, policy: Policy, now: Moment) -> Case:
    last = last_start_raw_s(case, policy)
    return replace(case, wake_raw_s=now.raw_s if last is None else last)


def _wait_for_peers(case: Case, policy: Policy, now: Moment) -> Case:
    """A claim that had its time, and no answer of the platform, is passed on."""
    is_passed = passes_on_raw_s(case) <= now.raw_s
    return replace(case, fleet=case.fleet and replace(
        case.fleet, hold="", passes=case.fleet.sent if is_passed else case.fleet.passes))


def _acknowledge(case: Case, policy: Policy, now: Moment) -> Case:
    fleet = case.fleet
    is_new = fleet is not None and (fleet.view.claim != fleet.sent or not fleet.sent_raw_s)
    if fleet is not None and fleet.is_guarded and fleet.is_shared and is_new:
        fleet = replace(fleet, sent=fleet.view.claim, sent_raw_s=now.raw_s)
    return replace(case, ack_attempts=case.ack_attempts + 1, ack_resources=case.event.resources, fleet=fleet)


def _ack_unconfirmed(case: Case, policy: Policy, now: Moment) -> Case:
    wait_s = ACK_RETRY_S[min(max(case.ack_attempts, 1), len(ACK_RETRY_S)) - 1]
    return replace(case, lost_raw_s=now.raw_s, again_raw_s=now.raw_s + (0.0 if case.agent_was_down else wait_s))


def _check(case: Case, policy: Policy, now: Moment) -> Case:
    since = max((pause.resumed_raw_s for pause in case.pauses if pause.cause is not Cause.RESTART), default=now.raw_s)
    return replace(case, check_round=case.check_round + 1, since_raw_s=now.raw_s if case.rebooted else since)


def _settle(case: Case, policy: Policy, now: Moment) -> Case:
    """The end of the quiet time is waited for in two steps, the last one short (see `_settled`)."""
    quiet = quiet_raw_s(case, policy)
    if now.raw_s < quiet - DETECTED_S:
        return replace(case, wake_raw_s=quiet - DETECTED_S, looked_raw_s=0.0)
    return replace(case, wake_raw_s=max(quiet, now.raw_s + DETECTED_S), looked_raw_s=now.raw_s)


ENTRIES: Mapping[Phase, Callable[[Case, Policy, Moment], Case]] = MappingProxyType({
    Phase.SCHEDULED: _wait, Phase.WAITING_FOR_SLOT: _wait_for_slot, Phase.PREPARING: _prepare,
    Phase.WAITING_FOR_PEERS: _wait_for_peers, Phase.ACKNOWLEDGING: _acknowledge,
    Phase.UNCONFIRMED: _ack_unconfirmed,
    Phase.CHECKING_CLOCK: _check, Phase.SETTLING: _settle,
})


ANSWERED: Mapping[AckOutcome, AckState] = MappingProxyType({
    AckOutcome.ACCEPTED: AckState.ACCEPTED, AckOutcome.REFUSED: AckState.REFUSED,
})


# --- what a case takes in, whatever its phase ----------------------------------------------------------------

def remember(case: Case, seen: CaseInput, policy: Policy, now: Moment) -> Case:
    """Given what was seen, return the case knowing it; its phase is not decided here."""
    match seen:
        case Began(event):
            return replace(case, event=event, agent_was_down=False)
        case Scheduled(event):
            rebooted = case.rebooted and not _awaits_platform(case)
            is_news = case.agent_was_down or rebooted != case.rebooted or event != case.event
            known = replace(case, event=event, agent_was_down=False, rebooted=rebooted) if is_news else case
            if known.phase in (Phase.SCHEDULED, Phase.WAITING_FOR_SLOT):
                return ENTRIES[known.phase](known, policy, now)
            did_not_count = known.phase is Phase.UNCONFIRMED and seen.asked_raw_s >= known.lost_raw_s
            return replace(known, wake_raw_s=known.again_raw_s) if did_not_count else known
        case Removed():
            unseen = case.agent_was_down and _awaits_platform(case) and _may_have_begun(case, now)
            return replace(case, listed=False, missed=case.missed or unseen)
        case Prepared(hold, observed_only, awaits_slot):
            fleet = case.fleet and replace(case.fleet, hold=hold or "", awaits_slot=awaits_slot)
            return replace(case, observed_only=case.observed_only or observed_only, fleet=fleet)
        case AckAnswered(AckOutcome.WITHHELD):
            return replace(case, fleet=case.fleet and replace(case.fleet, awaits_slot=not case.fleet.is_shared,
                                                              sent_raw_s=0.0))
        case AckAnswered(outcome):
            return replace(case, ack=ANSWERED.get(outcome, case.ack))
        case FleetNews(view) if case.fleet is not None:
            return _with_view(case, case.fleet, view)
        case ManualAcknowledge(alone) if case.phase in (Phase.HELD, Phase.WAITING_FOR_PEERS):
            return replace(case, fleet=case.fleet and replace(case.fleet, is_alone=alone or not case.fleet.is_shared))
        case Paused(pause) if pause.cause is not Cause.CLOCK_STEP:
            kept = pause if _awaits_platform(case) and ends_an_event(pause) else case.pending_pause
            named = case.hooks_named and not stopped_the_machine(pause)
            return replace(_unless_ack_unconfirmed(case, pause.resumed_raw_s) if kept is pause else case,
                           event=replace(case.event, started=case.began or seen_to_start(case, pause)),
                           pauses=_with_pause(case.pauses, pause), pending_pause=kept, hooks_named=named)
        case ClockChecked(check):
            return replace(case, clock=check)
        case Rebooted():
            return replace(case, rebooted=True, agent_was_down=True, due_raw_s=None, wake_raw_s=None,
                           pending_pause=None,
                           lost_raw_s=0.0, again_raw_s=0.0, since_raw_s=0.0, looked_raw_s=0.0,
                           fleet=case.fleet and replace(case.fleet, sent=0, sent_raw_s=0.0, passes=0, hold="",
                                                        awaits_slot=False, is_alone=False),
                           pauses=tuple(replace(pause, resumed_raw_s=0.0) for pause in case.pauses))
        case AgentRestarted():
            return replace(_unless_ack_unconfirmed(case, now.raw_s), agent_was_down=True)
        case ManualRecover(stopping):
            by_stop = stopping or case.recovered_by is RecoveredBy.SERVICE_STOP
            return replace(case, recovered_by=RecoveredBy.SERVICE_STOP if by_stop else RecoveredBy.OPERATOR)
        case _:
            return case


def _with_view(case: Case, fleet: FleetState, view: FleetView) -> Case:
    """An acknowledgement that the platform took from another machine counts for this one. A claim that is no longer
    this machine's has been passed on; one that waits, for the platform has named another machine since, is."""
    if not view.is_reached:
        return replace(case, fleet=replace(fleet, view=replace(fleet.view, is_reached=False,
                                                                is_too_late=view.is_too_late)))
    waits = case.phase is Phase.WAITING_FOR_PEERS and view.not_ready_count > 0
    kept = view.claim if view.claim_is_mine and (waits or view.claim == fleet.passes) else 0
    taken = view.result == TAKEN and not view.claim_is_mine and case.phase in ASKED
    return replace(case, fleet=replace(fleet, view=view, passes=kept),
                   ack=AckState.ACCEPTED if taken else case.ack)


def seen_to_start(case: Case, pause: Pause) -> bool:
    """Whether this pause shows that an event has begun of which the platform takes no acknowledgement, and never says
    that it has."""
    waits = case.phase is Phase.PREPARING and not case.event.takes_acknowledgement
    near = case.due_raw_s is None or case.due_raw_s - pause.resumed_raw_s <= EARLY_START_S
    return waits and near and case.event.kind is Kind.FREEZE and stopped_the_machine(pause)


def _with_pause(pauses: tuple[Pause, ...], pause: Pause) -> tuple[Pause, ...]:
    """The newest stays, and of the others the longest: an event may be listed for weeks on a machine that stalls."""
    if len(pauses) >= PAUSES_AT_MOST:
        shortest = min(pauses, key=lambda known: math.inf if known.length_s is None else known.length_s)
        pauses = tuple(known for known in pauses if known is not shortest)
    return (*pauses, pause)


def _may_have_begun(case: Case, now: Moment) -> bool:
    """Whether an event removed while the agent was down may have started as well: not before its time, unless it was
    acknowledged
    (perhaps: an answer may have been lost), or the machine was away."""
    early = case.due_raw_s is not None and now.raw_s < case.due_raw_s
    may_be_acknowledged = case.acknowledged or case.ack_attempts > 0
    return may_be_acknowledged or not early or case.has_begun


def _unless_ack_unconfirmed(case: Case, since_raw_s: float) -> Case:
    """A doubt is decided only by a document asked for since then: the machine or the agent was away before."""
    if case.phase is not Phase.UNCONFIRMED:
        return case
    return replace(case, wake_raw_s=None, lost_raw_s=max(case.lost_raw_s, since_raw_s))


def _awaits_platform(case: Case) -> bool:
    return case.phase in AWAITING_PLATFORM
