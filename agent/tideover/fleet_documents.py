"""The documents in the fleet's store (member, slots, shared event): their keys, fields, JSON and size limits. Pure.

Each document names the random id of the write that made it (`write`), so that an agent whose request got no answer
recognises its own write when it reads again. What this version does not know (`extra`) is kept when a document is
written, so that the next version's agents work in one fleet with this one's.
"""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from tideover.model import NOT_READY, OVER, READY, fold_case

SCHEMA = 1
LAYOUT = "v1"
"""Part of each key: agents that cannot share documents with these use another one."""

LARGEST_BYTES = 1_000_000
"""A document beyond this is refused: that of an event of 1 000 machines has 150 kB; etcd takes 1.5 MB."""

NAME_LENGTH = 128           # of a name in a key
TEXT_LENGTH = 300           # of a reason (`why`)
LARGEST_NUMBER = 1 << 53    # every JSON library keeps an integer up to this

KEPT_AT_MOST = 16
"""So many decoded documents are kept: an agent that waits reads the same ones each second, mostly unchanged."""

READINESS = frozenset({READY, NOT_READY, OVER})

_NOT_IN_KEYS = re.compile(r"[^a-z0-9._-]")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _EMPTY


class UnusableDocument(ValueError):
    """What a key holds is not to be written over. `is_newer`: another version of this agent wrote it; else it is no
    document of a fleet. The text is one sentence with the key."""

    def __init__(self, text: str, *, is_newer: bool = False) -> None:
        super().__init__(text)
        self.is_newer = is_newer


# --- Keys

def member_key(name: str, vm_id: str) -> str:
    """Given a VM's name and the platform's id of it, return the key of its entry: two VMs of one name have two."""
    digest = _digest(fold_case(vm_id))[:12]
    return f"{members_prefix()}{_in_key(name)}-{digest}"


def slots_key(group: str) -> str:
    """Given a group, return the key of its slots."""
    return f"{groups_prefix()}{_in_key(group)}/slots"


def event_key(digest: str) -> str:
    """Given an event's digest, return the key of its document."""
    return f"{events_prefix()}{digest}"


def members_prefix() -> str:
    return f"{LAYOUT}/members/"


def groups_prefix() -> str:
    return f"{LAYOUT}/groups/"


def events_prefix() -> str:
    return f"{LAYOUT}/events/"


@lru_cache(KEPT_AT_MOST)
def event_digest(source: str, event_id: str) -> str:
    """Given an event, return its name in the store, 32 hexadecimal digits: the same for every spelling of its id."""
    return _digest(f"{source}\n{fold_case(event_id)}")[:32]


def _digest(text: str) -> str:
    """Also of halves of surrogate pairs, which a document of other agents may have brought."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _in_key(name: str) -> str:
    return _NOT_IN_KEYS.sub("_", fold_case(name))[:NAME_LENGTH]


# --- The documents

@dataclass(frozen=True, slots=True)
class MemberDocument:
    """What one agent says of itself. `events`: digests of the events it works on; `phase`: that of the first of them,
    "" when it is idle; `slots`: as its configuration says; `beat` rises with each write; `at`: when that was, by the
    machine's clock, for people; `failed`: names of hooks whose recovery has failed for good."""

    name: str
    vm_id: str
    boot_id: str = ""
    group: str = "default"
    slots: int = 0
    version: str = ""
    phase: str = ""
    events: tuple[str, ...] = ()
    beat: int = 0
    at: str = ""
    failed: tuple[str, ...] = ()
    write: str = ""
    extra: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class SlotMember:
    """One machine that prepares for an event, or is away for it. `released`: an operator gave up its part."""

    vm_id: str
    boot_id: str = ""
    released: bool = False
    extra: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class Holder:
    """One event that has a slot of the group, or is prepared for without one (not `granted`).

    `event`: its digest; `machines`: the folded names of all machines it names; `members`: folded name -> those of the
    group that have entered; `not_before`: RFC 3339 or "", for people; `taken_from`: the silent machines whose entry
    made room for it; `waits`: the notice was too short to wait for a slot, and one that becomes free is its. A grant
    that was lost comes back in no case: other machines' grants may have been lost with it.
    """

    event: str
    granted: bool
    kind: str = ""
    not_before: str = ""
    machines: tuple[str, ...] = ()
    members: Mapping[str, SlotMember] = field(default_factory=_nothing)
    taken_from: tuple[str, ...] = ()
    waits: bool = False
    extra: Mapping[str, Any] = field(default_factory=_nothing)

    @property
    def counts(self) -> bool:
        """Whether any machine still stands for it that no operator has released."""
        return any(not member.released for member in self.members.values())


@dataclass(frozen=True, slots=True)
class SlotsDocument:
    """The slots of one group, in the order of entry."""

    holders: tuple[Holder, ...] = ()
    write: str = ""
    extra: Mapping[str, Any] = field(default_factory=_nothing)

    def holder(self, digest: str) -> Holder | None:
        """Given an event's digest, return its entry."""
        return next((one for one in self.holders if one.event == digest), None)


@dataclass(frozen=True, slots=True)
class EventMember:
    """What one machine says of itself in a shared event. `slot`: whether its group granted one; None: its group has no
    limit. `rival`: the id of another VM of this name whose entry this one replaced; `disputed`: that one writes too."""

    state: str
    slot: bool | None = None
    why: str = ""
    vm_id: str = ""
    boot_id: str = ""
    rival: str = ""
    disputed: bool = False
    extra: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who sends the acknowledgement of a shared event. `by`: folded name, None: the claim was passed on by `last`;
    `vm_id`: of the claimant; `n` rises with each claim; `result`: the platform's status code, None: not known yet."""

    by: str | None
    n: int
    vm_id: str = ""
    result: int | None = None
    last: str = ""
    extra: Mapping[str, Any] = field(default_factory=_nothing)

    @property
    def is_open(self) -> bool:
        """Whether the acknowledgement may be sent at any moment, or has been sent without a known answer."""
        return self.by is not None and self.result is None


@dataclass(frozen=True, slots=True)
class EventDocument:
    """One event that names several machines. `members`: folded name -> what it says of itself."""

    event_id: str
    source: str
    kind: str = ""
    resources: tuple[str, ...] = ()
    not_before: str = ""
    members: Mapping[str, EventMember] = field(default_factory=_nothing)
    acknowledgement: Claim | None = None
    write: str = ""
    extra: Mapping[str, Any] = field(default_factory=_nothing)


FleetDocument = MemberDocument | SlotsDocument | EventDocument
Made = TypeVar("Made")


# --- JSON

def encode(document: FleetDocument) -> bytes:
    """Given a document, return its JSON."""
    return json.dumps({"schema": SCHEMA, **_as_json(document)}, separators=(",", ":")).encode()


def decode_member(key: str, value: bytes) -> MemberDocument:
    """Given a key and what the store holds there, return the member's entry. Raise UnusableDocument."""
    return _decode(key, value, _member)


@lru_cache(KEPT_AT_MOST)
def decode_slots(key: str, value: bytes) -> SlotsDocument:
    """Given a key and what the store holds there, return the group's slots. Raise UnusableDocument."""
    return _decode(key, value, _slots)


@lru_cache(KEPT_AT_MOST)
def decode_event(key: str, value: bytes) -> EventDocument:
    """Given a key and what the store holds there, return the shared event. Raise UnusableDocument."""
    return _decode(key, value, _event)


def _as_json(noun: Any) -> dict[str, Any]:
    """The members of a dataclass, and beside them those it does not know. What is as it is by default is left out: each
    byte of an entry stays in the history of an etcd, once an hour and member. By its holders a document of slots is
    known, so they stay, also when there are none."""
    given = ((name, getattr(noun, name), default) for name, default in _members_of(noun.__class__))
    return {**noun.extra, **{name: _value(value) for name, value, default in given if value != default}}


@cache
def _members_of(kind: type) -> tuple[tuple[str, Any], ...]:
    """The members of a dataclass with what they are by default: those that stay have none."""
    return tuple((one.name, MISSING if one.name == "holders" else _EMPTY if one.default_factory is _nothing
                  else one.default) for one in fields(kind) if one.name != "extra")


def _value(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        return [_value(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _value(one) for name, one in value.items()}
    return _as_json(value) if hasattr(value, "__dataclass_fields__") else value


def _decode(key: str, value: bytes, make: Callable[[_Given], Made]) -> Made:
    not_ours = f"the store's key {key} holds no document of a fleet"
    if len(value) > LARGEST_BYTES:
        raise UnusableDocument(f"{not_ours}: it has {len(value):,} bytes")
    try:
        known = json.loads(value)
    except (ValueError, RecursionError):
        raise UnusableDocument(f"{not_ours}: it is not JSON") from None
    schema = known.get("schema") if isinstance(known, dict) else None
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < SCHEMA:
        raise UnusableDocument(f"{not_ours}: it has no schema number")
    if schema > SCHEMA:
        raise UnusableDocument(f"the store's key {key} was written by a newer version of tideover (schema {schema}, "
                               f"this version knows {SCHEMA}): update this machine", is_newer=True)
    try:
        return make(_Given({name: one for name, one in known.items() if name != "schema"}))
    except _Misfit as misfit:
        raise UnusableDocument(f"{not_ours}: {misfit}") from None


class _Misfit(Exception):
    """A member of a JSON object is not what it has to be."""


class _Given:
    """One JSON object while it is read: each member is taken once, checked; what is left is `rest`."""

    def __init__(self, known: Any) -> None:
        if not isinstance(known, dict):
            raise _Misfit("an object is something else")
        self._left: dict[str, Any] = dict(known)

    def take(self, name: str, kinds: type | tuple[type, ...], default: Any = None) -> Any:
        value = self._left.pop(name, default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds in (int, (int, type(None)))):
            raise _Misfit(f"its member {name} is missing or of another type")
        if isinstance(value, int) and not 0 <= value <= LARGEST_NUMBER:
            raise _Misfit(f"its member {name} is out of range")
        return value

    def time(self, name: str) -> str:
        text: str = self.take(name, str, "")
        try:
            is_time = not text or datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            is_time = False
        if not is_time:
            raise _Misfit(f"its member {name} is no time with a zone")
        return text

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list, [])
        if not all(isinstance(one, str) for one in values):
            raise _Misfit(f"its member {name} is not a list of texts")
        return tuple(values)

    def each(self, name: str, make: Callable[[_Given], Made]) -> Mapping[str, Made]:
        return MappingProxyType({key: make(_Given(one)) for key, one in self.take(name, dict, {}).items()})

    def rest(self) -> Mapping[str, Any]:
        return MappingProxyType(self._left) if self._left else _EMPTY


_OPTIONAL_TEXT, _OPTIONAL_BOOL, _OPTIONAL_INT = (str, type(None)), (bool, type(None)), (int, type(None))


def _member(given: _Given) -> MemberDocument:
    return MemberDocument(
        given.take("name", str), given.take("vm_id", str), given.take("boot_id", str, ""),
        given.take("group", str, "default"), given.take("slots", int, 0), given.take("version", str, ""),
        given.take("phase", str, ""), given.texts("events"), given.take("beat", int, 0), given.time("at"),
        given.texts("failed"), given.take("write", str, ""),
        given.rest())


def _slot_member(given: _Given) -> SlotMember:
    return SlotMember(given.take("vm_id", str), given.take("boot_id", str, ""), given.take("released", bool, False),
                      given.rest())


def _holder(given: _Given) -> Holder:
    return Holder(given.take("event", str), given.take("granted", bool), given.take("kind", str, ""),
                  given.time("not_before"), given.texts("machines"), given.each("members", _slot_member),
                  given.texts("taken_from"), given.take("waits", bool, False), given.rest())


def _slots(given: _Given) -> SlotsDocument:
    holders = tuple(_holder(_Given(one)) for one in given.take("holders", list))
    if len({one.event for one in holders}) != len(holders):
        raise _Misfit("an event is entered twice")
    return SlotsDocument(holders, given.take("write", str, ""), given.rest())


def _event_member(given: _Given) -> EventMember:
    state = given.take("state", str)
    if state not in READINESS:
        raise _Misfit("the state of a member is no known word")
    return EventMember(state, given.take("slot", _OPTIONAL_BOOL), given.take("why", str, ""),
                       given.take("vm_id", str, ""), given.take("boot_id", str, ""), given.take("rival", str, ""),
                       given.take("disputed", bool, False), given.rest())


def _claim(given: _Given) -> Claim:
    return Claim(given.take("by", _OPTIONAL_TEXT), given.take("n", int), given.take("vm_id", str, ""),
                           given.take("result", _OPTIONAL_INT), given.take("last", str, ""), given.rest())


def _event(given: _Given) -> EventDocument:
    acknowledgement = given.take("acknowledgement", (dict, type(None)))
    return EventDocument(
        given.take("event_id", str), given.take("source", str), given.take("kind", str, ""), given.texts("resources"),
        given.time("not_before"), given.each("members", _event_member),
        None if acknowledgement is None else _claim(_Given(acknowledgement)),
        given.take("write", str, ""), given.rest())


def stamped(document: FleetDocument, write: str) -> FleetDocument:
    """Given a document that is to be written and a new random id, return it with that id."""
    return replace(document, write=write)
