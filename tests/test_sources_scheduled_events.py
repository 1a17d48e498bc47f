"""Bytes of the metadata service become nouns; what is not certain to be a document becomes none."""
from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from tideover.model import Document, Event, Kind, VmIdentity
from tideover.sources.scheduled_events import (
    NotADocument,
    read_document,
    read_identity,
    read_time,
    write_acknowledgement,
)

DUE = datetime(2026, 11, 20, 10, 15, 0, tzinfo=UTC)


def read(body: bytes) -> Document:
    return read_document(body, date=None, asked_raw_s=1.0, received_raw_s=2.0)


def document(*entries: object, incarnation: object = 7) -> bytes:
    return json.dumps({"DocumentIncarnation": incarnation, "Events": list(entries)}).encode()


def entry(**changes: object) -> dict[str, object]:
    """An event as the platform writes it today; a change of ... leaves the field out."""
    fields: dict[str, object] = {
        "EventId": "0B2F6C1D-8E53-4A8E-9D55-6A3F1C2B7E90", "EventStatus": "Scheduled", "EventType": "Freeze",
        "ResourceType": "VirtualMachine", "Resources": ["db-1"], "NotBefore": "Fri, 20 Nov 2026 10:15:00 GMT",
        "Description": "Host server is undergoing maintenance.", "EventSource": "Platform", "DurationInSeconds": 9}
    return {name: value for name, value in {**fields, **changes}.items() if value is not ...}


def event(**changes: object) -> Event:
    (only,) = read(document(entry(**changes))).events
    return only


def test_a_document_of_today_is_read_whole():
    moment = DUE - timedelta(minutes=15)
    found = read_document(document(entry()), date=moment, asked_raw_s=5.0, received_raw_s=5.25)
    assert found == Document(
        events=(Event(id="0B2F6C1D-8E53-4A8E-9D55-6A3F1C2B7E90", kind=Kind.FREEZE, resources=("db-1",), not_before=DUE,
                      expected_pause_s=9.0, description="Host server is undergoing maintenance."),),
        incarnation="7", date=moment, asked_raw_s=5.0, received_raw_s=5.25)


@pytest.mark.parametrize("layout", [{"indent": "\t"}, {"indent": 4, "separators": (",", ":  ")}, {"sort_keys": True}])
def test_layout_and_the_order_of_fields_do_not_matter(layout):
    plain = {"Events": [entry()], "DocumentIncarnation": 7}
    assert read(b"\r\n" + json.dumps(plain, **layout).encode()) == read(document(entry()))


def test_an_empty_list_is_a_document_also_with_incarnation_nought():
    assert read(b'{"DocumentIncarnation":0,"Events":[]}') == Document((), 1.0, 2.0, "0", None)


@pytest.mark.parametrize(("body", "words"), [
    (b"", "empty"), (b" \r\n", "empty"), (b"Throttle Result: Too Many Requests", "not JSON"), (b"\xff\xfe\x00", "JSON"),
    (b'{"DocumentIncarnation":1,"Events":[', "not JSON"), (b"{}", "no list"), (b'{"Events":null}', "no list"),
    (b'{"Events":{}}', "no list"), (b'{"Events":"none"}', "no list"), (b"[]", "not an object"), (b"null", "not an object"),
    (b"1e999", "not an object"), (b'{"error":"Bad request"}', "no list"),
    pytest.param(b"[" * 100_000, "nested", id="brackets"),
    pytest.param(b'{"Events":' + b"[" * 100_000, "nested", id="brackets as events"),
    pytest.param(b'{"a":' * 100_000, "nested", id="braces"),
])
def test_what_has_no_list_of_events_is_no_document(body, words):
    """Only a well-formed document may make an event vanish."""
    with pytest.raises(NotADocument, match=words):
        read(body)


@pytest.mark.parametrize("bad", [
    entry(EventId=...), entry(EventId=None), entry(EventId=""), entry(EventId="  "), entry(EventId=17),
    entry(EventId="a\nb"), entry(EventId="a\0b"), entry(EventId="\ud800"), entry(EventId="x" * 10_000), "0B2F", None,
    []],
    ids=lambda bad: repr(bad)[:30])
def test_an_entry_without_an_id_is_left_out_and_reported_and_spoils_none_beside_it(bad):
    """The document says that it is not whole: the entry may be an event that would otherwise look vanished."""
    found = read(document(entry(), bad, entry(EventId="other")))
    assert [known.id for known in found.events] == [entry()["EventId"], "other"]
    assert found.left_out.startswith("entry 2 of the list of events ") and "more" not in found.left_out
    assert read(document(bad, bad, bad)).left_out.endswith(", and 2 more cannot be used")
    assert read(document(entry())).left_out == ""


@pytest.mark.parametrize(("field", "left_out"), [
    ("DurationInSeconds", {"expected_pause_s": None}), ("EventSource", {"event_source": "platform"}),
    ("Description", {"description": ""}), ("NotBefore", {"not_before": None}), ("Resources", {"resources": ()}),
    ("EventStatus", {"started": False}), ("ResourceType", {})])
@pytest.mark.parametrize("value", [..., None])
def test_a_field_that_older_versions_lack_may_be_absent_or_null(field, left_out, value):
    found = event(**{field: value})
    assert {name: getattr(found, name) for name in left_out} == left_out
    assert found.kind is Kind.FREEZE
    assert found.extra == {}


@pytest.mark.parametrize(("name", "kind"), [
    ("Freeze", Kind.FREEZE), ("Reboot", Kind.REBOOT), ("Redeploy", Kind.REDEPLOY), ("Preempt", Kind.PREEMPT),
    ("Terminate", Kind.TERMINATE), ("FREEZE", Kind.FREEZE)])
def test_the_five_kinds_are_known_in_any_case(name, kind):
    assert (event(EventType=name).kind, event(EventType=name).extra) == (kind, {})


@pytest.mark.parametrize("name", ["Defrost", "Unannounced", "live-migration", "unknown", ""])
def test_a_kind_we_do_not_know_is_unknown_and_kept_by_its_name(name):
    """What is only noticed by ourselves cannot be announced."""
    assert (event(EventType=name).kind, event(EventType=name).extra) == (Kind.UNKNOWN, {"EventType": name})


@pytest.mark.parametrize(("status", "started", "extra"), [
    ("Scheduled", False, {}), ("Started", True, {}), ("STARTED", True, {}), ("started ", True, {}),
    ("Postponed", False, {"EventStatus": "Postponed"}), (3, False, {"EventStatus": "3"})])
def test_only_started_has_started(status, started, extra):
    assert (event(EventStatus=status).started, event(EventStatus=status).extra) == (started, extra)
    assert event(EventStatus=status).odd_status == extra.get("EventStatus")


@pytest.mark.parametrize("status", ["Completed", "Canceled", "CANCELLED", " completed"])
def test_an_event_that_is_over_by_its_status_is_not_listed_any_more(status):
    """The document is whole all the same: what left it so has left it."""
    found = read(document(entry(EventStatus=status), entry(EventId="other")))
    assert [known.id for known in found.events] == ["other"] and found.left_out == ""


@pytest.mark.parametrize("text", [
    "Fri, 20 Nov 2026 10:15:00 GMT", "Mon, 20 Nov 2026 10:15:00 GMT", "20 Nov 2026 10:15:00 GMT",
    "Fri, 20 Nov 2026 11:15:00 +0100", "2026-11-20T10:15:00Z", "2026-11-20T12:15:00+02:00", "2026-11-20T10:15:00",
    "2026-11-20T10:15:00.0000000Z", " Fri, 20 Nov 2026 10:15:00 GMT "])
def test_every_form_of_not_before_that_was_met_is_read(text):
    """Also with a weekday that is wrong, as in the vendor's own examples."""
    found = event(NotBefore=text)
    assert (found.not_before, found.extra) == (DUE, {})


@pytest.mark.parametrize("text", ["soon", "20261120", "2026-11-20", "Fri, 99 Nov 2026 10:15:00 GMT", ":", ":" * 99,
                                  "0001-01-01T00:00:00+14:00", "Fri, 20 Nov 2026 10:15:00 +99999999"])
def test_an_unreadable_not_before_is_none_and_kept(text):
    found = event(NotBefore=text)
    assert (found.not_before, found.extra["NotBefore"]) == (None, text)


def test_not_before_is_empty_once_started():
    found = event(EventStatus="Started", NotBefore="")
    assert (found.started, found.not_before, found.extra) == (True, None, {})


@pytest.mark.parametrize(("raw", "length_s", "kept"), [
    ("9", 9.0, False), ("0", 0.0, False), ("2.5", 2.5, False), ("-1", None, False), ('"30"', 30.0, True),
    ('"long"', None, True), ("true", None, True), ("1e999", None, True), ("-1e999", None, True), ("NaN", None, True),
    ("1e12", None, True), ("-7", None, True), ("[9]", None, True),
    pytest.param("9" * 5000, None, True, id="5000 digits")])
def test_the_expected_pause_is_a_length_or_not_known(raw, length_s, kept):
    body = document(entry(DurationInSeconds=-12345)).replace(b"-12345", raw.encode())
    (found,) = read(body).events
    assert (found.expected_pause_s, "DurationInSeconds" in found.extra) == (length_s, kept)


@pytest.mark.parametrize(("raw", "text"), [(1, "1"), ("1", "1"), (None, ""), (10**30, "1e+30"), ([2], "[2]")])
def test_the_incarnation_may_be_anything(raw, text):
    assert read(document(incarnation=raw)).incarnation == text


def test_resources_are_kept_as_received_and_what_is_no_name_is_still_a_resource():
    """An entry we cannot read must not make an event look as if it concerned this VM alone."""
    assert event(Resources=["db-1", "DB_2"]).resources == ("db-1", "DB_2")
    assert event(Resources="db-1").resources == ("db-1",)
    assert event(Resources=["db-1", 4, {"name": "x"}]).resources == ("db-1", "4", '{"name": "x"}')
    assert event(Resources=[]).resources == ()
    assert event(Resources="db-1").extra == {"Resources": "db-1"}


def test_fields_we_do_not_know_are_kept_as_text():
    found = event(Impact="High", Retries=3, Detail={"rack": "é"}, Nothing=None, ResourceType="Host")
    assert found.extra == {"Impact": "High", "Retries": "3", "Detail": '{"rack": "é"}', "ResourceType": "Host"}


def test_hostile_text_can_be_stored_and_stays_text():
    """No NUL and no half character reaches a database or an environment; no field is longer than a page."""
    found = event(Description="\x1b[2J\0<script>\ud83d" + "x" * 9000, Resources=["a\0b\udfff"],
                  **{"k\0\ud800": {"deep": "\ud800"}})
    texts = [found.description, *found.resources, *found.extra, *found.extra.values()]
    assert all("\0" not in text and text.encode() and len(text) <= 4096 for text in texts)
    assert found.description.startswith("\x1b[2J\ufffd<script>")


def test_an_unknown_field_as_deep_as_the_reader_goes_does_no_harm():
    deep = b"[" * 900 + b"]" * 900
    (found,) = read(document(entry(Odd=12345)).replace(b"12345", deep)).events
    assert set(found.extra) == {"Odd"}


def test_two_ids_that_differ_beyond_ascii_case_are_two_events():
    """Folding as for people would take ß and SS, K and the Kelvin sign, for one letter: one event would hide the other."""
    for one, other in (("stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"), ("k-1", "\N{KELVIN SIGN}-1"), ("\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK CAPITAL LETTER ALPHA}")):
        assert len(read(document(entry(EventId=one), entry(EventId=other))).events) == 2
        (found,) = read(document(entry(Resources=[one]), entry(Resources=[other]))).events
        assert found.resources == (one, other)


def test_one_id_listed_twice_is_one_event_and_started_wins():
    """Ids are compared without case; every VM that either entry names is concerned."""
    lower = entry()["EventId"].lower()
    late = entry(EventId=lower, EventStatus="Started", NotBefore="", Resources=["db-2"])
    for body in (document(entry(), late), document(late, entry())):
        (found,) = read(body).events
        assert (found.started, found.id, {name.lower() for name in found.resources}) == (True, lower, {"db-1", "db-2"})
    assert len(read(document(entry(), entry(EventId="other"))).events) == 2


def test_an_acknowledgement_sends_the_id_back_as_it_came():
    assert write_acknowledgement("aB-3") == b'{"StartRequests":[{"EventId":"aB-3"}]}'
    assert json.loads(write_acknowledgement('"} é')) == {"StartRequests": [{"EventId": '"} é'}]}


def test_the_identity_comes_from_the_compute_branch():
    body = json.dumps({"name": "pool_3", "vmId": "9c-1", "vmScaleSetName": "pool", "resourceId": "/subscriptions/s/x",
                       "tags": "", "osProfile": {"computerName": "pool000003"}}).encode()
    assert read_identity(body) == VmIdentity("pool_3", "9c-1")
    assert read_identity(b'{"name":"alone"}') == VmIdentity("alone")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"name":""}', b'{"name":null}', b'{"name":"a\\u0000"}', b"me"])
def test_an_identity_without_a_name_is_none(body):
    with pytest.raises(NotADocument):
        read_identity(body)


def test_noise_is_read_or_refused_and_never_anything_else():
    """Documents with bytes and values changed at random; the seed is printed."""
    seed = time.time_ns()
    print("seed", seed)
    dice = random.Random(seed)
    values = ["null", "-1", "1e999", '""', '"\\ud800"', "[]", "{}", "[[1]]", "true", '"Started"', '"9:9:9 99999"']
    for _ in range(1500):
        body = bytearray(document(entry(**{dice.choice(list(entry())): "@"}), entry(EventId="b"), incarnation="@")
                         .replace(b'"@"', dice.choice(values).encode()))
        for _ in range(dice.choice([0, 0, 1, 3])):
            body[dice.randrange(len(body))] = dice.randrange(256)
        try:
            json.dumps([(e.id, e.extra, e.resources, e.description) for e in read(bytes(body)).events]).encode()
        except NotADocument as error:
            assert 10 < len(str(error)) < 120


def test_noise_for_a_time_is_a_moment_or_none():
    seed = time.time_ns()
    print("seed", seed)
    dice = random.Random(seed)
    parts = ["Fri,", "20", "Nov", "2026", "10:15:00", "GMT", "+0100", "-9999", "99:99", "T", "Z", "-", ":", "é", "("]
    for _ in range(3000):
        found = read_time(dice.choice(["", " "]).join(dice.choices(parts, k=dice.randrange(1, 9))))
        assert found is None or found.utcoffset() == timedelta(0)


def test_a_moment_at_the_edge_of_time_leaves_room_to_count_from_it():
    """An answer's Date of the year 1, less the time since the boot, would be an exception at each poll."""
    for text in ("Mon, 01 Jan 0001 00:00:00 GMT", "0001-01-01T00:00:00Z", "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z"):
        at = read_time(text)
        assert at is not None and at - timedelta(days=365) < at < at + timedelta(days=365)
