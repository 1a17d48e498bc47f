"""The words and formats of AWS EC2's metadata: scheduled events, Spot, rebalance, Auto Scaling; their events. Pure.

Scheduled events have an id and a state of AWS's; the interruption of a Spot instance, a rebalance recommendation and an
Auto Scaling group's target state have none, so their ids are made here and go on while they are listed. Formats:
docs.aws.amazon.com, EC2 User Guide, "Scheduled events for your instances", "Spot Instance interruption notices",
"EC2 instance rebalance recommendations"; Auto Scaling User Guide, "Retrieve the target lifecycle state".
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from tideover.model import Event, Kind
from tideover.sources import NotADocument, read_time
from tideover.text_safety import make_storable

LONGEST_TEXT = 256               # of a word, or of one field of the record
OVER = frozenset({"completed", "canceled"})
"""The states of an event that is over; `active` is the other one that is documented."""
CODES: Mapping[str, Kind] = MappingProxyType({
    "instance-reboot": Kind.REBOOT,
    "system-reboot": Kind.REBOOT,
    "system-maintenance": Kind.UNKNOWN,       # of the network or of the power: only the description may say which
    "instance-stop": Kind.TERMINATE,          # it stays stopped until it is started, then on another host
    "instance-retirement": Kind.TERMINATE,
})
MAINTENANCE_OF: Mapping[str, Kind] = MappingProxyType({"network": Kind.FREEZE, "power": Kind.REBOOT})
LIFECYCLE_TERMINATED = "Terminated"
LIFECYCLE_STATES = frozenset({"InService", "Standby", "Detached", "Stopped", "Hibernated", LIFECYCLE_TERMINATED})
WARMED = "Warmed:"               # … and these states of a warm pool
SPOT_ACTIONS = frozenset({"terminate", "stop", "hibernate"})


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """One entry of events/maintenance/scheduled or history. `facts`: all that it says, as text, for the record."""

    id: str
    code: str
    state: str
    not_before: datetime | None
    description: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def kind(self) -> Kind:
        """An event of a code that is not known, or of maintenance that may be of either sort, is of unknown kind."""
        kind = CODES.get(self.code, Kind.UNKNOWN)
        if self.code == "system-maintenance":
            kinds = [what for word, what in MAINTENANCE_OF.items() if word in self.description.lower()]
            return kinds[0] if len(kinds) == 1 else kind
        return kind


@dataclass(frozen=True, slots=True)
class SpotAction:
    """spot/instance-action: the Spot instance is interrupted. `at`: in whole seconds; AWS's varies by milliseconds."""

    action: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class InstanceKeys:
    """The keys of one poll. `now`: the platform's clock. `booted_at`: when this machine booted, by the same clock.
    `completed`: ids that the history says were carried out."""

    scheduled: tuple[ScheduledEvent, ...]
    now: datetime
    booted_at: datetime
    spot: SpotAction | None = None
    recommends_rebalance: bool = False
    lifecycle_state: str = ""
    completed: frozenset[str] = frozenset()


def read_scheduled(body: bytes) -> tuple[tuple[ScheduledEvent, ...], str]:
    """Given the body of events/maintenance/scheduled (or history), return its entries, and which of them cannot be used
    and why ("": all can). Raise NotADocument if it is no list of events. An empty body lists nothing."""
    text = read_text(body)
    if not text:
        return (), ""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NotADocument("events/maintenance/scheduled is not JSON") from None
    entries = [found] if isinstance(found, dict) else found         # amazon-ec2-metadata-mock's manual shows one alone
    if not isinstance(entries, list):
        raise NotADocument("events/maintenance/scheduled is JSON, but no list")
    good: list[ScheduledEvent] = []
    troubles: list[str] = []
    for number, entry in enumerate(entries, start=1):
        read = _read_entry(entry)
        if isinstance(read, str):
            troubles.append(f"entry {number} {read}")
        elif all(read.id != other.id for other in good):
            good.append(read)
        elif not read.is_over:              # the same event, rescheduled: its earlier date is over
            good = [read if read.id == other.id and other.is_over else other for other in good]
    return tuple(good), f"events/maintenance/scheduled: {', '.join(troubles[:3])}" if troubles else ""


def _read_entry(entry: object) -> ScheduledEvent | str:
    """Return the event, or what is wrong with the entry."""
    if not isinstance(entry, dict):
        return "is no object"
    facts = {make_storable(name, LONGEST_TEXT): _as_text(value) for name, value in entry.items()}
    event_id = entry.get("EventId")
    if not isinstance(event_id, str) or not event_id or len(event_id) > LONGEST_TEXT or not event_id.isprintable():
        return "has no EventId"
    description = facts.get("Description", "")
    return ScheduledEvent(event_id, facts.get("Code", ""), facts.get("State", "active").lower(),
                          read_time(facts.get("NotBefore", "")), description,
                          {name: value for name, value in facts.items()
                           if name not in ("EventId", "NotBefore", "Description")})


def _as_text(value: object) -> str:
    return make_storable(value if isinstance(value, str) else json.dumps(value), LONGEST_TEXT)


def read_spot_action(body: bytes) -> SpotAction:
    """Given the body of spot/instance-action, return it. Raise NotADocument."""
    found = _read_object("spot/instance-action", body)
    action = found.get("action")
    if not isinstance(action, str) or not action:
        raise NotADocument("spot/instance-action has no action")
    at = read_time(str(found.get("time", "")))
    return SpotAction(_as_text(action), None if at is None else at.replace(microsecond=0))


def read_rebalance(body: bytes) -> bool:
    """Given the body of events/recommendations/rebalance, return that it is one. Raise NotADocument."""
    return bool(_read_object("events/recommendations/rebalance", body))


def read_lifecycle_state(body: bytes) -> str:
    """Given the body of autoscaling/target-lifecycle-state, return its word. Raise NotADocument for any other."""
    text = read_text(body)
    if text not in LIFECYCLE_STATES and not text.startswith(WARMED):
        raise NotADocument(f"autoscaling/target-lifecycle-state says {text[:LONGEST_TEXT]!r}, which is no word of it")
    return text


def read_text(body: bytes) -> str:
    """Given a body, return its text. Raise NotADocument."""
    try:
        return body.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise NotADocument("the answer is no text") from None


def _read_object(key: str, body: bytes) -> dict[str, object]:
    try:
        found = json.loads(read_text(body))
    except (ValueError, RecursionError):
        raise NotADocument(f"{key} is not JSON") from None
    if not isinstance(found, dict):
        raise NotADocument(f"{key} is JSON, but no object")
    return found


# --- Events

PREEMPTION, SCALE_IN = "preemption", "autoscaling"
"""What an id that is made here begins with: one of each can be listed at once."""


def events_of(keys: InstanceKeys, instance_id: str, known: tuple[Event, ...]) -> tuple[Event, ...]:
    """Given the keys of a poll, the instance's id and the events of the poll before (or of the journal, at a start),
    return the events that are listed now.

    AWS lists an event for up to an hour after the reboot that it announced: one whose NotBefore lies before this boot
    is over. One that the history says was carried out shows as started once, and is gone in the next poll.
    """
    listed = [_scheduled_event(entry, instance_id, keys.now) for entry in keys.scheduled
              if not entry.is_over and not _has_happened(entry, keys.booted_at)]
    here = {event.id for event in listed}
    listed += [replace(event, started=True) for event in known
               if event.id in keys.completed and event.id not in here and not event.started]
    made = {event.id.partition("-")[0]: event for event in known}
    if keys.spot is not None or keys.recommends_rebalance:
        listed.append(_preemption_event(keys, instance_id, made.get(PREEMPTION)))
    if keys.lifecycle_state == LIFECYCLE_TERMINATED:
        listed.append(made.get(SCALE_IN) or _made(SCALE_IN, Kind.TERMINATE, instance_id, keys,
                                                  "its Auto Scaling group ends this instance"))
    return tuple(listed)


def vanished(scheduled: Iterable[ScheduledEvent], known: Iterable[Event]) -> frozenset[str]:
    """Given what is listed and the events of the poll before, return the ids of those that AWS gave and that are listed
    no more, or as over: the history says whether they were carried out."""
    active = {entry.id for entry in scheduled if not entry.is_over}
    return frozenset(event.id for event in known if "Code" in event.extra and event.id not in active)


def _has_happened(entry: ScheduledEvent, booted_at: datetime) -> bool:
    return entry.not_before is not None and entry.not_before <= booted_at


def _scheduled_event(entry: ScheduledEvent, instance_id: str, now: datetime) -> Event:
    """AWS never says that an event has begun. Maintenance of the network counts as begun at NotBefore, the earliest
    time; what takes the machine away shows by that."""
    begins = entry.kind is Kind.FREEZE and entry.not_before is not None and entry.not_before <= now
    return Event(entry.id, entry.kind, (instance_id,), started=begins, not_before=entry.not_before,
                 description=entry.description or entry.code, source="aws", takes_acknowledgement=False,
                 extra=entry.facts)


def _preemption_event(keys: InstanceKeys, instance_id: str, same: Event | None) -> Event:
    """A recommendation that becomes an interruption is one event, by the id it had first."""
    spot = keys.spot
    if spot is None:
        return same or _made(PREEMPTION, Kind.PREEMPT, instance_id, keys,
                             "AWS recommends to replace this Spot instance: it may be interrupted")
    event = _made(PREEMPTION, Kind.PREEMPT, instance_id, keys, f"this Spot instance is interrupted: {spot.action}")
    starts = spot.action == "hibernate" or (spot.at is not None and spot.at <= keys.now)
    return replace(event, id=same.id if same is not None else event.id, not_before=spot.at,
                   extra={"action": spot.action}, started=starts or (same is not None and same.started))


def _made(word: str, kind: Kind, instance_id: str, keys: InstanceKeys, description: str) -> Event:
    event_id = f"{word}-{keys.now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{instance_id}"
    return Event(event_id, kind, (instance_id,), description=description, source="aws", takes_acknowledgement=False)
