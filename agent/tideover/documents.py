"""The types of every JSON document that commands print (record, status, history, fleet …), and their JSON Schemas.
Pure.

A field that is not known has null. Lengths are seconds, timestamps UTC with milliseconds. Later versions may add fields
under the same number of schema; readers ignore what they do not know.
"""
from __future__ import annotations

import enum
import re
from types import NoneType, UnionType
from typing import Annotated, Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from tideover.lifecycle import Phase, Stage
from tideover.model import Cause, HookOutcome, HookPhase, Kind, Outcome, Quality, Verdict
from tideover.settings.values import Mode

SCHEMA = 1
"""The number in every document; it grows when a field goes or changes its meaning."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Timestamp = Annotated[str, re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
KindWord = Annotated[str, Kind]
SLOT_WORDS = ("granted", "not-granted", "waiting", "released")


# --- The record

class HookRunDocument(TypedDict):
    name: str
    kind: Annotated[str, ("hook", "application")]
    phase: Annotated[str, HookPhase]
    attempt: int
    outcome: Annotated[str, HookOutcome]
    exit_status: int | None
    started_at: Timestamp | None
    duration_s: float | None
    limit_s: float | None
    output: str
    note: str


class ChangeDocument(TypedDict):
    before: str
    after: str


class PauseDocument(TypedDict):
    id: str
    resumed_at: Timestamp
    length_s: float | None
    uncertainty_s: float | None
    cause: Annotated[str, Cause]
    evidence: list[str]
    quality: Annotated[str, Quality]
    clocksource: ChangeDocument | None
    host: ChangeDocument | None


class ListedPauseDocument(PauseDocument):
    event_ids: list[str]


class ClockSampleDocument(TypedDict):
    at: Timestamp
    server: str
    offset_s: float | None
    delay_s: float | None
    error_bound_s: float | None


class FollowedDocument(TypedDict):
    at: Timestamp
    what: str
    offset_s: float | None


class ClockDocument(TypedDict):
    verdict: Annotated[str, Verdict]
    offset_s: float | None          # positive: this machine is ahead
    error_bound_s: float | None
    checked_at: Timestamp | None
    good_after_s: float | None
    reason: str
    tolerance_s: float | None
    followed: list[FollowedDocument]
    samples: list[ClockSampleDocument]


class TimelineDocument(TypedDict):
    at: Timestamp
    what: str
    note: str


class RecordDocument(TypedDict):
    event_id: str
    source: str | None
    kind: KindWord | None
    status: Annotated[str, Phase]
    outcome: Annotated[str, Outcome] | None
    event_source: str | None
    description: str | None
    resources: list[str]
    expected_pause_s: float | None
    extra: dict[str, str]
    trace_id: str
    noticed_at: Timestamp
    not_before: Timestamp | None
    notice_s: float | None
    acknowledged_at: Timestamp | None
    acknowledged_by: str | None
    started_at: Timestamp | None
    ended_at: Timestamp | None
    closed_at: Timestamp | None
    hooks: list[HookRunDocument]
    pauses: list[PauseDocument]
    clock: ClockDocument
    timeline: list[TimelineDocument]


class HistoryDocument(TypedDict):
    schema: Annotated[int, (SCHEMA,)]
    events: list[RecordDocument]


class PausesDocument(TypedDict):
    schema: Annotated[int, (SCHEMA,)]
    pauses: list[ListedPauseDocument]


# --- The status

class EventStatusDocument(TypedDict):
    event_id: str
    kind: KindWord
    phase: Annotated[str, Phase]
    ours: bool
    waiting_for: str
    resources: list[str]
    description: str
    event_source: str
    not_before: Timestamp | None
    seconds_left: float | None
    expected_pause_s: float | None
    acknowledged: bool
    acknowledgements_sent: int
    started: bool
    listed: bool
    wakes_in_s: float | None
    why: str


class HookStatusDocument(TypedDict):
    name: str
    kind: Annotated[str, ("hook", "application")]
    order: int
    file: str                       # of an application: its name
    connected: bool | None          # of an application
    stage: Annotated[str, Stage]
    phase: Annotated[str, HookPhase] | None
    attempt: int
    running_s: float | None
    limit_s: float | None
    timeout_s: float
    required: bool
    worked: bool | None
    refused: bool | None
    event_id: str | None
    again_in_s: float | None
    failures: int


class ClockStatusDocument(TypedDict):
    verdict: Annotated[str, Verdict]
    offset_s: float | None
    error_bound_s: float | None
    checked_at: Timestamp | None
    reason: str


class CatalogueDocument(TypedDict):
    ready: int
    refused: list[str]
    disabled: list[str]


class AgentDocument(TypedDict):
    alive: bool
    pid: int | None
    version: str | None
    started_at: Timestamp | None
    why: str                        # why it does not answer; "": this is its own answer


class JournalStatusDocument(TypedDict):
    writable: bool
    reason: str


class SourceStatusDocument(TypedDict):
    kind: str
    platform: str
    silence: str | None             # why no events can be received; null: they can
    takes_acknowledgement: bool
    last_answer_at: Timestamp | None
    silent_s: float                 # since the last answer, or since the start
    failures: int
    reason: str


class StoreStatusDocument(TypedDict):
    """This machine's part in its fleet, and how the store answers."""

    store: str
    group: str
    slots: int                      # 0: no limit
    last_answer_at: Timestamp | None
    failing_since: Timestamp | None
    reason: str                     # why it does not answer


class StateDocument(TypedDict):
    """What the state and the record say."""

    vm_name: str | None
    waiting_for: str
    events: list[EventStatusDocument]
    next_event: EventStatusDocument | None
    last_pause: ListedPauseDocument | None
    clock: ClockStatusDocument | None
    hooks: list[HookStatusDocument]
    recover_pending: list[str]
    applications: list[str]         # those that are connected
    applications_never_connected: list[str] | None      # of the configuration's, since the agent's start
    events_left_out: int


class AgentStatusDocument(StateDocument):
    """The answer of the agent to `status`; without an agent, what its journal says: source and journal are null."""

    mode: Annotated[str, get_args(Mode)]
    agent: AgentDocument
    journal: JournalStatusDocument | None
    source: SourceStatusDocument | None
    fleet: StoreStatusDocument | None       # null: [fleet] has no store


class ShownStatusDocument(AgentStatusDocument):
    """What the command `status` shows."""

    events_of_others: int           # that are left out of `events`
    catalogue: CatalogueDocument


class StatusDocument(ShownStatusDocument):
    """What `tideover status --json` has at least, with an agent and without one."""

    schema: Annotated[int, (SCHEMA,)]


# --- The fleet

class FleetEventDocument(TypedDict):
    """What one machine works on, and what it has of its group's slots."""

    digest: str                     # the event's name in the store
    event_id: str | None            # where a shared event's document or this machine's agent says it
    kind: str | None
    not_before: str | None
    slot: Annotated[str, SLOT_WORDS] | None     # null: its group has no limit, or it has not asked for one
    ready: Annotated[str, ("ready", "not-ready", "over")] | None        # null: the event names this machine alone
    why: str


class FleetMemberDocument(TypedDict):
    name: str
    vm_id: str
    phase: str | None               # null: it is idle
    events: list[FleetEventDocument]
    slots: int                      # as its configuration says; 0: no limit
    version: str
    last_change_s: float | None     # seconds since its entry was written, by the store's clock; null: it does not say
    written_at: str | None          # … by that machine's own clock


class FleetHolderDocument(TypedDict):
    """One entry in the slots of a group."""

    digest: str
    event_id: str | None
    kind: str | None
    granted: bool
    counts: bool                    # false: its machines were released
    members: list[str]
    released: list[str]


class FleetGroupDocument(TypedDict):
    name: str
    slots_used: int
    slots_allowed: int | None       # null: no limit; members may disagree
    holders: list[FleetHolderDocument]
    members: list[FleetMemberDocument]


class FleetMachineDocument(TypedDict):
    """One machine that a shared event names."""

    name: str
    state: Annotated[str, ("ready", "not-ready", "over")] | None      # null: it has not written
    has_agent: bool
    slot: bool | None
    why: str


class FleetSharedEventDocument(TypedDict):
    event_id: str
    source: str
    kind: str
    not_before: str | None
    machines: list[FleetMachineDocument]
    acknowledged_by: str | None
    claim: int                      # its number; 0: not claimed
    result: int | None              # the platform's answer


class FleetStatusDocument(TypedDict):
    """What `tideover fleet status --json` has at least."""

    schema: Annotated[int, (SCHEMA,)]
    store: str
    reachable: bool
    why: str | None                 # why the store cannot be used
    stale: bool                     # one server's knowledge, which may be old
    problems: list[str]             # the worst first
    groups: list[FleetGroupDocument]
    events: list[FleetSharedEventDocument]


DOCUMENTS = {"record": HistoryDocument, "pauses": PausesDocument, "status": StatusDocument,
             "fleet": FleetStatusDocument}


# --- From types to schemas

def document_schema(name: str) -> dict[str, Any]:
    """Given the name of a document (one of DOCUMENTS), return its JSON Schema."""
    definitions: dict[str, Any] = {}
    whole = _typed_dict(DOCUMENTS[name], definitions)
    return {"$schema": DIALECT, "title": f"The {name} document of tideover", **whole, "$defs": definitions}


def _typed_dict(made: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = get_type_hints(made, include_extras=True)
    return {"type": "object", "properties": {name: _value(hint, definitions) for name, hint in fields.items()},
            "required": list(fields)}


def _value(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if is_typeddict(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = _typed_dict(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if get_origin(hint) is Annotated:
        return _narrowed(*get_args(hint))
    if get_origin(hint) is list:
        return {"type": "array", "items": _value(get_args(hint)[0], definitions)}
    if get_origin(hint) is dict:
        of = get_args(hint)[1]
        return {"type": "object"} if of is Any else {"type": "object", "additionalProperties": _value(of, definitions)}
    if get_origin(hint) is UnionType or len(get_args(hint)) > 1:
        return {"anyOf": [_value(one, definitions) for one in get_args(hint)]}
    return {"type": {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}[hint]}


def _narrowed(hint: Any, rule: Any) -> dict[str, Any]:
    if isinstance(rule, re.Pattern):
        return {"type": "string", "pattern": rule.pattern}
    if isinstance(rule, type) and issubclass(rule, enum.Enum):
        return {"enum": [member.value for member in rule]}
    return {"enum": list(rule)}
