"""The view of the whole fleet from the store's documents, and what of it needs a look. Pure.

Nothing here says that a machine lives: silence is what an agent has observed, and one reading observes nothing.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tideover.documents import (
    SCHEMA,
    FleetEventDocument,
    FleetGroupDocument,
    FleetHolderDocument,
    FleetMachineDocument,
    FleetMemberDocument,
    FleetSharedEventDocument,
    FleetStatusDocument,
)
from tideover.fleet_documents import (
    EventDocument,
    EventMember,
    Holder,
    MemberDocument,
    SlotsDocument,
    UnusableDocument,
    decode_event,
    decode_member,
    decode_slots,
    events_prefix,
    groups_prefix,
    members_prefix,
    slots_key,
)
from tideover.lifecycle import Phase
from tideover.lifecycle.fleet_rules import used
from tideover.model import NOT_READY, fold_case

# --- What was read


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One member's entry. `age_s`: since it was written, by the store's clock; None: the store does not say."""

    key: str
    document: MemberDocument
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class FleetReading:
    """The documents of a store as one reading found them. `slots`: by the group's name in its key; `events`: by digest;
    `unusable`: a sentence for each key that holds no document this version can read; `is_stale`: see the document."""

    members: tuple[MemberEntry, ...] = ()
    slots: Mapping[str, SlotsDocument] = field(default_factory=dict)
    events: Mapping[str, EventDocument] = field(default_factory=dict)
    unusable: tuple[str, ...] = ()
    is_stale: bool = False


def read_documents(stored: Iterable[tuple[str, bytes, float | None]], *, is_stale: bool = False) -> FleetReading:
    """Given what a store holds (key, value, age in seconds), return it as documents."""
    members: list[MemberEntry] = []
    slots: dict[str, SlotsDocument] = {}
    events: dict[str, EventDocument] = {}
    unusable: list[str] = []
    for key, value, age_s in stored:
        try:
            if key.startswith(members_prefix()):
                members.append(MemberEntry(key, decode_member(key, value), age_s))
            elif key.startswith(groups_prefix()):
                slots[key.removeprefix(groups_prefix()).removesuffix("/slots")] = decode_slots(key, value)
            elif key.startswith(events_prefix()):
                events[key.removeprefix(events_prefix())] = decode_event(key, value)
        except UnusableDocument as trouble:
            unusable.append(str(trouble))
    return FleetReading(tuple(members), slots, events, tuple(unusable), is_stale)


# --- The document

def fleet_status(store: str, reading: FleetReading, known_ids: Mapping[str, str],
                 agents_trouble: str = "") -> FleetStatusDocument:
    """Given the store's address, what was read of it, the ids of the events whose digests are known here, and why this
    machine's agent cannot use the store ("": it can), return the view of the fleet. What is stale is shown, and the
    store counts as not reachable."""
    ids = {**known_ids, **{digest: event.event_id for digest, event in reading.events.items()}}
    groups = [_group(name, reading, ids) for name in _group_names(reading)]
    stale = [NO_QUORUM] if reading.is_stale else []
    worst = list(stale)
    if agents_trouble and not stale and agents_trouble not in reading.unusable:
        worst.append(f"this machine's agent cannot use the store: {agents_trouble}")
    return {"schema": SCHEMA, "store": store, "reachable": not stale, "why": stale[0] if stale else None,
            "stale": reading.is_stale, "problems": [*worst, *_problems(reading, groups)], "groups": groups,
            "events": [_shared_event(event, reading) for _, event in sorted(reading.events.items())]}


NO_QUORUM = ("the store answers without a quorum: no agent can write to it, and what one of its servers knows may be "
             "old")


def unreachable(store: str, why: str, since: str | None) -> FleetStatusDocument:
    """Given the store's address, why nothing could be read of it and, where this machine's agent knows, since when it
    cannot be reached, return the view of the fleet."""
    what = f"the store cannot be reached{f' since {since}, by this machine' if since else ''}: {why}"
    return {"schema": SCHEMA, "store": store, "reachable": False, "why": why, "stale": False, "problems": [what],
            "groups": [], "events": []}


def _group_names(reading: FleetReading) -> list[str]:
    """As members write them; of a group without a member, as its key has it."""
    names = {_key_of(entry.document.group): entry.document.group for entry in reading.members}
    return sorted({**{key: key for key in reading.slots}, **names}.values())


def _key_of(group: str) -> str:
    return slots_key(group).removeprefix(groups_prefix()).removesuffix("/slots")


def _group(name: str, reading: FleetReading, ids: Mapping[str, str]) -> FleetGroupDocument:
    slots = reading.slots.get(_key_of(name), SlotsDocument())
    entries = [entry for entry in reading.members if _key_of(entry.document.group) == _key_of(name)]
    limits = {entry.document.slots for entry in entries}
    return {"name": name, "slots_used": used(slots.holders), "slots_allowed": min(limits - {0}, default=None),
            "holders": [_holder(holder, ids) for holder in slots.holders],
            "members": [_member(entry, slots, reading, ids) for entry in
                        sorted(entries, key=lambda entry: fold_case(entry.document.name))]}


def _holder(holder: Holder, ids: Mapping[str, str]) -> FleetHolderDocument:
    return {"digest": holder.event, "event_id": ids.get(holder.event), "kind": holder.kind or None,
            "granted": holder.granted, "counts": holder.counts, "members": sorted(holder.members),
            "released": sorted(name for name, one in holder.members.items() if one.released)}


def _member(entry: MemberEntry, slots: SlotsDocument, reading: FleetReading,
            ids: Mapping[str, str]) -> FleetMemberDocument:
    member = entry.document
    return {"name": member.name, "vm_id": member.vm_id, "phase": member.phase or None,
            "events": [_event(digest, index, member, slots, reading, ids)
                       for index, digest in enumerate(member.events)],
            "slots": member.slots, "version": member.version, "last_change_s": entry.age_s,
            "written_at": member.at or None}


def _event(digest: str, index: int, member: MemberDocument, slots: SlotsDocument, reading: FleetReading,
           ids: Mapping[str, str]) -> FleetEventDocument:
    holder, shared = slots.holder(digest), reading.events.get(digest)
    own = shared.members.get(fold_case(member.name)) if shared is not None else None
    kind = holder.kind if holder is not None else shared.kind if shared is not None else ""
    not_before = holder.not_before if holder is not None else shared.not_before if shared is not None else ""
    return {"digest": digest, "event_id": ids.get(digest), "kind": kind or None, "not_before": not_before or None,
            "slot": _slot_word(holder, member, is_first=index == 0), "ready": own.state if own is not None else None,
            "why": own.why if own is not None else ""}


def _slot_word(holder: Holder | None, member: MemberDocument, *, is_first: bool) -> str | None:
    """`is_first`: the member's phase is that of this event."""
    own = holder.members.get(fold_case(member.name)) if holder is not None else None
    if holder is None or own is None or own.vm_id != member.vm_id:
        return "waiting" if is_first and member.phase == Phase.WAITING_FOR_SLOT.value else None
    return "released" if own.released else "granted" if holder.granted else "not-granted"


def _shared_event(event: EventDocument, reading: FleetReading) -> FleetSharedEventDocument:
    claim = event.acknowledgement
    return {"event_id": event.event_id, "source": event.source, "kind": event.kind,
            "not_before": event.not_before or None,
            "machines": [_machine(name, event.members.get(fold_case(name)), reading) for name in event.resources],
            "acknowledged_by": claim.by if claim is not None else None, "claim": claim.n if claim is not None else 0,
            "result": claim.result if claim is not None else None}


def _machine(name: str, own: EventMember | None, reading: FleetReading) -> FleetMachineDocument:
    known = own is not None or any(fold_case(entry.document.name) == fold_case(name) for entry in reading.members)
    return {"name": name, "state": own.state if own is not None else None, "has_agent": known,
            "slot": own.slot if own is not None else None, "why": own.why if own is not None else ""}


# --- What needs a look, the worst first

STARTED = frozenset(phase.value for phase in (
    Phase.STARTED, Phase.CHECKING_CLOCK, Phase.SETTLING, Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED))
"""Where one machine is in one of these, an acknowledgement of its event is not waited for any more."""


def _problems(reading: FleetReading, groups: Iterable[FleetGroupDocument]) -> list[str]:
    known = tuple(groups)
    return [*reading.unusable, *_disputes(reading), *_failed_recoveries(reading), *_missing_consents(reading),
            *_without_grant(known), *_taken_over(reading), *_disagreements(known)]


def _disputes(reading: FleetReading) -> Iterable[str]:
    for event in reading.events.values():
        for name, own in event.members.items():
            if own.disputed:
                yield (f"two machines named {name} write to the store: {event.kind} {event.event_id} is not "
                       "acknowledged while both run")


def _failed_recoveries(reading: FleetReading) -> Iterable[str]:
    for entry in reading.members:
        member = entry.document
        if member.failed:
            yield (f"recovery of {', '.join(member.failed)} has failed on {member.name}, which keeps its slot of "
                   f"{member.group}: run tideover recover there, or tideover fleet release {member.name}")


def _missing_consents(reading: FleetReading) -> Iterable[str]:
    phases = {fold_case(entry.document.name): entry.document.phase for entry in reading.members}
    for event in reading.events.values():
        claim = event.acknowledgement
        names = [fold_case(name) for name in event.resources]
        if (claim is not None and claim.result is not None) or any(phases.get(name) in STARTED for name in names):
            continue
        what = f"{event.kind} {event.event_id}"
        without = [name for name in event.resources if not _machine(name, event.members.get(fold_case(name)),
                                                                    reading)["has_agent"]]
        if without:
            yield (f"{what} names {_listed(without)}, for which no agent has written to the store: it waits for "
                   "them, unless tideover acknowledge --alone is used")
        for name in names:
            own = event.members.get(name)
            if own is not None and own.state == NOT_READY and phases.get(name) == Phase.HELD.value:
                yield f"{what} is not acknowledged: {name} is not ready ({own.why or 'it gives no reason'})"


def _without_grant(groups: Iterable[FleetGroupDocument]) -> Iterable[str]:
    for group in groups:
        for holder in group["holders"]:
            if holder["counts"] and not holder["granted"]:
                yield (f"a slot of {group['name']} is in use that was not granted: {_listed(holder['members'])} "
                       f"({holder['kind'] or 'event'} {holder['event_id'] or holder['digest'][:8]})")


def _taken_over(reading: FleetReading) -> Iterable[str]:
    for group, slots in sorted(reading.slots.items()):
        for holder in slots.holders:
            if holder.taken_from:
                yield (f"a slot of {group} was taken over: {_listed(sorted(holder.members))} has that of "
                       f"{_listed(holder.taken_from)}, which was silent")


def _disagreements(groups: Iterable[FleetGroupDocument]) -> Iterable[str]:
    for group in groups:
        by_limit: dict[int, list[str]] = {}
        for member in group["members"]:
            by_limit.setdefault(member["slots"], []).append(member["name"])
        if len(by_limit) > 1:
            parts = [f"{_listed(names)} {'has' if len(names) == 1 else 'have'} {limit or 'no limit'}"
                     for limit, names in sorted(by_limit.items())]
            yield f"members of {group['name']} disagree on fleet.slots: {'; '.join(parts)}"


NAMED_AT_MOST = 3


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    rest = len(known) - NAMED_AT_MOST
    return ", ".join(known[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
