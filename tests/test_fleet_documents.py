"""The fleet's documents: what one agent writes every other one reads, and what is not theirs is never written over."""
import json
from types import MappingProxyType

import pytest

from tideover.fleet_documents import (
    Claim,
    EventDocument,
    EventMember,
    Holder,
    MemberDocument,
    SlotMember,
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

MEMBER = MemberDocument("vm-1", "guid-1", "boot-1", "db", 2, "1.0", "preparing", ("aa",), 7, write="w1")
SLOTS = SlotsDocument((Holder("aa", True, "freeze", "2026-11-28T10:00:00Z", ("vm-1", "vm-2"),
                              MappingProxyType({"vm-1": SlotMember("guid-1", "boot-1"),
                                                "vm-2": SlotMember("guid-2", "boot-2", released=True)})),
                       Holder("bb", False)), "w2")
EVENT = EventDocument("E1", "azure", "freeze", ("vm-1", "vm-2"), "", MappingProxyType({
    "vm-1": EventMember("ready", True, "", "guid-1", "boot-1"),
    "vm-2": EventMember("not-ready", None, "a required hook failed: db", "guid-2", "boot-2", "guid-9")}),
    Claim("vm-1", 3, "guid-1", 200, "vm-2"), "w3")
CASES = [(MEMBER, decode_member), (SLOTS, decode_slots), (EVENT, decode_event)]
EMPTY = [(MemberDocument("vm-1", "guid-1"), decode_member), (SlotsDocument(), decode_slots), (EventDocument("E1", "azure"), decode_event)]


@pytest.mark.parametrize(("document", "decode"), [*CASES, *EMPTY])
def test_what_is_written_is_read_the_same(document, decode):
    assert decode("k", encode(document)) == document
    assert json.loads(encode(document))["schema"] == 1


@pytest.mark.parametrize(("document", "decode"), CASES)
def test_what_a_newer_agent_added_is_kept_when_it_is_written(document, decode):
    """Also in the objects inside: two versions work in one fleet."""
    def add(value):
        if isinstance(value, list):
            return [add(one) for one in value]
        if not isinstance(value, dict):
            return value
        known = {name: add(one) for name, one in value.items()}
        return known if not known or "vm-1" in known else {**known, "later": [1, {"x": None}]}
    newer = add(json.loads(encode(document)))
    assert json.loads(encode(stamped(decode("k", json.dumps(newer).encode()), document.write))) == newer


@pytest.mark.parametrize("decode", [decode for _, decode in CASES])
@pytest.mark.parametrize("value", [b"", b"\xff", b"null", b"[]", b"{}", b'{"schema": true}', b'{"schema": "1"}',
                                   b'{"schema": 1}', b"[" * 100000, b'{"schema": 1, "name": 3, "event_id": 4, "holders": {}}',
                                   b'"' + b"x" * 2_000_000 + b'"'])
def test_what_is_no_document_is_refused_with_its_key(decode, value):
    with pytest.raises(UnusableDocument, match="the/key") as refused:
        decode("the/key", value)
    assert not refused.value.is_newer


@pytest.mark.parametrize("change", [
    {"members": {"vm-1": {"state": "perhaps", "vm_id": ""}}}, {"members": {"vm-1": 3}}, {"resources": [1]},
    {"not_before": "soon"}, {"not_before": "2026-11-28T10:00:00"}, {"acknowledgement": {"by": "vm-1", "n": -1}},
    {"acknowledgement": {"by": "vm-1", "n": 10 ** 4000}}, {"acknowledgement": {"by": "vm-1"}}, {"acknowledgement": {"by": 1, "n": 1}}, {"acknowledgement": {"by": None, "n": True}}])
def test_an_event_with_a_member_of_another_type_or_out_of_range_is_refused(change):
    with pytest.raises(UnusableDocument):
        decode_event("k", json.dumps({**json.loads(encode(EVENT)), **change}).encode())


def test_an_event_that_is_entered_twice_is_refused():
    with pytest.raises(UnusableDocument):
        decode_slots("k", encode(SlotsDocument((Holder("aa", True), Holder("aa", False)))))


def test_a_newer_schema_says_that_this_machine_needs_an_update():
    with pytest.raises(UnusableDocument, match="update") as refused:
        decode_slots("k", b'{"schema": 2}')
    assert refused.value.is_newer


def test_keys_are_the_same_for_every_spelling():
    assert member_key("VM-1", "GUID") == member_key("vm-1", "guid")
    assert member_key("vm-1", "guid") != member_key("vm-1", "other")
    assert member_key("a/../b c", "x").startswith("v1/members/a_.._b_c-")
    assert event_digest("azure", "ABC") == event_digest("azure", "abc") != event_digest("gcp", "abc")
    assert len(event_digest("azure", "abc")) == 32
    assert (event_key("aa"), slots_key("Web")) == ("v1/events/aa", "v1/groups/web/slots")


def test_a_key_can_be_made_of_an_id_with_half_a_surrogate_pair():
    """JSON can bring one, and no UTF-8 can hold it."""
    assert member_key("vm-\ud800", "\ud800").startswith("v1/members/vm-_-")
    assert member_key("vm-1", "\ud800") != member_key("vm-1", "\ud801")


def test_an_entry_written_at_no_time_is_refused_by_name():
    with pytest.raises(UnusableDocument, match="at is no time"):
        decode_member("k", b'{"schema": 1, "name": "vm-1", "vm_id": "x", "at": "\\u001byesterday"}')


def test_a_claim_is_open_until_its_answer_is_known_or_it_is_passed_on():
    assert Claim("vm-1", 1).is_open
    assert not Claim("vm-1", 1, result=200).is_open
    assert not Claim(None, 1, last="vm-1").is_open


def test_an_entry_counts_until_every_machine_in_it_is_released():
    assert SLOTS.holder("aa").counts and not SLOTS.holder("bb").counts and SLOTS.holder("cc") is None


def test_an_idle_members_entry_says_only_what_is_not_as_usual():
    """An etcd keeps each write of it: a thousand members write 24 000 a day, which must stay under 10 MB with 150 bytes
    of etcd's own for each (tests/benchmarks/fleet.py idle)."""
    vm_id = "5d1b4be0-6f1b-4a14-9a1c-0f1e2d3c4b5a"
    entry = MemberDocument("web-0001", vm_id, vm_id, "default", 10, "1.0.0", beat=9999, at="2026-11-20T10:00:00.123Z", write="0123456789abcdef")
    assert len(encode(entry)) <= 240
    assert decode_member("k", encode(entry)) == entry
