"""The rules of slots, takeovers (after which silence, by kind), claims and shared events: a document as
read to the document to be written. Pure.

Each function returns the document it was given where there is nothing to write. What keeps these rules true for
several agents is that a write is conditional: it counts only if the document is still the one that was read.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tideover.effects import Coordinate, SlotWish
from tideover.fleet_documents import (
    TEXT_LENGTH,
    Claim,
    EventDocument,
    EventMember,
    Holder,
    SlotMember,
    SlotsDocument,
    event_digest,
)
from tideover.model import NOT_READY, READY, Kind, fold_case
from tideover.observations import SlotState

NO_AGENT = "no agent of the fleet has written for it"
TWO_OF_A_NAME = "two machines of this name write to the store"
REPLACED = "another machine of this name had written before"


@dataclass(frozen=True, slots=True)
class FleetMember:
    """This machine, as it writes itself into the documents. `slots`: of its group; 0: no limit."""

    name: str
    vm_id: str
    boot_id: str
    group: str = "default"
    slots: int = 0

    @property
    def folded(self) -> str:
        return fold_case(self.name)


# --- Silence: only what successful reads have shown

LONGEST_COUNTED = 1.5
"""Of the interval between two reads: what lies beyond was not looked at, and does not count."""


@dataclass(frozen=True, slots=True)
class Silence:
    """For how many seconds reads have shown an entry unchanged. `seen`: what it was; None: nothing was read."""

    seen: object = None
    observed_s: float = 0.0
    read_raw_s: float = 0.0

    def after(self, seen: object, began_raw_s: float, ended_raw_s: float, interval_s: float) -> Silence:
        """Given what a successful read shows, when it began and ended, and the usual interval between two of them,
        return what is known now. What a read takes is not counted."""
        if self.seen is None or seen != self.seen:
            return Silence(seen, 0.0, ended_raw_s)
        gone_s = max(0.0, began_raw_s - self.read_raw_s)
        return Silence(seen, self.observed_s + min(gone_s, LONGEST_COUNTED * interval_s), ended_raw_s)


SHORT_NOTICE_TAKEOVER_S = 120.0
"""Of a holder whose event ends its machine within minutes (contract)."""

ENDING_KINDS = frozenset({Kind.PREEMPT.value, Kind.TERMINATE.value})


def takeover_s_of(holder: Holder, takeover_s: float | None) -> float | None:
    """Given an entry and [fleet] takeover (None: never), return after how much silence of all its members it is
    replaced."""
    if takeover_s is None or holder.kind not in ENDING_KINDS:
        return takeover_s
    return min(takeover_s, SHORT_NOTICE_TAKEOVER_S)


# --- Slots

def used(holders: Iterable[Holder]) -> int:
    """Given the entries of a group, return how many slots they take: as many as could ever be away in different
    machines. An entry whose machines are all away with another one takes none; but if two parts of an event have
    entries of their own, each will take a slot when that event is over, so both are counted from the beginning.

    That is the largest number of sets of machines of which none is part of another one (by Dilworth: all of them, less
    the pairs of a largest matching), so it never grows when an entry goes.
    """
    groups = {frozenset(holder.machines) for holder in holders if holder.counts}
    larger = [group for group in groups if len(group) > 1]
    above = {group: [other for other in larger if group < other] for group in groups} if larger else {}
    matched: dict[frozenset[str], frozenset[str]] = {}

    def match(group: frozenset[str], tried: set[frozenset[str]]) -> bool:
        for other in above[group]:
            if other not in tried:
                tried.add(other)
                if other not in matched or match(matched[other], tried):
                    matched[other] = group
                    return True
        return False

    return len(groups) - sum(match(group, set()) for group in above)


def take_slot(slots: SlotsDocument, me: FleetMember, wish: Coordinate,
              taken_from: tuple[str, ...] = ()) -> tuple[SlotsDocument, SlotState]:
    """Given the slots of the group and what this machine wants, return them with its entry, and what it has then.
    `taken_from`: the silent machines whose entry has just made room."""
    digest = event_digest(wish.source, wish.event_id)
    holder = slots.holder(digest)
    own = holder.members.get(me.folded) if holder is not None else None
    if wish.slot is SlotWish.LEAVE:
        return give_back(slots, me, digest), SlotState.NONE
    if wish.slot is SlotWish.NONE:
        return slots, SlotState.NONE
    if wish.slot is SlotWish.RELEASED or (own is not None and own.vm_id == me.vm_id and own.released):
        return slots, SlotState.RELEASED
    if holder is not None and own is not None and own.vm_id != me.vm_id and len(holder.members) == 1:
        slots, holder = _without(slots, holder), None       # of a machine of this name that is no more
    if holder is not None:
        machines = _named_by(holder.machines, me, wish)
        joined = holder
        if own is None or (own.vm_id, own.boot_id) != (me.vm_id, me.boot_id) or machines != holder.machines:
            entered = SlotMember(me.vm_id, me.boot_id, extra=own.extra if own is not None else MappingProxyType({}))
            joined = replace(holder, machines=machines,
                             members=MappingProxyType({**holder.members, me.folded: entered}))
    else:
        joined = Holder(digest, True, wish.kind.value, wish.not_before, _named_by((), me, wish),
                        MappingProxyType({me.folded: SlotMember(me.vm_id, me.boot_id)}), taken_from)
    entered_slots = _with(slots, joined) if holder is not None else replace(slots, holders=(*slots.holders, joined))
    if holder is not None and (holder.counts or not holder.granted):
        if holder.waits and wish.slot is not SlotWish.AWAY and _is_free(entered_slots, digest, me):
            joined = replace(joined, granted=True, waits=False)
        return _with(entered_slots, joined), SlotState.GRANTED if joined.granted else SlotState.NOT_GRANTED
    may_have = not wish.had_slot and wish.slot is not SlotWish.AWAY
    if may_have and _is_free(entered_slots, digest, me):
        return entered_slots, SlotState.GRANTED
    if may_have and wish.slot is SlotWish.TAKE:
        return slots, SlotState.WAITING
    without = replace(joined, granted=False, waits=may_have and not wish.has_waited)
    return _with(entered_slots, without), SlotState.NOT_GRANTED


def _is_free(slots: SlotsDocument, digest: str, me: FleetMember) -> bool:
    """Whether an event that is entered may have a slot: fewer others than the group has, granted or not, or all of its
    machines away with another one."""
    needed = used(slots.holders)
    return needed <= me.slots or needed == used(one for one in slots.holders if one.event != digest)


def _named_by(known: Iterable[str], me: FleetMember, wish: Coordinate) -> tuple[str, ...]:
    return tuple(sorted({*known, me.folded, *(fold_case(name) for name in wish.resources)}))


def give_back(slots: SlotsDocument, me: FleetMember, digest: str) -> SlotsDocument:
    """Given the slots, return them without this machine's part in an event; the last one takes the entry along."""
    holder = slots.holder(digest)
    if holder is None or me.folded not in holder.members or holder.members[me.folded].vm_id != me.vm_id:
        return slots
    left = {name: one for name, one in holder.members.items() if name != me.folded}
    return _with(slots, replace(holder, members=MappingProxyType(left))) if left else _without(slots, holder)


def give_back_past(slots: SlotsDocument, me: FleetMember, coordinated: frozenset[str]) -> SlotsDocument:
    """Given the slots and the events that this machine coordinates, return them without its part in any other event: a
    store that was restored from a backup shows what was given back long ago, and this machine alone knows that. What an
    operator has released takes no slot, and stays for the machine to see."""
    for holder in slots.holders:
        own = holder.members.get(me.folded)
        if own is not None and not own.released and holder.event not in coordinated:
            slots = give_back(slots, me, holder.event)
    return slots


def take_over(slots: SlotsDocument, digest: str) -> SlotsDocument:
    """Given the slots and an event all of whose members are silent, return them without its entry."""
    holder = slots.holder(digest)
    return slots if holder is None else _without(slots, holder)


def release_slots(slots: SlotsDocument, name: str) -> SlotsDocument:
    """Given the slots and a machine's name, return them with all its entries released: they count no more, and that
    machine acknowledges nothing with them."""
    folded = fold_case(name)
    for holder in slots.holders:
        own = holder.members.get(folded)
        if own is not None and not own.released:
            members = MappingProxyType({**holder.members, folded: replace(own, released=True)})
            slots = _with(slots, replace(holder, members=members))
    return slots


def _with(slots: SlotsDocument, holder: Holder) -> SlotsDocument:
    holders = tuple(holder if one.event == holder.event else one for one in slots.holders)
    return slots if holders == slots.holders else replace(slots, holders=holders)


def _without(slots: SlotsDocument, holder: Holder) -> SlotsDocument:
    return replace(slots, holders=tuple(one for one in slots.holders if one.event != holder.event))


# --- A shared event

def open_event(wish: Coordinate) -> EventDocument:
    """Given an event that names several machines, return its document before any machine has written into it."""
    return EventDocument(wish.event_id, wish.source, wish.kind.value, wish.resources, wish.not_before)


def leave_event(event: EventDocument, me: FleetMember) -> EventDocument | None:
    """Given a shared event's document, return it without this machine's entry; None: it is to be deleted, for no
    machine stands in it any more."""
    own = event.members.get(me.folded)
    if own is None or own.vm_id != me.vm_id:
        return event if event.members else None
    left = {name: one for name, one in event.members.items() if name != me.folded}
    return replace(event, members=MappingProxyType(left)) if left else None


def write_event(event: EventDocument, me: FleetMember, wish: Coordinate, slot: SlotState, *,
                claimant_is_silent: bool = False, rival_is_silent: bool = False) -> EventDocument | None:
    """Given a shared event's document, what this machine wants and what it has of its group's slots, return the
    document as it is to be written; None: it is to be deleted, for every machine has seen the event removed.

    Readiness and claim stand in one document, so that no acknowledgement is sent of which a machine has just taken its
    consent back.
    """
    if wish.leaves:
        return leave_event(event, me)
    event = with_names(event, wish)
    event = _settled(event, me, wish)
    event = _entered(event, me, wish, slot, rival_is_silent=rival_is_silent)
    return _claimed(event, me, wish, claimant_is_silent=claimant_is_silent)


def with_names(event: EventDocument, wish: Coordinate) -> EventDocument:
    """Given a shared event's document and what this machine sees of the event, return it with every machine named. The
    platform may name another one later, and machines see that at different moments: no name goes."""
    known = {fold_case(name) for name in event.resources}
    added = tuple(name for name in wish.resources if fold_case(name) not in known)
    return replace(event, resources=event.resources + added) if added else event


def not_ready(event: EventDocument) -> tuple[tuple[str, str], ...]:
    """Given a shared event's document, return the machines that keep its acknowledgement from being sent, each with the
    reason."""
    waiting = []
    for name in event.resources:
        own = event.members.get(fold_case(name))
        if own is None:
            waiting.append((name, NO_AGENT))
        elif own.disputed:
            waiting.append((name, TWO_OF_A_NAME))
        elif own.state != READY:
            waiting.append((name, own.why or own.state))
        elif own.slot is False:
            waiting.append((name, "its group has granted it no slot"))
    return tuple(waiting)


def is_mine(claim: Claim | None, me: FleetMember) -> bool:
    return claim is not None and claim.by == me.folded and claim.vm_id == me.vm_id


def is_too_late(event: EventDocument, me: FleetMember, wish: Coordinate) -> bool:
    """Whether this machine wants its consent back, and an acknowledgement may be on its way."""
    own = event.members.get(me.folded)
    is_given = own is not None and own.vm_id == me.vm_id and own.state == READY
    return is_given and wish.says == NOT_READY and event.acknowledgement is not None and event.acknowledgement.is_open


def _settled(event: EventDocument, me: FleetMember, wish: Coordinate) -> EventDocument:
    """An answer of the platform is written down; a claim of this machine of which nothing can be on its way is passed
    on, where it can no longer use it."""
    claim = event.acknowledgement
    if claim is None or not is_mine(claim, me) or claim.result is not None:
        return event
    if wish.result is not None:
        return replace(event, acknowledgement=replace(claim, result=wish.result))
    is_unused = claim.n > wish.sent and wish.says not in (READY, None)
    if is_unused or claim.n == wish.passes:
        return replace(event, acknowledgement=replace(claim, by=None, vm_id="", last=me.folded))
    return event


def _entered(event: EventDocument, me: FleetMember, wish: Coordinate, slot: SlotState, *,
          rival_is_silent: bool) -> EventDocument:
    """Of two machines of one name the later one replaces the entry of the earlier one, and waits: if that one still
    writes, it disputes the entry, and the event is not acknowledged."""
    own = event.members.get(me.folded)
    if wish.says is None or is_too_late(event, me, wish) or (own is not None and own.disputed):
        return event
    if own is not None and own.vm_id != me.vm_id and own.rival == me.vm_id:
        return _with_entry(event, me, replace(own, disputed=True))
    claim = event.acknowledgement
    if own is not None and own.vm_id != me.vm_id and own.state == READY and claim is not None and claim.is_open and \
            not rival_is_silent:
        return event                    # its owner could not withdraw it any longer, and no warning would be logged
    rival = "" if own is None else own.vm_id if own.vm_id != me.vm_id else own.rival
    waits = bool(rival) and not rival_is_silent and wish.says == READY
    has_slot = None if slot is SlotState.NONE else slot is SlotState.GRANTED
    entry = EventMember(NOT_READY if waits else wish.says, has_slot if wish.says == READY else None,
                       REPLACED if waits else wish.why[:TEXT_LENGTH], me.vm_id, me.boot_id, rival,
                       extra=own.extra if own is not None else MappingProxyType({}))
    return event if entry == own else _with_entry(event, me, entry)


def _with_entry(event: EventDocument, me: FleetMember, entry: EventMember) -> EventDocument:
    return replace(event, members=MappingProxyType({**event.members, me.folded: entry}))


def _claimed(event: EventDocument, me: FleetMember, wish: Coordinate, *, claimant_is_silent: bool) -> EventDocument:
    """The machine that completes the consent claims the acknowledgement in the same write."""
    claim = event.acknowledgement
    if not wish.may_claim or wish.says != READY or not_ready(event):
        return event
    is_free = claim is None or (claim.by is None and (claim.last != me.folded or claimant_is_silent))
    is_abandoned = claim is not None and claim.is_open and not is_mine(claim, me) and claimant_is_silent
    if not (is_free or is_abandoned):
        return event
    known: Mapping[str, object] = claim.extra if claim is not None else MappingProxyType({})
    return replace(event, acknowledgement=Claim(me.folded, claim.n + 1 if claim is not None else 1, me.vm_id,
                                                extra=known))

