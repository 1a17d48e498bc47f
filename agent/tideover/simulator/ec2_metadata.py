"""A simulated instance metadata service of AWS EC2: tokens, scheduled events, Spot, rebalance, Auto Scaling.

It behaves as the EC2 User Guide says ("Use the Instance Metadata Service", "Scheduled events for your instances", "Spot
Instance interruption notices"), with version 2 only; bodies of errors and the spacing of lists as captured. Reads
nothing of the agent's.
"""
from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tideover.simulator.http import Request, SimulatedResponse
from tideover.simulator.service import SimulatedService

ROOT = "/latest/meta-data/"
TOKEN = "/latest/api/token"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TTL_S = 21600
SCHEDULED = "events/maintenance/scheduled"
HISTORY = "events/maintenance/history"
SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
LIFECYCLE = "autoscaling/target-lifecycle-state"

FIRST_SCENARIO = "scheduled-reboot"
CANCEL_ONLY: frozenset[str] = frozenset({"preempt"})
EVENT_WORDS = {"reboot": "system-reboot", "freeze": "system-maintenance", "terminate": "instance-retirement",
               "preempt": "spot-terminate", "unknown": "system-maintenance"}
"""The word of each kind: a code of scheduled events, or `spot-` and the action of an interruption. `freeze`: the
description says that it is maintenance of the network."""
DESCRIPTIONS = {"instance-reboot": "scheduled reboot", "system-reboot": "scheduled reboot",
                "system-maintenance": "scheduled network maintenance",
                "instance-stop": "The instance is running on degraded hardware",
                "instance-retirement": "The instance is running on degraded hardware"}


@dataclass(slots=True)
class _ListedEvent:
    """An event as the service lists it."""

    id: str
    code: str
    not_before: float
    not_after: float
    description: str
    state: str = "active"
    started: bool = False

    def entry(self, mark: str = "") -> dict[str, str]:
        return {"NotBefore": _time_text(self.not_before), "Code": self.code, "Description": mark + self.description,
                "EventId": self.id, "NotAfter": _time_text(self.not_after), "State": self.state}


class Ec2MetadataService(SimulatedService):
    """The service as the instance `vm_name` (its instance id) sees it.

    `recommends_rebalance`, `lifecycle_state`: what those keys say; "" for the second: the instance is in no Auto
    Scaling group, 404. `enabled`: False: the service is disabled for the instance, 403.
    """

    def __init__(self, vm_name: str = "i-0123456789abcdef0", *, address: str = "127.0.0.1", port: int = 0,
                 now: Callable[[], float] = time.time) -> None:
        super().__init__(vm_name, address, port, now)
        self.recommends_rebalance, self.lifecycle_state, self.enabled = False, "", True
        self.replayed: dict[str, bytes] = {}        # the body of a key, byte for byte, whatever is announced
        self._tokens: dict[str, float] = {}         # token: when it expires, seconds of the monotonic clock
        self._listed: dict[str, _ListedEvent] = {}
        self._history: list[_ListedEvent] = []
        self._spot: tuple[str, str, float, bool] | None = None      # id, action, time, started

    def forget_tokens(self) -> None:
        """From here on the tokens that were given are answered 401."""
        with self._changed:
            self._tokens.clear()

    def add_event(self, kind: str = EVENT_WORDS["reboot"], *, not_before_in_s: float = 7200.0,
                  duration_s: int | None = None, description: str | None = None) -> str:
        """Schedule an event by its code, or interrupt the Spot instance (`spot-terminate`, `spot-stop`,
        `spot-hibernate`); return the id. The platform never says how long it takes."""
        at = self.platform_time() + not_before_in_s
        with self._changed:
            if kind.startswith("spot-"):
                event_id = str(uuid.uuid4())
                self._spot = (event_id, kind.removeprefix("spot-"), at, False)
            else:
                event_id = f"instance-event-{secrets.token_hex(8)}0"
                text = DESCRIPTIONS.get(kind, "scheduled maintenance") if description is None else description
                self._listed[event_id] = _ListedEvent(event_id, kind, at, at + 7200.0, text)
            self._changed.notify_all()
        return event_id

    def move_event(self, event_id: str, not_before_in_s: float) -> None:
        """Move it; its earlier date stands in the history as cancelled. Raise KeyError if it is not listed."""
        with self._changed:
            event = self._listed[event_id]
            self._history.append(replace(event, state="canceled"))
            event.not_before = self.platform_time() + not_before_in_s
            event.not_after = event.not_before + 7200.0
            self._changed.notify_all()

    def start_event(self, event_id: str) -> None:
        """It begins: nothing shows that. Raise KeyError if it is not listed."""
        with self._changed:
            if self._spot is not None and self._spot[0] == event_id:
                self._spot = (*self._spot[:3], True)
            else:
                self._listed[event_id].started = True
            self._changed.notify_all()

    def remove_event(self, event_id: str) -> None:
        """It leaves the list: completed if it had started, else cancelled. Raise KeyError if it is not listed."""
        with self._changed:
            if self._spot is not None and self._spot[0] == event_id:
                self._spot = None
            else:
                event = self._listed.pop(event_id)
                self._history.append(replace(event, state="completed" if event.started else "canceled"))
            self._changed.notify_all()

    def status_of(self, event_id: str) -> str | None:
        if self._spot is not None and self._spot[0] == event_id:
            return "Started" if self._spot[3] else "Scheduled"
        event = self._listed.get(event_id)
        return None if event is None else "Started" if event.started else "Scheduled"

    def _carry_out(self, request: Request) -> SimulatedResponse:
        path = urlsplit(request.target).path
        if not self.enabled or request.header("X-Forwarded-For") is not None:
            return _error(403, "Forbidden")
        if path == TOKEN:
            return self._give_token(request)
        if self._tokens.get(request.header(TOKEN_HEADER) or "", 0.0) < request.at_monotonic_s:
            return _error(401, "Unauthorized")
        if request.method != "GET":
            return _error(405, "Method Not Allowed")
        key = path.removeprefix(ROOT)
        if key in self.replayed:
            return _answer(self.replayed[key])
        value = self._value(key)
        return _error(404, "Not Found") if value is None else _answer(value.encode())

    def _give_token(self, request: Request) -> SimulatedResponse:
        if request.method != "PUT":
            return _error(405, "Method Not Allowed")
        ttl = request.header(TTL_HEADER) or ""
        if not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL_S:
            return _error(400, "Bad Request")
        token = f"AQAE{secrets.token_urlsafe(36)}=="
        self._tokens[token] = request.at_monotonic_s + int(ttl)
        return replace(_answer(token.encode()), headers=((TTL_HEADER, ttl),))

    def _value(self, key: str) -> str | None:
        if key == "":
            return "ami-id\nevents/\ninstance-id\nplacement/\n"
        values: dict[str, str | None] = {
            "instance-id": self.vm_name,
            "placement/availability-zone": "eu-central-1a",
            SCHEDULED: _list_text([event.entry() for event in self._listed.values()]),
            HISTORY: _list_text([event.entry(f"[{event.state.capitalize()}] ") for event in self._history]),
            SPOT: None if self._spot is None else json.dumps({"action": self._spot[1], "time": _iso(self._spot[2])}),
            REBALANCE: json.dumps({"noticeTime": _iso(self.platform_time())}) if self.recommends_rebalance else None,
            LIFECYCLE: self.lifecycle_state or None,
        }
        return values.get(key)


def _answer(body: bytes) -> SimulatedResponse:
    return SimulatedResponse(200, body, "text/plain", server="EC2ws")


def _error(status: int, phrase: str) -> SimulatedResponse:
    title = f"{status} - {phrase}"
    body = ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
            '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
            '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
            f" <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n")
    return SimulatedResponse(status, body.encode(), "text/html", server="EC2ws")


def _list_text(entries: list[dict[str, str]]) -> str:
    if not entries:
        return "[]"
    return "[ " + ", ".join("{\n" + ",\n".join(f"  {json.dumps(name)} : {json.dumps(value)}"
                                               for name, value in entry.items()) + "\n}" for entry in entries) + " ]"


def _time_text(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%b %Y %H:%M:%S} GMT"


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


# --- What `simulate` and `drill` need to know

def open_service(vm_name: str = "i-0123456789abcdef0", *, address: str = "127.0.0.1",
                 port: int = 0) -> Ec2MetadataService:
    """Return a service that is not started yet. Raise OSError if it cannot be served there."""
    return Ec2MetadataService(vm_name, address=address, port=port)


def asks_for_events(request: Request) -> bool:
    """Whether a request asks what is announced."""
    return urlsplit(request.target).path == ROOT + SCHEDULED


def is_acknowledgement(request: Request) -> bool:
    """Whether a request tries to acknowledge an event, granted or not."""
    return request.method == "POST"


def describe(service: SimulatedService, request: Request) -> str:
    """Given a request, return what was made of it; "" where there is nothing to say."""
    if urlsplit(request.target).path == TOKEN:
        return "asks for a token" if request.method == "PUT" else "refused, 405: a token is asked for by PUT"
    return "" if request.header(TOKEN_HEADER) else "refused, 401: it has no token"


def source_settings(service: SimulatedService) -> Mapping[str, str]:
    """Return what [source] says to an agent that is to ask this service, beside its kind."""
    return {"endpoint": service.endpoint}


def usage(service: SimulatedService) -> tuple[tuple[str, str], ...]:
    """Return how a person or a program can use the service: what for, and the command or the lines to copy."""
    return (("look", f"TOKEN=$(curl -s -X PUT -H '{TTL_HEADER}: 60' '{service.endpoint}{TOKEN}')\n"
                     f"curl -s -H \"{TOKEN_HEADER}: $TOKEN\" '{service.endpoint}{ROOT}{SCHEDULED}'"),
            ("clients", f"AWS_EC2_METADATA_SERVICE_ENDPOINT={service.endpoint}"))
