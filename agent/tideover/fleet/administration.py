"""What `tideover fleet release` and `prune` read and change in the store, and what counts as left behind.

Each write is conditional and follows a fresh read, as an agent's.
"""
from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tideover.fleet.store import Conflict, Store, Stored, StoreFailed, StoreTrouble
from tideover.fleet_documents import (
    EventDocument,
    EventMember,
    Holder,
    MemberDocument,
    SlotMember,
    SlotsDocument,
    decode_event,
    decode_member,
    decode_slots,
    encode,
    event_key,
    events_prefix,
    groups_prefix,
    members_prefix,
    slots_key,
    stamped,
)
from tideover.fleet_status import FleetReading, MemberEntry, read_documents
from tideover.lifecycle.fleet_rules import release_slots, take_over
from tideover.model import fold_case

TRIES = 12
"""So many writes of others may come first."""

RECENT_S = 60.0
"""A machine that has written within this time lives."""

WATCH_S = 20.0
"""An agent with an open event writes its entry each 15 s."""

LOOK_S = 1.0                # between two reads while watching


def read_fleet(store: Store, *, may_be_stale: bool = False) -> FleetReading:
    """Given a store, return all of its documents; `may_be_stale`: where the store has no quorum, those that one server
    has. Raise StoreFailed."""
    try:
        return _read_all(store.list, is_stale=False)
    except StoreFailed as failure:
        if not may_be_stale or failure.trouble is not StoreTrouble.UNAVAILABLE:
            raise
        try:
            return _read_all(store.list_stale, is_stale=True)
        except StoreFailed:
            raise failure from None


def _read_all(listing: Callable[[str], Sequence[Stored]], *, is_stale: bool) -> FleetReading:
    stored = [one for prefix in (members_prefix(), groups_prefix(), events_prefix()) for one in listing(prefix)]
    return read_documents(((one.key, one.value, one.age_s) for one in stored), is_stale=is_stale)


# --- release

@dataclass(frozen=True, slots=True)
class HeldSlot:
    """An entry of a machine in the slots of a group. `group`: as the key has it."""

    group: str
    digest: str
    kind: str
    granted: bool


def held_slots(reading: FleetReading, name: str) -> list[HeldSlot]:
    """Given a machine's name, return its entries that count."""
    return [HeldSlot(group, holder.event, holder.kind, holder.granted)
            for group, slots in sorted(reading.slots.items()) for holder in slots.holders
            if fold_case(name) in holder.members and not holder.members[fold_case(name)].released]


def entries_of(reading: FleetReading, name: str) -> list[MemberEntry]:
    """Given a machine's name, return its entries: more than one where another VM had that name before."""
    return [entry for entry in reading.members if fold_case(entry.document.name) == fold_case(name)]


def has_written_lately(store: Store, entries: Iterable[MemberEntry]) -> bool:
    """Given a machine's entries, return whether it has written one of them within the last minute: by the store's
    clock; where the store has none, whether it writes while this watches. Raise StoreFailed."""
    known = list(entries)
    if any(entry.age_s is not None and entry.age_s < RECENT_S for entry in known):
        return True
    unknown = [entry.key for entry in known if entry.age_s is None]
    before = {key: store.get(key) for key in unknown}
    until_s = time.monotonic() + (WATCH_S if unknown else 0.0)
    while time.monotonic() < until_s:
        time.sleep(LOOK_S)
        if any(_revision(store.get(key)) != _revision(before[key]) for key in unknown):
            return True
    return False


def _revision(stored: Stored | None) -> str | None:
    return stored.revision if stored is not None else None


def release(store: Store, name: str, groups: Iterable[str]) -> None:
    """Given a machine's name and the groups in which it has entries, release them: they count no more, and that machine
    acknowledges nothing with them. Raise StoreFailed, UnusableDocument."""
    for group in groups:
        _change_slots(store, group, lambda slots: release_slots(slots, name))


def _change_slots(store: Store, group: str, change: Callable[[SlotsDocument], SlotsDocument]) -> None:
    key = slots_key(group)
    for attempt in range(1, TRIES + 1):
        stored = store.get(key)
        if stored is None:
            return
        slots = decode_slots(key, stored.value)
        after = change(slots)
        if after == slots:
            return
        try:
            store.put(key, encode(stamped(after, secrets.token_hex(8))), stored.revision)
        except Conflict:
            time.sleep(0.05 * attempt)
        except StoreFailed as failure:
            if not failure.outcome_unknown or attempt == TRIES:
                raise
        else:
            return
    raise StoreFailed(StoreTrouble.UNAVAILABLE, f"other members' writes to {key} came first {TRIES} times",
                      "try again")


# --- prune

@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that a machine which is gone has left behind. `seen`: the document as it was read, or its entry in the
    slots `key`: only that is removed."""

    key: str
    what: str
    why: str
    seen: MemberDocument | Holder | EventDocument


EVENT_OVER_S = 86400.0
"""An event that began a day ago is over; the platform lists one for half an hour."""


def find_leftovers(reading: FleetReading, now: datetime, older_than_s: float) -> list[Leftover]:
    """Given what was read, this machine's wall clock and how long a machine that lives writes nothing at most, return
    what may be removed. Whether it is, a person decides: clocks may be wrong."""
    gone = [entry for entry in reading.members if _is_gone(entry, now, older_than_s)]
    lost = {(fold_case(entry.document.name), entry.document.vm_id) for entry in gone}
    alive = {(fold_case(entry.document.name), entry.document.vm_id) for entry in reading.members} - lost
    worked_on = {digest for entry in reading.members if entry not in gone for digest in entry.document.events}
    found = [Leftover(entry.key, f"the entry of {entry.document.name} (VM id {entry.document.vm_id or 'unknown'})",
                      f"it has not written for {older_than_s / 86400:.0f} days or more", entry.document)
             for entry in gone]

    def is_left(digest: str, not_before: str, members: Mapping[str, SlotMember] | Mapping[str, EventMember]) -> bool:
        """A machine may have entered an event before it has written its own entry: then only NotBefore tells."""
        machines = {(name, one.vm_id) for name, one in members.items()}
        return digest not in worked_on and not machines & alive and (
            bool(machines & lost) or _is_long_ago(not_before, now))

    found += [Leftover(slots_key(group), f"the slot of {', '.join(sorted(holder.members))} in {group}",
                       "no machine of that entry writes any more", holder)
              for group, slots in sorted(reading.slots.items()) for holder in slots.holders
              if is_left(holder.event, holder.not_before, holder.members)]
    found += [Leftover(event_key(digest), f"the event {event.event_id}", "no machine works on it any more", event)
              for digest, event in sorted(reading.events.items())
              if is_left(digest, event.not_before, event.members)]
    return found


def _is_gone(entry: MemberEntry, now: datetime, older_than_s: float) -> bool:
    if entry.age_s is not None:
        return entry.age_s > older_than_s
    written_at = _read_time(entry.document.at)
    return written_at is not None and (now - written_at).total_seconds() > older_than_s


def _is_long_ago(not_before: str, now: datetime) -> bool:
    at = _read_time(not_before)
    return at is not None and (now - at).total_seconds() > EVENT_OVER_S


def _read_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def remove(store: Store, leftover: Leftover) -> bool:
    """Given a leftover, remove it if it still is as it was read; return whether it was removed. Raise StoreFailed,
    UnusableDocument."""
    seen = leftover.seen
    if isinstance(seen, Holder):
        removed: list[bool] = []

        def without(slots: SlotsDocument) -> SlotsDocument:
            removed[:] = [slots.holder(seen.event) == seen]
            return take_over(slots, seen.event) if removed[0] else slots

        _change_slots(store, leftover.key.removeprefix(groups_prefix()).removesuffix("/slots"), without)
        return removed == [True]
    stored = store.get(leftover.key)
    decode = decode_member if isinstance(seen, MemberDocument) else decode_event
    if stored is None or decode(leftover.key, stored.value) != seen:
        return False
    try:
        store.delete(leftover.key, stored.revision)
    except Conflict:
        return False
    return True
