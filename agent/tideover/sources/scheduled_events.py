"""The JSON of Azure Scheduled Events: kinds, fields, bounds of an event's texts, what is left out, StartRequests. Pure.

Lenient with what an event says, strict with which events there are. What is missing from a document counts as vanished,
so a body without a list of events is no document at all (NotADocument). An entry without a usable EventId is left out
and reported: the events beside it count, but none that is missing counts as gone, because it may be that entry.
Formats: learn.microsoft.com, "Scheduled Events for Linux VMs" and "Azure Instance Metadata Service".
"""
from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from tideover.model import Document, Event, Kind, VmIdentity, fold_case
from tideover.sources import NotADocument, read_time
from tideover.text_safety import make_storable

KINDS: Mapping[str, Kind] = MappingProxyType({
    kind.info.azure.lower(): kind for kind in Kind if kind.info.azure
})
FIELDS = frozenset({"EventId", "EventStatus", "EventType", "ResourceType", "Resources", "NotBefore", "Description",
                    "EventSource", "DurationInSeconds"})
USUAL = frozenset({"scheduled", "started"})
OVER = frozenset({"completed", "canceled", "cancelled"})
"""Statuses that the platform uses in Event Grid and Resource Graph, where an event stays after it has ended; never seen
here, where it leaves the list (learn.microsoft.com/azure/virtual-machines/scheduled-events-overview)."""

LONGEST_STATUS = 64              # of one we do not know: it is shown in a sentence
LONGEST_NAME = 256               # of an EventId or a VM: a GUID has 36 characters, a VM's name at most 64
LONGEST_TEXT = 4096              # of one odd field in the record; a body may be 1 MiB
LONGEST_EXTRA = 16 * 1024        # of all odd fields of one event together: they are written with each of its rows
LONGEST_INTEGER = 18             # digits; beyond it float is exact enough, and int() refuses 4300 and more
LONGEST_PAUSE_S = 366 * 86400.0  # a longer interruption is not announced: such a number is damage


def read_document(body: bytes, *, date: datetime | None, asked_raw_s: float, received_raw_s: float) -> Document:
    """Given an answer's body, its Date and when it was asked for and received, return the document.

    Times are seconds of CLOCK_MONOTONIC_RAW. Raise NotADocument if the body has no list of events.
    """
    fields = _read_object(body)
    listed = fields.get("Events")
    if not isinstance(listed, list):
        raise NotADocument("the answer has no list of events")
    events: dict[str, Event] = {}
    unusable: list[tuple[int, str]] = []
    for place, entry in enumerate(listed, start=1):
        if why := _why_unusable(entry):
            unusable.append((place, why))
            continue
        if _status(entry) in OVER:
            continue
        event = _read_event(entry)
        same = events.get(fold_case(event.id))
        events[fold_case(event.id)] = event if same is None else _one_of_two(same, event)
    return Document(events=tuple(events.values()), incarnation=_text(fields.get("DocumentIncarnation")), date=date,
                    asked_raw_s=asked_raw_s, received_raw_s=received_raw_s, left_out=_left_out_text(unusable))


def write_acknowledgement(event_id: str) -> bytes:
    """Given an EventId exactly as it was received, return the body of the POST that lets this one event start."""
    return json.dumps({"StartRequests": [{"EventId": event_id}]}, separators=(",", ":")).encode("ascii")


def read_identity(body: bytes) -> VmIdentity:
    """Given the JSON of /metadata/instance/compute, return who we are. Raise NotADocument if it has no usable name."""
    fields = _read_object(body)
    name = fields.get("name")
    if not _is_usable_name(name):
        raise NotADocument("the answer does not contain the name of this VM")
    return VmIdentity(name=str(name), vm_id=_text(fields.get("vmId")))


def _read_object(body: bytes) -> dict[str, object]:
    if not body.strip():
        raise NotADocument("the answer is empty")
    try:
        value = json.loads(body, parse_int=_integer)
    except RecursionError:
        raise NotADocument("the answer is nested too deeply") from None
    except ValueError:
        raise NotADocument("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise NotADocument("the answer is JSON, but not an object")
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def _why_unusable(entry: object) -> str:
    """Given an entry of the list of events, return why its event cannot be identified, "" if it can."""
    if not isinstance(entry, dict):
        return "is not an object"
    return "" if _is_usable_name(entry.get("EventId")) else "has no usable EventId"


def _left_out_text(unusable: Sequence[tuple[int, str]]) -> str:
    if not unusable:
        return ""
    (place, why), more = unusable[0], len(unusable) - 1
    return f"entry {place} of the list of events {why}" + (f", and {more} more cannot be used" if more else "")


def _read_event(entry: Mapping[str, Any]) -> Event:
    kind = KINDS.get(_text(entry.get("EventType")).strip().lower(), Kind.UNKNOWN)
    status, not_before = _status(entry), entry.get("NotBefore")
    return Event(
        id=entry["EventId"], kind=kind, resources=_read_resources(entry.get("Resources")),
        started=status == "started",
        not_before=read_time(not_before) if isinstance(not_before, str) else None,
        expected_pause_s=_read_pause(entry.get("DurationInSeconds")),
        description=_text(entry.get("Description")),
        event_source=_text(entry.get("EventSource")).strip().lower() or "platform",
        extra=_odd_fields(entry, kind),
        odd_status=None if status in USUAL else _text(entry.get("EventStatus")).strip()[:LONGEST_STATUS])


def _status(entry: Mapping[str, Any]) -> str:
    return _text(entry.get("EventStatus")).strip().lower()


def _is_usable_name(value: object) -> bool:
    """A name that can be stored, logged and put into an environment: printable, not blank, of sane length."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable() and not value.isspace()


def _read_resources(value: object) -> tuple[str, ...]:
    """An entry that is no text counts as a name, of another VM: it must not make an event look like ours alone."""
    if value is None or value == "":
        return ()
    return tuple(_text(name) for name in value) if isinstance(value, list) else (_text(value),)


def _read_pause(value: object) -> float | None:
    """Return DurationInSeconds as seconds; None for -1 (unknown by the platform's word) and for what is no length."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        length_s = float(value)
    except ValueError:
        return None
    return length_s if 0 <= length_s <= LONGEST_PAUSE_S else None


def _odd_fields(entry: Mapping[str, object], kind: Kind) -> dict[str, str]:
    """Return as text, for the record, every field that we do not know or whose value we could not take as it is."""
    duration, resources, not_before = (entry.get(name) for name in ("DurationInSeconds", "Resources", "NotBefore"))
    odd = {
        "EventType": kind is Kind.UNKNOWN,
        "EventStatus": _status(entry) not in USUAL,
        "ResourceType": entry.get("ResourceType") != "VirtualMachine",
        "Resources": not isinstance(resources, list) or not all(isinstance(name, str) for name in resources),
        "NotBefore": not_before != "" and (not isinstance(not_before, str) or read_time(not_before) is None),
        "DurationInSeconds": isinstance(duration, bool | str) or (_read_pause(duration) is None and duration != -1),
    }
    kept: dict[str, str] = {}
    room = LONGEST_EXTRA
    for name, value in entry.items():
        if value is None or not odd.get(name, name not in FIELDS):
            continue
        field, text = _text(name), _text(value)
        room -= len(field) + len(text)
        if room < 0:
            kept["(left out)"] = f"further fields: together they are longer than {LONGEST_EXTRA} characters"
            break
        kept[field] = text
    return kept


def _one_of_two(one: Event, other: Event) -> Event:
    """One id listed twice is one event: the Started entry, else the first; it concerns every VM that either names."""
    chosen = other if other.started and not one.started else one
    known = {fold_case(name) for name in one.resources}
    named = one.resources + tuple(name for name in other.resources if fold_case(name) not in known)
    return replace(chosen, resources=named)


def _text(value: object) -> str:
    """Given any JSON value, return it as text that a database, a log and an environment can hold; None becomes ""."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = _as_json(value)
    return make_storable(value, LONGEST_TEXT)


def _as_json(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deeply"
