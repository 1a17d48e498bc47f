"""The steps of one exchange with the store: what is read and written in which order, conflicts, how silence
is observed. Pure.

The caller carries out a session's operations; nothing here touches a store.

A session is a generator. It yields one operation at a time and is sent its result. It may be dropped at any point, as
by a crash or an outage: the next one reads again, and every write names its writer, so nothing has to be undone.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tideover.effects import Coordinate, SlotWish
from tideover.fleet_documents import (
    EventDocument,
    Holder,
    MemberDocument,
    SlotsDocument,
    UnusableDocument,
    decode_event,
    decode_member,
    decode_slots,
    encode,
    event_digest,
    event_key,
    member_key,
    slots_key,
    stamped,
)
from tideover.lifecycle.fleet_rules import (
    FleetMember,
    Silence,
    give_back_past,
    is_mine,
    is_too_late,
    leave_event,
    not_ready,
    open_event,
    take_over,
    take_slot,
    takeover_s_of,
    with_names,
    write_event,
)
from tideover.observations import FleetView, SlotState

CONFLICTS_AT_MOST = 12
"""So many writes of one session may come second; the next session goes on."""

CLAIMANT_SILENT_S = 30.0
"""A claim that no answer and no other member has followed for so long is taken by the next member: the longest pause
that the platform's documents speak of."""

RIVAL_SILENT_S = 30.0
"""A machine whose entry another one of its name has replaced reads it within this time, if it lives."""

HOLDER_INTERVAL_S = 15.0
"""A member with an open event writes its entry so often; so often one that waits reads a holder's."""

RETURNS_AFTER_S = 2 * HOLDER_INTERVAL_S
"""A member that has not written its entry for so long may have been found silent: no takeover is decided sooner
([fleet] takeover is 60 s or more)."""

NAMED_AT_MOST = 10
"""So many machines that are not ready are named; the rest is a number."""


# --- Operations

@dataclass(frozen=True, slots=True)
class ReadKey:
    """Read a key. Result: a `StoredValue`."""

    key: str


@dataclass(frozen=True, slots=True)
class StoredValue:
    """What a key holds, and the store's revision of it; None: there is no such key."""

    value: bytes | None
    revision: str | None


@dataclass(frozen=True, slots=True)
class WriteKey:
    """Write a key, or delete it (`value` None), if it still has this revision (None: if there is none). Result: whether
    it was done."""

    key: str
    value: bytes | None
    revision: str | None


@dataclass(frozen=True, slots=True)
class BackOff:
    """Another member's write came first, for the `conflicts`-th time: wait a random time before the next try."""

    conflicts: int


NOTHING_KNOWN, UNSEEN = FleetView(), Silence()

Operation = ReadKey | WriteKey | BackOff
Session = Generator[Operation, "StoredValue | bool | None", FleetView]
Document = TypeVar("Document", SlotsDocument, EventDocument)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Whether the store shows, in a read begun at `read_raw_s`, that this machine may send an acknowledgement now."""

    is_given: bool
    reason: str
    read_raw_s: float


class TooManyConflicts(Exception):
    """Other members' writes came first each time; the next session tries again."""


# --- Sessions

@dataclass(slots=True)
class FleetMemory:
    """What one agent has observed of silent members; lost with its process, as it should be."""

    holder: str = ""                    # the event whose holder is watched
    holders: Silence = field(default_factory=Silence)
    claims: dict[str, Silence] = field(default_factory=dict)
    rivals: dict[str, Silence] = field(default_factory=dict)
    unanswered: dict[str, str | None] = field(default_factory=dict)     # key -> the revision that a write without an
                                                                        # answer expects: it may still be carried out
    resumed: set[tuple[str, str]] = field(default_factory=set)          # key and event, from before this process
    named: set[str] = field(default_factory=set)                        # the events that this machine's entry has named
    beaten: tuple[float, int] | None = None     # raw seconds before the newest write of this machine's entry that was
                                                # answered, and the pauses counted by then

    def forget_silence(self) -> None:
        """The store did not answer: what happened meanwhile was not observed."""
        self.holder, self.holders = "", Silence()
        self.claims.clear()
        self.rivals.clear()

    def forget_event(self, digest: str) -> None:
        self.claims.pop(digest, None)
        self.rivals.pop(digest, None)


class FleetSessions:
    """Makes the sessions of one agent. `new_write` returns a random id; `raw_s` the raw clock's seconds."""

    def __init__(self, me: FleetMember, takeover_s: float | None, new_write: Callable[[], str],
                 raw_s: Callable[[], float], memory: FleetMemory | None = None) -> None:
        self.me, self._takeover_s, self._slots_key = me, takeover_s, slots_key(me.group)
        self._new_write, self._raw_s = new_write, raw_s
        self.memory = memory or FleetMemory()

    # --- one event of this machine

    def coordinate(self, wish: Coordinate, interval_s: float, coordinated: frozenset[str] | None = None) -> Session:
        """Given what this machine wants for an event, and the usual interval between two sessions, write it down and
        return what the store says. `coordinated`: the digests of all events that this machine has anything to write
        for; None: that is not known yet."""
        view = NOTHING_KNOWN
        if wish.slot is not SlotWish.NONE:
            slot, taken_from = yield from self._slot(wish, coordinated)
            view = FleetView(slot, taken_from)
        if wish.is_shared:
            view = yield from self._event(wish, view, interval_s)
        if wish.leaves:
            self.memory.forget_event(event_digest(wish.source, wish.event_id))
        return view

    def _slot(self, wish: Coordinate, coordinated: frozenset[str] | None) -> Generator[
            Operation, StoredValue | bool | None, tuple[SlotState, str]]:
        key = self._slots_key
        for conflicts in range(1, CONFLICTS_AT_MOST + 1):
            read = yield from _read(key)
            stored = _slots_of(key, read)
            slots = stored if coordinated is None else give_back_past(stored, self.me, coordinated)
            after, state = take_slot(slots, self.me, wish)
            taken_from = ""
            if state is SlotState.WAITING:
                silent = yield from self._silent_holder(slots)
                if silent is not None:
                    names = tuple(sorted(silent.members))
                    freed, freed_state = take_slot(take_over(slots, silent.event), self.me, wish, names)
                    if freed_state is SlotState.GRANTED:
                        after, state, taken_from = freed, freed_state, ", ".join(names)
            if after == stored and not self._is_unsettled(key, read, wish):
                return state, taken_from
            if (yield from self._write(key, after, read)):
                self.memory.resumed.discard((key, wish.event_id))
                return state, taken_from
            yield BackOff(conflicts)
        raise TooManyConflicts(key)

    def _silent_holder(self, slots: SlotsDocument) -> Generator[Operation, StoredValue | bool | None, Holder | None]:
        """One holder is watched at a time, until it has shown that it lives: many that wait share the work."""
        memory, now_raw_s = self.memory, self._raw_s()
        others = [holder for holder in slots.holders if self.me.folded not in holder.members]
        if not others:
            return None
        watched = next((holder for holder in others if holder.event == memory.holder), None)
        if watched is None:
            first = int(hashlib.sha256(self.me.vm_id.encode()).hexdigest()[:8], 16) % len(others)
            watched, memory.holders = others[first], Silence()
        if memory.holders.seen is not None and now_raw_s - memory.holders.read_raw_s < HOLDER_INTERVAL_S:
            return None
        seen, before = (yield from self._members_of(watched)), memory.holders
        memory.holder, memory.holders = watched.event, before.after(
            seen, now_raw_s, self._raw_s(), HOLDER_INTERVAL_S)
        if before.seen is not None and before.seen != seen:
            following = others[(others.index(watched) + 1) % len(others)]
            if following != watched:
                memory.holder, memory.holders = following.event, Silence()
            return None
        limit_s = takeover_s_of(watched, self._takeover_s)
        return watched if limit_s is not None and memory.holders.observed_s >= limit_s else None

    def _members_of(self, holder: Holder) -> Generator[Operation, StoredValue | bool | None, tuple[object, ...]]:
        entries: list[object] = []
        for name, own in sorted(holder.members.items()):
            read = yield from _read(member_key(name, own.vm_id))
            entries.append((name, own.vm_id, read.revision))
        return tuple(entries)

    def _event(self, wish: Coordinate, view: FleetView,
               interval_s: float) -> Generator[Operation, StoredValue | bool | None, FleetView]:
        digest = event_digest(wish.source, wish.event_id)
        key = event_key(digest)
        for conflicts in range(1, CONFLICTS_AT_MOST + 1):
            began_raw_s = self._raw_s()
            read = yield from _read(key)
            event = _event_of(key, read, wish)
            claim_silent, rival_silent = self._silences(digest, event, began_raw_s, interval_s)
            after = write_event(event, self.me, wish, view.slot, claimant_is_silent=claim_silent,
                                rival_is_silent=rival_silent)
            if after is None and read.value is None:
                return view
            if after is not None and after == event and not self._is_unsettled(key, read, wish):
                return self._view_of(after, wish, view)
            if (yield from self._write(key, after, read)):
                self.memory.resumed.discard((key, wish.event_id))
                return view if after is None else self._view_of(after, wish, view)
            yield BackOff(conflicts)
        raise TooManyConflicts(key)

    def _silences(self, digest: str, event: EventDocument, began_raw_s: float, interval_s: float) -> tuple[bool, bool]:
        """Whether the claimant, and another machine of this one's name, have been silent for long enough."""
        now_raw_s, memory, claim = self._raw_s(), self.memory, event.acknowledgement
        own = event.members.get(self.me.folded)
        observed_s = []
        for known, seen in ((memory.claims, None if claim is None else (claim.by, claim.n, claim.result)),
                            (memory.rivals, (own.vm_id, own.rival) if own is not None and own.rival else None)):
            silence = known.get(digest, UNSEEN)
            if silence.seen is not None or seen is not None:
                silence = known[digest] = silence.after(seen, began_raw_s, now_raw_s, interval_s)
            observed_s.append(silence.observed_s)
        return observed_s[0] >= CLAIMANT_SILENT_S, observed_s[1] >= RIVAL_SILENT_S

    def _view_of(self, event: EventDocument, wish: Coordinate, view: FleetView) -> FleetView:
        waiting, claim = not_ready(event), event.acknowledgement
        own = event.members.get(self.me.folded)
        says = own.state if own is not None and own.vm_id == self.me.vm_id else ""
        claimed = (0, "", False, None) if claim is None else (
            claim.n, claim.by or "", is_mine(claim, self.me), claim.result)
        return FleetView(view.slot, view.taken_from, says, waiting[:NAMED_AT_MOST], len(waiting), *claimed,
                         is_too_late=is_too_late(event, self.me, wish))

    # --- before an acknowledgement is sent

    def confirm(self, wish: Coordinate) -> Generator[Operation, StoredValue | bool | None, Confirmation]:
        """Given what this machine wants for an event that it is to acknowledge, read once more whether it may: its
        slot, and its claim with everyone's consent. Nothing is written."""
        read_raw_s, digest = self._raw_s(), event_digest(wish.source, wish.event_id)
        if wish.slot is not SlotWish.NONE:
            key = self._slots_key
            holder = _slots_of(key, (yield from _read(key))).holder(digest)
            own = holder.members.get(self.me.folded) if holder is not None else None
            if holder is None or own is None or own.vm_id != self.me.vm_id or own.released or not holder.granted:
                return Confirmation(False, "the store does not show a granted slot for it", read_raw_s)
        if wish.is_shared:
            key = event_key(digest)
            event = with_names(_event_of(key, (yield from _read(key)), wish), wish)
            claim = event.acknowledgement
            if claim is None or not is_mine(claim, self.me) or claim.result is not None or claim.n != wish.sent:
                return Confirmation(False, "another machine has the claim", read_raw_s)
            if not_ready(event):
                return Confirmation(False, "not every machine named is ready", read_raw_s)
        return Confirmation(True, "", read_raw_s)

    # --- this machine's own entry

    def beat(self, entry: MemberDocument, pauses: int = 0) -> Generator[Operation, StoredValue | bool | None, None]:
        """Given this machine's entry and how many of its pauses were detected so far, write it; its `beat` follows from
        the one that is there. After a silence the slots are written first, unchanged: a takeover of this machine's slot
        that was decided in that silence, and whose request is still under way, then comes too late. What it had in
        another group is given back first: after that nothing says which one it was."""
        began, key = (self._raw_s(), pauses), member_key(entry.name, entry.vm_id)
        last = self.memory.beaten
        was_silent = last is None or last[1] != pauses or began[0] - last[0] >= RETURNS_AFTER_S
        if was_silent and self.me.slots:
            yield from self._renew_slots()
        for conflicts in range(1, CONFLICTS_AT_MOST + 1):
            read = yield from _read(key)
            known = decode_member(key, read.value) if read.value is not None else None
            newer = replace(entry, beat=known.beat + 1, extra=known.extra) if known is not None else entry
            self.memory.named.update(known.events if known is not None else ())
            if known is not None and slots_key(known.group) != self._slots_key:
                yield from self._change(slots_key(known.group), decode_slots,
                                        lambda slots: give_back_past(slots, self.me, frozenset()))
            if (yield from self._write(key, newer, read)):
                self.memory.beaten = began
                return
            yield BackOff(conflicts)

    def leave_past(self, coordinated: frozenset[str]) -> Generator[Operation, StoredValue | bool | None, None]:
        """Given the digests of all events that this machine has anything to write for, take it out of every other one:
        a store that was restored from a backup shows what it has left long ago, and after a lost journal it does not
        know what it had written."""
        yield from self._change(self._slots_key, decode_slots,
                                lambda slots: give_back_past(slots, self.me, coordinated))
        for digest in sorted(self.memory.named - coordinated):
            yield from self._change(event_key(digest), decode_event, lambda event: leave_event(event, self.me))
            self.memory.named.discard(digest)

    def _change(self, key: str, decode: Callable[[str, bytes], Document],
                change: Callable[[Document], Document | None]) -> Generator[Operation, StoredValue | bool | None, None]:
        """Write what `change` makes of a document, where there is one. What this version cannot read stays as it is:
        doctor names it."""
        for conflicts in range(1, CONFLICTS_AT_MOST + 1):
            read = yield from _read(key)
            if read.value is None:
                return
            try:
                known = decode(key, read.value)
            except UnusableDocument:
                return
            after = change(known)
            if after == known or (yield from self._write(key, after, read)):
                return
            yield BackOff(conflicts)
        raise TooManyConflicts(key)

    def _renew_slots(self) -> Generator[Operation, StoredValue | bool | None, None]:
        """Write the slots as they are, if this machine has one."""
        key = self._slots_key
        for conflicts in range(1, CONFLICTS_AT_MOST + 1):
            read = yield from _read(key)
            try:
                slots = _slots_of(key, read)
            except UnusableDocument:
                return                              # what is not to be written over says nothing about this entry
            own = [holder.members[self.me.folded] for holder in slots.holders if self.me.folded in holder.members]
            if all(one.vm_id != self.me.vm_id for one in own) or (yield from self._write(key, slots, read)):
                return
            yield BackOff(conflicts)
        raise TooManyConflicts(key)

    def _write(self, key: str, document: EventDocument | SlotsDocument | MemberDocument | None,
               read: StoredValue) -> Generator[Operation, StoredValue | bool | None, bool]:
        value = None if document is None else encode(stamped(document, self._new_write()))
        self.memory.unanswered[key] = read.revision
        done = yield WriteKey(key, value, read.revision)
        del self.memory.unanswered[key]
        return done is True

    def _is_unsettled(self, key: str, read: StoredValue, wish: Coordinate) -> bool:
        """Whether an earlier write of this machine may still be carried out: then the document is written again, also
        unchanged, and that one comes too late."""
        if key in self.memory.unanswered and self.memory.unanswered[key] != read.revision:
            del self.memory.unanswered[key]
        return key in self.memory.unanswered or (key, wish.event_id) in self.memory.resumed

    def resume(self, event_id: str, digest: str) -> None:
        """An event that was open when this process started: what the one before it sent may still be carried out."""
        keys = self._slots_key, event_key(digest)
        self.memory.resumed.update((key, event_id) for key in keys)


def _read(key: str) -> Generator[Operation, StoredValue | bool | None, StoredValue]:
    read = yield ReadKey(key)
    assert isinstance(read, StoredValue)
    return read


def _slots_of(key: str, read: StoredValue) -> SlotsDocument:
    return SlotsDocument() if read.value is None else decode_slots(key, read.value)


def _event_of(key: str, read: StoredValue, wish: Coordinate) -> EventDocument:
    return open_event(wish) if read.value is None else decode_event(key, read.value)


