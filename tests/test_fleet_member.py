"""One agent's thread in its fleet: what it tells of a store that answers some requests and refuses others."""
from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tideover.effects import Coordinate, SlotWish
from tideover.fleet import member as module
from tideover.fleet.member import Member, MemberSettings
from tideover.fleet.store import Stored, StoreFailed, StoreTrouble
from tideover.fleet_documents import (
    Holder,
    SlotMember,
    SlotsDocument,
    decode_slots,
    encode,
    event_digest,
    event_key,
    slots_key,
    stamped,
)
from tideover.model import Kind, Moment


class FullStore:
    """Its reads show a slot that another machine has; it refuses writes until it is cured."""

    generation = 1

    def __init__(self):
        held = Holder("other", True, "freeze", "", ("vm-2",), {"vm-2": SlotMember("guid-2", "boot-1")})
        self.keys = {slots_key("default"): encode(stamped(SlotsDocument((held,)), "w"))}
        self.is_cured, self.reads = False, 0

    def get(self, key):
        self.reads += key == slots_key("default")
        value = self.keys.get(key)
        return Stored(key, value, "1") if value is not None else None

    def put(self, key, value, expect):
        if not self.is_cured:
            raise StoreFailed(StoreTrouble.FULL, "its database is full", "compact it")
        self.keys[key] = value
        return "2"

    def close(self):
        pass


def until(question):
    end = time.monotonic() + 10
    while not question():
        assert time.monotonic() < end
        time.sleep(0.001)


class RestoredStore(FullStore):
    """Shows a slot that this machine has given back long ago, from the second generation on; takes each write."""

    def __init__(self, digest):
        super().__init__()
        self.is_cured, self.digest = True, digest
        self.keys.clear()

    def restore(self):
        past = Holder(self.digest, True, "freeze", "", ("vm-1",), {"vm-1": SlotMember("guid-1", "boot-0")})
        self.keys[slots_key("default")] = encode(stamped(SlotsDocument((past,)), "w"))
        self.generation = 2

    def holders(self):
        value = self.keys.get(slots_key("default"))
        return [] if value is None else [one.event for one in decode_slots("k", value).holders]


class ReplacedStore(FullStore):
    """Another one from the second read on; its operations are logged."""

    def __init__(self):
        super().__init__()
        self.is_cured, self.log = True, []
        self.keys.clear()

    def get(self, key):
        self.log.append(f"get {key}")
        self.generation = min(len(self.log), 2)
        return super().get(key)

    def put(self, key, value, expect):
        self.log.append(f"put {key}")
        return super().put(key, value, expect)


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in (("UNREACHED_S", 0.02), ("FIRST_RETRY_S", 0.001), ("LONGEST_RETRY_S", 0.002), ("SHORTEST_SLOT_S", 0.002),
                          ("LONGEST_SLOT_S", 0.002), ("PAST_AFTER_S", 0.05), ("IDLE_BEAT_S", 0.3)):
        monkeypatch.setattr(module, name, seconds)


def test_an_entry_that_cannot_be_written_is_told_although_reads_succeed(quick):
    store, told = FullStore(), []
    member = Member(MemberSettings("default", 1, 1800.0), lambda: store, "boot-1", "0.1.0", lambda _: None,
                    lambda: Moment(datetime.now(UTC), time.monotonic()), told.append)
    member.identify("vm-1", "guid-1")
    member.start(Coordinate("e1", "azure", Kind.FREEZE, ("vm-1",), "", "waiting-for-slot", SlotWish.TAKE))
    member.open(frozenset())
    try:
        until(lambda: any(told))
        del told[:]
        read = store.reads
        until(lambda: store.reads > read + 3)
        assert "full" in member.status.reason and member.status.failing_since is not None
        assert all(one is not None and "full" in one for one in told), "no cure is told before there is one"
        store.is_cured = True
        until(lambda: None in told)
        until(lambda: not member.status.reason)
    finally:
        member.close()


def test_an_idle_machine_gives_back_what_a_restored_store_shows_of_it_also_if_it_started_with_an_open_event(quick):
    """The event that was open at the start is the one it still works on; the stale slot is of an older one."""
    store = RestoredStore(event_digest("azure", "past"))
    member = Member(MemberSettings("default", 1, None), lambda: store, "boot-1", "0.1.0", lambda _: None,
                    lambda: Moment(datetime.now(UTC), time.monotonic()), lambda _: None)
    member.identify("vm-1", "guid-1")
    now = Coordinate("now", "azure", Kind.FREEZE, ("vm-1",), "", "started", SlotWish.AWAY)
    member.start(now)
    member.open(frozenset({"now"}))
    try:
        until(lambda: store.holders() == [event_digest("azure", "now")])
        member.adjust(replace(now, slot=SlotWish.LEAVE, leaves=True))
        until(lambda: store.holders() == [])
        member.cancel(now)
        store.restore()
        until(lambda: store.holders() == [])
    finally:
        member.close()


def test_nothing_is_written_on_what_was_read_of_a_store_that_turns_out_to_be_another_one(quick):
    """The answer of the second read shows it: what was read before, and what was observed of silent members, is void."""
    store, slots = ReplacedStore(), slots_key("default")
    member = Member(MemberSettings("default", 1, None), lambda: store, "boot-1", "0.1.0", lambda _: None,
                    lambda: Moment(datetime.now(UTC), time.monotonic()), lambda _: None)
    member.identify("vm-1", "guid-1")
    member.start(Coordinate("now", "azure", Kind.FREEZE, ("vm-1", "vm-2"), "", "preparing", SlotWish.AWAY, is_shared=True, says="not-ready"))
    member.open(frozenset())
    try:
        until(lambda: len(store.log) > 5)
        key = event_key(event_digest("azure", "now"))
        assert store.log[:4] == [f"get {slots}", f"put {slots}", f"get {key}", f"get {slots}"], "the session begins anew"
    finally:
        member.close()
