"""What one event wants of the fleet (slot, readiness, claim), and what the store's news put into its record. Pure."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from tideover.effects import Coordinate, SlotWish
from tideover.lifecycle.state import CLAIMING, AckState, Case, FleetState, Phase
from tideover.model import NOT_READY, OVER, READY, EntryKind, fold_case, utc_text
from tideover.observations import FleetView, SlotState
from tideover.policy import Policy, names_me

NOTHING_TO_PREPARE = "nothing to prepare"
NO_SLOT, NO_STORE = "its group has granted it no slot", "the fleet's store cannot be used"
ENTERED = frozenset({SlotState.GRANTED, SlotState.NOT_GRANTED})
ACCEPTED_STATUS = 200
WRITTEN_STATUS: Mapping[AckState, int] = MappingProxyType({AckState.ACCEPTED: ACCEPTED_STATUS, AckState.REFUSED: 400})
"""What an answer of the platform is written down as: the documents have its status code."""

WORDS: dict[Phase, str] = {
    Phase.SCHEDULED: "its preparation starts later", Phase.WAITING_FOR_SLOT: "it waits for a slot of its group",
    Phase.PREPARING: "it prepares", Phase.RECOVERING: "it recovers", Phase.RECOVERED: "it was recovered by hand",
}
"""Why a machine is not ready, by the phase of the event on it."""


def with_fleet(case: Case, policy: Policy, me: str) -> Case:
    """Given a case, the policy and this VM's name, return it with what the fleet has to do with it. An event into whose
    document this machine has written stays shared, whatever it names later."""
    rules = policy.fleet
    if rules is None or not case.announced or not names_me(case.event, me):
        return replace(case, fleet=None) if case.fleet is not None else case
    known = case.fleet or FleetState()
    prepares = policy.acts_on(case.event.kind) and not policy.observes and bool(policy.hooks_for(case.event))
    was_prepared = known.takes_slot and (case.phase in CLAIMING or case.phase is Phase.RECOVERING)
    has_written = rules.is_together and known.view.says != ""
    is_shared, takes_slot = policy.waits_for_peers(case.event, me) or has_written, prepares or was_prepared
    if case.fleet is known and (known.is_shared, known.is_limited, known.takes_slot, known.waives_slot) == (
            is_shared, rules.slots > 0, takes_slot, rules.waives_slot):
        return case
    return replace(case, fleet=replace(known, is_shared=is_shared, is_limited=rules.slots > 0, takes_slot=takes_slot,
                                       waives_slot=rules.waives_slot))


def coordination(case: Case, fleet: FleetState) -> Coordinate | None:
    """Given a case and its part in a fleet, return what it wants of the fleet's store; None: nothing."""
    slot, (says, why) = _slot_of(case, fleet), _readiness_of(case, fleet)
    if slot is SlotWish.NONE and not fleet.is_shared:
        return None
    return Coordinate(
        case.id, case.event.source, case.event.kind, case.event.resources, utc_text(case.event.not_before) or "",
        case.phase.value, slot, fleet.view.slot in ENTERED,
        fleet.view.slot is SlotState.WAITING, fleet.is_shared, says, why,
        may_claim=case.phase is Phase.WAITING_FOR_PEERS and not fleet.passes, sent=fleet.sent, passes=fleet.passes,
        result=_result_of(case), due_raw_s=None if case.began else case.due_raw_s)


def leaving(case: Case, policy: Policy) -> Coordinate | None:
    """Given a case of this machine's that is over, return what gives back all that the store has of it; None: nothing
    can be there. Of an event that had come to name other machines alone, everything may be."""
    fleet, rules = case.fleet, policy.fleet
    if fleet is None and rules is not None and case.announced:
        fleet = FleetState(is_shared=rules.is_together, is_limited=rules.slots > 0)
    if fleet is None or not fleet.uses_store:
        return None
    return Coordinate(
        case.id, case.event.source, case.event.kind, case.event.resources, "", Phase.CLOSED.value,
        SlotWish.LEAVE if fleet.is_limited else SlotWish.NONE, is_shared=fleet.is_shared, leaves=True)


def why_no_slot(fleet: FleetState) -> str:
    """Given the part in a fleet of an event that has no slot, return why."""
    return NO_SLOT if fleet.view.is_reached else NO_STORE


def _slot_of(case: Case, fleet: FleetState) -> SlotWish:
    """An event that is prepared for, or for which this machine is away, is entered, granted or not."""
    if not fleet.is_limited:
        return SlotWish.NONE
    match case.phase:
        case Phase.WAITING_FOR_SLOT:
            wish = SlotWish.TAKE
        case (Phase.PREPARING | Phase.WAITING_FOR_PEERS | Phase.ACKNOWLEDGING | Phase.UNCONFIRMED | Phase.HELD
              | Phase.ACKNOWLEDGED) if fleet.takes_slot:
            wish = SlotWish.ENTER
        case Phase.STARTED | Phase.CHECKING_CLOCK | Phase.SETTLING | Phase.RECOVERING:
            wish = SlotWish.AWAY
        case Phase.OBSERVED if case.began:
            wish = SlotWish.AWAY
        case Phase.RECOVERED:
            wish = SlotWish.LEAVE
        case _:
            wish = SlotWish.NONE
    if fleet.view.slot is not SlotState.RELEASED or wish is SlotWish.LEAVE:
        return wish
    return SlotWish.RELEASED if fleet.is_shared else SlotWish.NONE


def _readiness_of(case: Case, fleet: FleetState) -> tuple[str | None, str]:
    """What this machine says of itself, and why; None: what is written stays."""
    if not fleet.is_shared:
        return None, ""
    match case.phase:
        case Phase.OBSERVED:
            return READY, NOTHING_TO_PREPARE
        case Phase.WAITING_FOR_PEERS | Phase.ACKNOWLEDGING | Phase.UNCONFIRMED | Phase.ACKNOWLEDGED:
            return READY, "" if fleet.takes_slot else NOTHING_TO_PREPARE
        case Phase.HELD if fleet.hold:
            return NOT_READY, fleet.hold
        case Phase.RECOVERED if case.began:     # a pause before that may be another event's
            return OVER, ""
        case Phase.SCHEDULED | Phase.WAITING_FOR_SLOT | Phase.PREPARING | Phase.RECOVERED:
            return NOT_READY, WORDS[case.phase]
        case (Phase.RECOVERING | Phase.CHECKING_CLOCK | Phase.SETTLING) if not case.began:
            return NOT_READY, WORDS[Phase.RECOVERING]       # a pause since may be another event's
        case _:
            return None, ""


def _result_of(case: Case) -> int | None:
    return WRITTEN_STATUS.get(case.ack)


def view_of(case: Case, view: FleetView) -> FleetView:
    """Given a case and what was seen of the store, return it with what follows for this machine's consent: a store out
    of reach goes on to say that it is ready."""
    if view.is_reached or case.fleet is None:
        return view
    says, _ = _readiness_of(case, case.fleet)
    return replace(view, is_too_late=case.fleet.view.says == READY and says == NOT_READY)


def news_of(case: Case, view: FleetView) -> Iterator[tuple[EntryKind, str]]:
    """Given a case and what the store says of it now, yield what its record has to say of the difference."""
    before = case.fleet.view if case.fleet is not None else FleetView()
    if not view.is_reached:
        if view.is_too_late and not before.is_too_late:
            yield EntryKind.TOO_LATE, f"{NO_STORE}, and still says that this machine is ready"
        return
    if view.taken_from and view.taken_from != before.taken_from:
        yield EntryKind.SLOT_TAKEN_OVER, f"its members were silent: {view.taken_from}"
    if view.slot is not before.slot:
        yield from _slot_news(before.slot, view.slot)
    if view.says != before.says and view.says == READY:
        yield EntryKind.FLEET_READY, ""
    if view.claim_is_mine and (view.claim, before.claim_is_mine) != (before.claim, True):
        yield EntryKind.CLAIMED, f"claim {view.claim}, after {before.claimed_by}" if view.claim > 1 and \
            before.claimed_by else f"claim {view.claim}"
    if view.is_too_late and not before.is_too_late:
        yield EntryKind.TOO_LATE, "the acknowledgement of the other machines may be on its way"
    if view.result is not None and before.result is None and not view.claim_is_mine:
        kind = EntryKind.ACK_BY_PEER if view.result == ACCEPTED_STATUS else EntryKind.ACK_REFUSED
        name = next((name for name in case.event.resources if fold_case(name) == view.claimed_by), view.claimed_by)
        yield kind, name if kind is EntryKind.ACK_BY_PEER else f"{name}: status {view.result}"


SLOT_ENTRIES = {
    SlotState.GRANTED: EntryKind.SLOT_TAKEN, SlotState.WAITING: EntryKind.SLOT_WAITING,
    SlotState.NOT_GRANTED: EntryKind.SLOT_NOT_GRANTED, SlotState.RELEASED: EntryKind.SLOT_RELEASED,
}


LOST = "the store no longer shows the grant: another machine took it over, or the store was emptied or restored"


def _slot_news(before: SlotState, now: SlotState) -> Iterator[tuple[EntryKind, str]]:
    if now in SLOT_ENTRIES:
        lost = before is SlotState.GRANTED and now is SlotState.NOT_GRANTED
        yield SLOT_ENTRIES[now], LOST if lost else ""
    elif before in ENTERED or before is SlotState.RELEASED:
        yield EntryKind.SLOT_GIVEN_BACK, ""
