"""The manners of the metadata service: which requests it refuses, how its answers look, what came with which version.

Documentation: learn.microsoft.com, "Scheduled Events for Linux VMs" (api-versions, payloads) and "Azure Instance
Metadata Service" (headers, query parameters, leaves, status codes).
"""
from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from tideover.simulator.serving import Answer, Request

EVENTS = "/metadata/scheduledevents"
INSTANCE = "/metadata/instance"
VERSIONS = ("2017-03-01", "2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01")
INSTANCE_VERSION = re.compile(r"20\d\d-\d\d-\d\d")
# Which version a field or a kind came with; an older one leaves it out.
SINCE = {"Preempt": "2017-11-01", "Terminate": "2019-01-01",
         "Description": "2019-04-01", "EventSource": "2019-08-01", "DurationInSeconds": "2020-07-01"}
THROTTLED = Answer(429, b"Throttle Result: Too Many Requests", "text/plain")


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


def refuse(request: Request, path: str, names: list[str]) -> Answer | None:
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


def tell_instance(compute: Mapping[str, str], path: str, parameters: Mapping[str, str]) -> Answer:
    """Given what there is to say of this VM and what was asked for, return the branch as JSON or the leaf as text."""
    if not INSTANCE_VERSION.fullmatch(parameters["api-version"]):
        return as_bad_request("api-version is invalid or was not specified in the request.")
    branches: dict[str, object] = {INSTANCE: {"compute": compute, "network": {}}, f"{INSTANCE}/compute": compute}
    leaves = {f"{INSTANCE}/compute/{name.lower()}": value for name, value in compute.items()}
    if path in leaves and parameters.get("format", "").lower() != "text":
        return as_bad_request("A leaf is given with format=text only.")
    if path in leaves:
        return Answer(200, leaves[path].encode(), "text/plain; charset=utf-8")
    return as_json(200, branches[path]) if path in branches else as_json(404, {"error": "Not found"})


def as_bad_request(words: str) -> Answer:
    """Given what is wrong, return the 400 that says so."""
    return as_json(400, {"error": f"Bad request. {words}", "newest-versions": list(VERSIONS[-3:])})


def as_json(status: int, value: object) -> Answer:
    """Given a status and a value, return the answer: one line, no spaces."""
    return Answer(status, json.dumps(value, separators=(",", ":")).encode())
