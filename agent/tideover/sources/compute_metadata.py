"""The words and formats of Google Compute Engine's metadata server; their events and the kind of each. Pure.

Yandex Cloud has the same keys and words. No key names an event, so the ids are made here, from what does not change
while the event lasts. Formats: cloud.google.com/compute/docs, "Get live migration notices", "Monitor and plan for a
host maintenance event", "Spot VMs"; Google's own agents and samples for what those leave open.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from tideover.model import Event, Kind
from tideover.sources import NotADocument, read_time
from tideover.text_safety import make_storable

MIGRATE_NOTICE_S = 60.0          # from the change of the key to the live migration
LONGEST_TEXT = 256               # of a word, or of one field of the record


class HostAction:
    """The words of instance/maintenance-event."""

    NONE = "NONE"
    MIGRATE = "MIGRATE_ON_HOST_MAINTENANCE"
    TERMINATE = "TERMINATE_ON_HOST_MAINTENANCE"


WORDS: Mapping[str, str] = MappingProxyType({
    HostAction.NONE: HostAction.NONE, HostAction.MIGRATE: HostAction.MIGRATE,
    HostAction.TERMINATE: HostAction.TERMINATE,
    "SHUTDOWN_ON_HOST_MAINTENANCE": HostAction.TERMINATE,        # in old samples only
})


@dataclass(frozen=True, slots=True)
class UpcomingMaintenance:
    """instance/upcoming-maintenance: a maintenance of which the window is known."""

    starts_at: datetime | None
    ends_at: datetime | None
    facts: Mapping[str, str] = field(default_factory=dict)       # all that it says, as text, for the record


@dataclass(frozen=True, slots=True)
class MetadataKeys:
    """The keys of one poll. `now`: the platform's clock. `first`: no earlier poll of this agent saw any. `drift_token`:
    the number that a live migration changes; "": not known."""

    host_action: str
    is_preempted: bool
    upcoming: UpcomingMaintenance | None
    now: datetime
    first: bool = False
    drift_token: str = ""


@dataclass(frozen=True, slots=True)
class VmFacts:
    """What decides how maintenance shows in this VM. `migrates`: scheduling/on-host-maintenance; `restarts`:
    scheduling/automatic-restart. The notices are the owner's word: no key has them."""

    name: str
    vm_id: str
    migrates: bool = True
    restarts: bool = True
    terminate_notice_s: float = 60.0
    preempt_notice_s: float = 0.0


def read_host_action(body: bytes) -> str:
    """Given the body of instance/maintenance-event, return its word. Raise NotADocument for any other."""
    text = _read_text(body)
    if text not in WORDS:
        raise NotADocument(f"instance/maintenance-event says {text[:LONGEST_TEXT]!r}, which is no word of it")
    return WORDS[text]


def read_flag(key: str, body: bytes) -> bool:
    """Given a key and the body of its answer, return TRUE or FALSE as a boolean. Raise NotADocument."""
    text = _read_text(body).upper()
    if text not in ("TRUE", "FALSE"):
        raise NotADocument(f"{key} says {text[:LONGEST_TEXT]!r}, which is neither TRUE nor FALSE")
    return text == "TRUE"


def read_name(key: str, body: bytes) -> str:
    """Given a key and the body of its answer, return it as a name or an id. Raise NotADocument."""
    text = _read_text(body)
    if not text or len(text) > LONGEST_TEXT or not text.isprintable():
        raise NotADocument(f"{key} is no name")
    return text


def read_drift_token(body: bytes) -> str:
    """Given the body of instance/virtual-clock/drift-token, return its number as text. Raise NotADocument."""
    text = _read_text(body)
    if len(text) > LONGEST_TEXT or not re.fullmatch("-?[0-9]+", text):
        raise NotADocument(f"instance/virtual-clock/drift-token says {text[:LONGEST_TEXT]!r}, which is no whole number")
    return text


def read_upcoming(body: bytes) -> UpcomingMaintenance | None:
    """Given the body of instance/upcoming-maintenance?alt=json, return the maintenance; None where there is none.

    Nothing is planned: NONE, an empty object, or one with an `error` alone. Without `alt=json` it is lines of a key and
    a value, which are read too. Raise NotADocument for anything else.
    """
    text = _read_text(body)
    if text in ("", HostAction.NONE, "null"):
        return None
    facts = _read_facts(text)
    if facts.get("type", "").upper() == "NONE" or not facts or set(facts) == {"error"}:
        return None
    if "window_start_time" not in facts and "maintenance_status" not in facts:
        raise NotADocument("instance/upcoming-maintenance has neither a window nor a status")
    starts_at, ends_at = (read_time(facts.get(name, "")) for name in ("window_start_time", "window_end_time"))
    return UpcomingMaintenance(starts_at, ends_at, facts)


def _read_facts(text: str) -> dict[str, str]:
    if not text.startswith(("{", "[", '"')):
        pairs = [line.partition(" ") for line in text.splitlines() if line.strip()]
        if not all(re.fullmatch("[a-z_]+", name) and value for name, _, value in pairs):
            raise NotADocument("instance/upcoming-maintenance is neither JSON nor lines of a key and a value")
        return {name: _as_text(value.strip()) for name, _, value in pairs}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NotADocument("instance/upcoming-maintenance is not JSON") from None
    if not isinstance(found, dict):
        raise NotADocument("instance/upcoming-maintenance is JSON, but no object")
    return {_snake_case(name): _as_text(value) for name, value in found.items()}


def _snake_case(name: str) -> str:
    """The API writes windowStartTime where the metadata server has window_start_time."""
    return re.sub("(?<=[a-z])([A-Z])", r"_\1", make_storable(name, LONGEST_TEXT)).lower().replace("-", "_")


def _as_text(value: object) -> str:
    return make_storable(value if isinstance(value, str) else json.dumps(value), LONGEST_TEXT)


def _read_text(body: bytes) -> str:
    try:
        return body.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise NotADocument("the answer is no text") from None


# --- Events

MAINTENANCE, UPCOMING, PREEMPTION = "maintenance", "upcoming", "preemption"
"""What an event's id begins with: one of each can be listed at once."""
ACTION_KEY = "maintenance-event"
"""The odd field of an event that this key has shown."""
DRIFT_KEY = "drift-token"
"""… and of one that began with this token: another one shows that the live migration has taken place."""


def events_of(keys: MetadataKeys, vm: VmFacts, known: tuple[Event, ...]) -> tuple[Event, ...]:
    """Given the keys of a poll, what is known of the VM and the events of the poll before (or of the journal, at a
    start), return the events that are listed now. An event that goes on keeps its id.

    A maintenance that shows in both keys while its window is open is one event, by the id it had first. A live
    migration that the drift token proves, and that is over already, shows as started once and is gone in the next poll.
    """
    before = {event.id.partition("-")[0]: event for event in known}
    under_way = next((event for event in known if ACTION_KEY in event.extra), None)
    upcoming, action = keys.upcoming, keys.host_action
    listed: list[Event] = []
    was_one = under_way is not None and under_way.id.startswith(UPCOMING)
    is_one = upcoming is not None and action != HostAction.NONE and (was_one or _covers(upcoming, keys.now))
    if upcoming is not None and not is_one:
        listed.append(_upcoming_event(upcoming, vm, before.get(UPCOMING), keys))
    if action != HostAction.NONE:
        same = under_way or (before.get(UPCOMING) if is_one else None)
        listed.append(_maintenance_event(action, vm, same, keys))
    elif under_way is not None and not under_way.started and _has_moved(under_way, keys.drift_token):
        listed.append(replace(under_way, started=True))
    if keys.is_preempted:
        listed.append(_preemption_event(vm, before.get(PREEMPTION), keys))
    return tuple(listed)


def _covers(upcoming: UpcomingMaintenance, now: datetime) -> bool:
    begins = upcoming.starts_at is None or upcoming.starts_at <= now + timedelta(seconds=MIGRATE_NOTICE_S)
    return begins and (upcoming.ends_at is None or now <= upcoming.ends_at)


def awaits_proof(events: Iterable[Event]) -> bool:
    """Given what is known, return whether a live migration is announced that the drift token may prove."""
    return any(ACTION_KEY in event.extra and not event.started for event in events)


def _has_moved(event: Event, drift_token: str) -> bool:
    before = event.extra.get(DRIFT_KEY, "")
    return event.kind is Kind.FREEZE and "" not in (before, drift_token) and before != drift_token


def _maintenance_event(action: str, vm: VmFacts, same: Event | None, keys: MetadataKeys) -> Event:
    """The key tells neither when the host acts nor that it does: it acts when the notice is over. One that is there at
    the first look has been there for an unknown time; a live migration may be over."""
    migrates = action == HostAction.MIGRATE
    kind = Kind.FREEZE if migrates else Kind.REDEPLOY if vm.restarts else Kind.TERMINATE
    if same is not None and ACTION_KEY in same.extra:
        going_on = replace(same, kind=kind, started=same.started or _has_moved(same, keys.drift_token))
        return _begun_by_time(going_on, keys.now, starts=migrates)
    notice_s = MIGRATE_NOTICE_S if migrates else vm.terminate_notice_s
    not_before = None if keys.first and same is None else keys.now + timedelta(seconds=notice_s)
    words = "live migration to another host" if migrates else "the VM is stopped for maintenance of its host"
    event = Event(_id(MAINTENANCE, vm, keys.now), kind, (vm.name,), not_before=not_before,
                  started=keys.first and same is None and migrates, description=words, source="gcp",
                  takes_acknowledgement=False,
                  extra={ACTION_KEY: action, **({DRIFT_KEY: keys.drift_token} if keys.drift_token else {})})
    return replace(event, id=same.id) if same is not None else event


def _upcoming_event(upcoming: UpcomingMaintenance, vm: VmFacts, same: Event | None, keys: MetadataKeys) -> Event:
    """ONGOING says that the window is open, not that anything has begun."""
    kind = Kind.FREEZE if vm.migrates else Kind.REDEPLOY if vm.restarts else Kind.TERMINATE
    event_id = same.id if same is not None else _id(UPCOMING, vm, keys.now)
    return Event(event_id, kind, (vm.name,), not_before=upcoming.starts_at, description="planned host maintenance",
                 source="gcp", takes_acknowledgement=False, extra=upcoming.facts)


def _preemption_event(vm: VmFacts, same: Event | None, keys: MetadataKeys) -> Event:
    if same is not None:
        return _begun_by_time(same, keys.now, starts=True)
    not_before = keys.now + timedelta(seconds=vm.preempt_notice_s) if vm.preempt_notice_s and not keys.first else None
    return Event(_id(PREEMPTION, vm, keys.now), Kind.PREEMPT, (vm.name,), not_before=not_before,
                 started=not_before is None, description="this Spot VM is preempted", source="gcp",
                 takes_acknowledgement=False)


def _begun_by_time(event: Event, now: datetime, *, starts: bool) -> Event:
    """The platform never says that an event starts: it does when its notice is over."""
    over = starts and event.not_before is not None and now >= event.not_before
    return replace(event, started=event.started or over)


def _id(word: str, vm: VmFacts, now: datetime) -> str:
    return f"{word}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{vm.vm_id}"
