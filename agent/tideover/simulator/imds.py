"""A simulated Azure Instance Metadata Service (IMDS) with Scheduled Events.

It behaves as learn.microsoft.com says ("Scheduled Events for Linux VMs", "Azure Instance Metadata Service"); what is
written nowhere is a setting. Events change only by a call, or by the rules that the constructor turns on. Reads
nothing of the agent's.
"""
from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tideover.simulator.http import InjectedFault, Request, SimulatedResponse
from tideover.simulator.service import Acknowledgement, SimulatedService

# --- The rules of the real service
# Documentation: learn.microsoft.com, "Scheduled Events for Linux VMs" (api-versions, payloads) and "Azure Instance
# Metadata Service" (headers, query parameters, leaves, status codes).

EVENTS = "/metadata/scheduledevents"
INSTANCE = "/metadata/instance"
VERSIONS = ("2017-03-01", "2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01")
INSTANCE_VERSION = re.compile(r"20\d\d-\d\d-\d\d")
# Which version a field or a kind came with; an older one leaves it out.
SINCE = {"Preempt": "2017-11-01", "Terminate": "2019-01-01",
         "Description": "2019-04-01", "EventSource": "2019-08-01", "DurationInSeconds": "2020-07-01"}
THROTTLED = SimulatedResponse(429, b"Throttle Result: Too Many Requests", "text/plain")


@dataclass(slots=True)
class Announced:
    """One event as the platform holds it. `not_before`, `acknowledged_at`: seconds since the epoch, by its clock."""

    id: str
    kind: str
    resources: tuple[str, ...]
    not_before: float
    description: str
    event_source: str
    duration_s: int
    started: bool = False
    acknowledged_at: float | None = None

    @property
    def status(self) -> str:
        return "Started" if self.started else "Scheduled"

    def fields(self) -> dict[str, Any]:
        """In the order in which the platform writes them."""
        due = datetime.fromtimestamp(math.ceil(self.not_before), UTC)
        return {"EventId": self.id, "EventStatus": self.status, "EventType": self.kind,
                "ResourceType": "VirtualMachine", "Resources": list(self.resources),
                "NotBefore": "" if self.started else format_datetime(due, usegmt=True),
                "Description": self.description, "EventSource": self.event_source, "DurationInSeconds": self.duration_s}


def refuse(request: Request, path: str, names: list[str]) -> SimulatedResponse | None:
    """Given a request, its path and its query's names in lower case, return what it is refused with, if it is."""
    if not path.startswith((EVENTS, INSTANCE, "/metadata/versions")):
        return as_json(404, {"error": "Not found"})
    if (request.header("Metadata") or "").lower() != "true":
        return as_bad_request("Required metadata header not specified.")
    if request.header("X-Forwarded-For") is not None:
        return as_bad_request("Requests with a X-Forwarded-For header are refused.")
    if len(set(names)) < len(names):
        return as_bad_request("A query parameter was given twice.")
    if "api-version" not in names and path != "/metadata/versions":
        return as_bad_request("api-version is invalid or was not specified in the request.")
    return None


def read_start_requests(body: bytes) -> list[str] | None:
    """Return the ids of an acknowledgement's payload; None if it is none."""
    try:
        listed = json.loads(body)["StartRequests"]
        ids = [entry["EventId"] for entry in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return ids if ids and all(isinstance(event_id, str) for event_id in ids) else None


def describe_instance(compute: Mapping[str, str], path: str, parameters: Mapping[str, str]) -> SimulatedResponse:
    """Given what there is to say of this VM and what was asked for, return the branch as JSON or the leaf as text."""
    if not INSTANCE_VERSION.fullmatch(parameters["api-version"]):
        return as_bad_request("api-version is invalid or was not specified in the request.")
    branches: dict[str, object] = {INSTANCE: {"compute": compute, "network": {}}, f"{INSTANCE}/compute": compute}
    leaves = {f"{INSTANCE}/compute/{name.lower()}": value for name, value in compute.items()}
    if path in leaves and parameters.get("format", "").lower() != "text":
        return as_bad_request("A leaf is given with format=text only.")
    if path in leaves:
        return SimulatedResponse(200, leaves[path].encode(), "text/plain; charset=utf-8")
    return as_json(200, branches[path]) if path in branches else as_json(404, {"error": "Not found"})


def as_bad_request(words: str) -> SimulatedResponse:
    """Given what is wrong, return the 400 that says so."""
    return as_json(400, {"error": f"Bad request. {words}", "newest-versions": list(VERSIONS[-3:])})


def as_json(status: int, value: object) -> SimulatedResponse:
    """Given a status and a value, return the answer: one line, no spaces."""
    return SimulatedResponse(status, json.dumps(value, separators=(",", ":")).encode())


@dataclass(slots=True)
class _EventList:
    """What the platform has announced to the VMs of one availability set, by its id in lower case."""

    listed: dict[str, Announced] = field(default_factory=dict)
    incarnation: int = 1


LONGEST_SHOWN = 160               # characters of what a client sent


# --- The service

TEXTS = {
    "Freeze": ("Host server is undergoing maintenance.", 9),
    "Reboot": ("Virtual machine is going to be restarted as requested by authorized user.", -1),
    "Redeploy": ("Virtual machine is going to be redeployed as requested by authorized user.", -1),
}
class MetadataService(SimulatedService):
    """The service as the VM `vm_name` sees it; `beside` makes those of the other VMs of its availability set.

    `start_after_acknowledge_s`, `start_at_not_before`: events start by themselves. `requests_per_s`: more than that
    are answered with 429. `now`: the platform's clock, seconds since the epoch.
    """

    def __init__(self, vm_name: str = "vm-1", vm_id: str = "7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11", *,
                 address: str = "127.0.0.1", port: int = 0, scale_set: str = "",
                 start_after_acknowledge_s: float | None = None, start_at_not_before: bool = False,
                 requests_per_s: int | None = None, now: Callable[[], float] = time.time) -> None:
        super().__init__(vm_name, address, port, now)
        self.vm_id, self.scale_set = vm_id, scale_set
        self.start_after_acknowledge_s, self.start_at_not_before = start_after_acknowledge_s, start_at_not_before
        self.requests_per_s, self.unknown_id_status = requests_per_s, 400
        self._events = _EventList()

    @property
    def incarnation(self) -> int:
        """The number of the document: it rises with each change."""
        return self._events.incarnation

    def beside(self, vm_name: str, *, port: int = 0) -> MetadataService:
        """Return the service of another VM of the same availability set: Azure shows the events of a set to all of its
        VMs. It has requests and faults of its own."""
        vm_id = str(uuid.uuid5(uuid.UUID(self.vm_id), vm_name))
        host = self.endpoint.rpartition("//")[2].rpartition(":")[0]
        peer = MetadataService(
            vm_name, vm_id, address=host, port=port, scale_set=self.scale_set,
            start_after_acknowledge_s=self.start_after_acknowledge_s, start_at_not_before=self.start_at_not_before,
            requests_per_s=self.requests_per_s, now=self._now)
        peer._events, peer._changed, peer.acknowledgements = self._events, self._changed, self.acknowledgements
        return peer

    def add_event(self, kind: str = "Freeze", *, resources: Sequence[str] | None = None, not_before_in_s: float = 900.0,
                  description: str | None = None, event_source: str = "Platform", duration_s: int | None = None,
                  id: str | None = None, started: bool = False) -> str:
        """Announce an event, of this VM unless `resources` says of which; return its id. `started`: without notice."""
        text, usual_s = TEXTS.get(kind, ("", -1))
        event = Announced(
            id=id or str(uuid.uuid4()).upper(), kind=kind,
            resources=(self.vm_name,) if resources is None else tuple(resources),
            not_before=self.platform_time() + not_before_in_s,
            description=text if description is None else description, event_source=event_source,
            duration_s=usual_s if duration_s is None else duration_s, started=started)
        with self._changed:
            self._events.listed[event.id.lower()] = event
            self._move_on()
        return event.id

    def start_event(self, event_id: str) -> None:
        """Let it be Started. Raise KeyError if it is not listed."""
        with self._changed:
            self._events.listed[event_id.lower()].started = True
            self._move_on()

    def move_event(self, event_id: str, not_before_in_s: float) -> None:
        """Let its NotBefore be another one, counted from now. Raise KeyError if it is not listed."""
        with self._changed:
            self._events.listed[event_id.lower()].not_before = self.platform_time() + not_before_in_s
            self._move_on()

    def remove_event(self, event_id: str) -> None:
        """Take it off the list: finished if it had started, else cancelled. Raise KeyError if it is not listed."""
        with self._changed:
            del self._events.listed[event_id.lower()]
            self._move_on()

    def listed(self) -> tuple[str, ...]:
        """Return the ids of what is announced now, oldest first."""
        return tuple(event.id for event in list(self._events.listed.values()))

    def status_of(self, event_id: str) -> str | None:
        """Return Scheduled or Started; None if it is not listed."""
        with self._changed:
            self._settle()
            event = self._events.listed.get(event_id.lower())
        return None if event is None else event.status

    def inject_fault(self, fault: InjectedFault, *, method: str = "GET", path: str = EVENTS,
                     times: int | None = 1) -> None:
        super().inject_fault(fault, method=method, path=path, times=times)

    def _move_on(self) -> None:
        self._events.incarnation += 1
        self._changed.notify_all()

    def _settle(self) -> None:
        """Start what the rules start by now."""
        for event in self._events.listed.values():
            if not event.started and self.platform_time() >= self._starts_at(event):
                event.started = True
                self._move_on()

    def _starts_at(self, event: Announced) -> float:
        at = event.not_before if self.start_at_not_before else math.inf
        if self.start_after_acknowledge_s is None or event.acknowledged_at is None:
            return at
        return min(at, event.acknowledged_at + self.start_after_acknowledge_s)

    def _carry_out(self, request: Request) -> SimulatedResponse:
        url = urlsplit(request.target)
        path, query = url.path.lower().rstrip("/"), parse_qsl(url.query, keep_blank_values=True)
        if self._is_too_often(request):
            return THROTTLED
        refusal = refuse(request, path, [name.lower() for name, _ in query])
        if refusal is not None:
            return refusal
        parameters = {name.lower(): value for name, value in query}
        if path == "/metadata/versions":
            return as_json(200, {"apiVersions": list(VERSIONS)})
        if request.method not in (("GET", "POST") if path == EVENTS else ("GET",)):
            return as_json(405, {"error": "Method not allowed"})
        if path == EVENTS:
            return self._answer_events(request, parameters["api-version"])
        return describe_instance(self._compute(), path, parameters)

    def _is_too_often(self, request: Request) -> bool:
        limit = self.requests_per_s
        if limit is None or len(self.requests) <= limit:
            return False
        return request.at_monotonic_s - self.requests[-1 - limit].at_monotonic_s < 1.0

    def _compute(self) -> dict[str, str]:
        return {"name": self.vm_name, "vmId": self.vm_id, "vmScaleSetName": self.scale_set, "osType": "Linux",
                "resourceId": f"/subscriptions/0/resourceGroups/drill/providers/Microsoft.Compute/{self.vm_name}"}

    def _answer_events(self, request: Request, version: str) -> SimulatedResponse:
        """An ETag, and 304 for who sends it back, are in no document; Microsoft's own sample in Node works with them
        (github.com/Azure/vm-scheduled-events)."""
        if version not in VERSIONS:
            return as_bad_request("api-version is invalid or was not specified in the request.")
        if request.method == "POST":
            return self._acknowledge(request)
        self._settle()
        listed = [{name: value for name, value in event.fields().items() if SINCE.get(name, "") <= version}
                  for event in self._events.listed.values() if SINCE.get(event.kind, "") <= version]
        etag = f'"{self.incarnation}"'
        if request.header("If-None-Match") == etag:
            return SimulatedResponse(304, etag=etag)
        return replace(as_json(200, {"DocumentIncarnation": self.incarnation, "Events": listed}), etag=etag)

    def _acknowledge(self, request: Request) -> SimulatedResponse:
        """Several ids in one POST are allowed; one that is not listed refuses them all, with a status of choice."""
        ids = read_start_requests(request.body)
        if ids is None:
            return as_bad_request("The request payload is malformed.")
        if any(event_id.lower() not in self._events.listed for event_id in ids):
            return as_json(self.unknown_id_status, {"error": "Bad request. The event is not known."})
        for event_id in ids:
            event = self._events.listed[event_id.lower()]
            event.acknowledged_at = event.acknowledged_at or self.platform_time()
            self.acknowledgements.append(Acknowledgement(event_id, request.at, request.at_monotonic_s, self.vm_name))
        return SimulatedResponse(200)


# --- What `simulate` and `drill` need to know

FIRST_SCENARIO = "freeze"
CANCEL_ONLY: frozenset[str] = frozenset()
EVENT_WORDS = {"freeze": "Freeze", "reboot": "Reboot", "redeploy": "Redeploy", "preempt": "Preempt",
               "terminate": "Terminate", "unknown": "Defragment"}
"""Its own words (Azure docs, "Scheduled Events"); the last is one it does not have (yet)."""


def open_service(vm_name: str = "vm-1", *, address: str = "127.0.0.1", port: int = 0) -> MetadataService:
    """Return a service that is not started yet. Raise OSError if it cannot be served there."""
    return MetadataService(vm_name, address=address, port=port)


def asks_for_events(request: Request) -> bool:
    """Whether a request asks what is announced."""
    return request.target.lower().startswith(EVENTS)


def is_acknowledgement(request: Request) -> bool:
    """Whether a request tries to acknowledge an event, granted or not."""
    return request.method == "POST"


def describe(service: SimulatedService, request: Request) -> str:
    """Given a request, return what was made of it; "" where there is nothing to say."""
    url = urlsplit(request.target)
    path = url.path.lower().rstrip("/")
    names = [pair.partition("=")[0].lower() for pair in url.query.split("&") if pair]
    refusal = refuse(request, path, names)
    if refusal is not None:
        return f"refused, {refusal.status} {refusal.body.decode()}"
    if request.method != "POST" or path != EVENTS:
        return ""
    ids = read_start_requests(request.body)
    if ids is None:
        return f"refused, it is not an acknowledgement: {request.body[:LONGEST_SHOWN].decode('latin-1')}"
    named = ", ".join(name[:LONGEST_SHOWN] for name in ids)
    taken = any(given.at_monotonic_s == request.at_monotonic_s for given in service.acknowledgements)
    return f"ACKNOWLEDGES {named}" if taken else f"refused, no such event is listed: {named}"


def source_settings(service: SimulatedService) -> Mapping[str, str]:
    """Return what [source] says to an agent that is to ask this service, beside its kind."""
    return {"endpoint": service.endpoint}


def usage(service: SimulatedService) -> tuple[tuple[str, str], ...]:
    """Return how a person or a program can use the service: what for, and the command or the lines to copy."""
    url = f"{service.endpoint}{EVENTS}?api-version={VERSIONS[-1]}"
    return (("look", f"curl -s -H Metadata:true '{url}'"),
            ("acknowledge", f"""curl -s -H Metadata:true -d '{{"StartRequests":[{{"EventId":"ID"}}]}}' '{url}'"""))
