"""A simulated metadata server of Google Compute Engine: maintenance, preemption, the VM's own facts.

It behaves as cloud.google.com/compute/docs says ("VM metadata", "Get live migration notices", "Monitor and plan for a
host maintenance event", "Spot VMs"); headers as captured. A notice of a live migration is given only to who asks for
its key. Reads nothing of the agent's.
"""
from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from tideover.simulator.http import Request, SimulatedResponse
from tideover.simulator.service import SimulatedService

ROOT = "/computeMetadata/v1/"
FOLDERS = {"/": "computeMetadata/\n", "/computeMetadata/": "v1/\n", ROOT: "instance/\n"}     # clients look here first
MAINTENANCE = "instance/maintenance-event"
FLAVOR = ("Metadata-Flavor", "Google")
HEADERS = (FLAVOR, ("X-XSS-Protection", "0"), ("X-Frame-Options", "SAMEORIGIN"))
LONGEST_WAIT_S = 60.0            # of ?wait_for_change=true without timeout_sec: a real one would hang for an hour

FIRST_SCENARIO = "live-migration"
CANCEL_ONLY: frozenset[str] = frozenset({"redeploy", "terminate", "preempt"})
PLANNED = "PLANNED_MAINTENANCE"
"""Stands for instance/upcoming-maintenance: a window, days ahead."""
EVENT_WORDS = {"freeze": "MIGRATE_ON_HOST_MAINTENANCE", "redeploy": "TERMINATE_ON_HOST_MAINTENANCE",
               "terminate": "TERMINATE_ON_HOST_MAINTENANCE", "preempt": "PREEMPTED"}
"""The word of each kind. `terminate`: with automatic-restart FALSE. PREEMPTED stands for instance/preempted TRUE."""


@dataclass(slots=True)
class _ShownWord:
    """What the service shows of one machine."""

    word: str
    started: bool = False
    window_at: float = 0.0       # of planned maintenance: when its window begins, seconds since the epoch


class GceMetadataServer(SimulatedService):
    """The server as the VM `vm_name` sees it.

    `migrates`, `restarts`: its scheduling policy. `has_upcoming`: whether its machine family has the key of planned
    maintenance. `upcoming`: what that key says, None: nothing.
    """

    def __init__(self, vm_name: str = "vm-1", vm_id: str = "1234567890123456789", *, address: str = "127.0.0.1",
                 port: int = 0, now: Callable[[], float] = time.time) -> None:
        super().__init__(vm_name, address, port, now)
        self.vm_id, self.migrates, self.restarts, self.has_upcoming = vm_id, True, True, True
        self.upcoming: dict[str, object] | None = None
        self.drift_token = 0
        self.replayed: dict[str, bytes] = {}        # the body of a key, byte for byte, whatever is announced
        self.is_armed = False                       # the key was asked for since the last event
        self._listed: dict[str, _ShownWord] = {}

    def add_event(self, kind: str = EVENT_WORDS["freeze"], *, not_before_in_s: float = 60.0,
                  duration_s: int | None = None) -> str:
        """Let a key show a word; return a name for it. The platform says neither how soon nor how long, but of planned
        maintenance, whose window begins so soon. A live migration begins at once where no client has asked for its key
        since the last one."""
        event_id = str(uuid.uuid4())
        with self._changed:
            self._listed[event_id] = _ShownWord(kind, kind == EVENT_WORDS["freeze"] and not self.is_armed,
                                                self.platform_time() + not_before_in_s)
            if kind == PLANNED:
                self.announce_upcoming(not_before_in_s)
            self._changed.notify_all()
        return event_id

    def start_event(self, event_id: str) -> None:
        """It begins: nothing shows that, but for the window of planned maintenance, which opens. Raise KeyError if it
        is not listed."""
        with self._changed:
            event = self._listed[event_id]
            event.started = True
            if event.word == PLANNED:
                self.announce_upcoming(event.window_at - self.platform_time(), status="ONGOING")
            self._changed.notify_all()

    def move_event(self, event_id: str, not_before_in_s: float) -> None:
        """Move the window of planned maintenance. Raise KeyError if it is not listed, NotImplementedError for what has
        none."""
        with self._changed:
            event = self._listed[event_id]
            if event.word != PLANNED:
                raise NotImplementedError
            event.window_at = self.platform_time() + not_before_in_s
            self.announce_upcoming(not_before_in_s)

    def remove_event(self, event_id: str) -> None:
        """It is over; a live migration has changed the drift token. Raise KeyError if it is not listed."""
        with self._changed:
            event = self._listed.pop(event_id)
            if event.word == PLANNED:
                self.upcoming = None
            self.drift_token += event.started and event.word == EVENT_WORDS["freeze"]
            self.is_armed = False
            self._changed.notify_all()

    def status_of(self, event_id: str) -> str | None:
        event = self._listed.get(event_id)
        return None if event is None else "Started" if event.started else "Scheduled"

    def announce_upcoming(self, window_starts_in_s: float, window_s: float = 3600.0, *,
                          status: str = "PENDING") -> None:
        """Let the key of planned maintenance show a window."""
        starts = self.platform_time() + window_starts_in_s
        with self._changed:
            self.upcoming = {
                "can_reschedule": "true", "latest_window_start_time": _time_text(starts),
                "maintenance_reasons": ["PLANNED_UPDATE"], "maintenance_status": status, "type": "SCHEDULED",
                "window_end_time": _time_text(starts + window_s), "window_start_time": _time_text(starts)}
            self._changed.notify_all()

    def _carry_out(self, request: Request) -> SimulatedResponse:
        url = urlsplit(request.target)
        if (request.header("Metadata-Flavor") or "") != "Google" or request.header("X-Forwarded-For") is not None:
            return SimulatedResponse(403, b'Missing required header "Metadata-Flavor": "Google"\n',
                                     "text/html; charset=UTF-8")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path in FOLDERS:
            return _text(200, FOLDERS[url.path])
        key = url.path.removeprefix(ROOT)
        if request.method != "GET":
            return _text(405, "Method not allowed")
        if key == MAINTENANCE:
            self.is_armed = True
        if query.get("wait_for_change") == "true":
            self._wait_for_change(key, query)
        if key in self.replayed:
            return replace(_text(200, ""), body=self.replayed[key])
        value = self._value(key, query)
        if value is None:
            return _text(404, "Not found")
        return replace(_text(200, value), content_type="application/json" if "alt" in query else "application/text")

    def _wait_for_change(self, key: str, query: dict[str, str]) -> None:
        """Until the value's ETag is another one than the caller's, or for the time-out."""
        known = query.get("last_etag") or _etag(self._value(key, query) or "")
        limit_s = min(float(query.get("timeout_sec", LONGEST_WAIT_S)), LONGEST_WAIT_S)
        self._changed.wait_for(lambda: self._server.closing.is_set() or _etag(self._value(key, query) or "") != known,
                               limit_s)

    def _value(self, key: str, query: dict[str, str]) -> str | None:
        words = [event.word for event in self._listed.values()]
        host_words = [word for word in words if word not in (EVENT_WORDS["preempt"], PLANNED)]
        values = {
            MAINTENANCE: host_words[0] if host_words else "NONE",
            "instance/preempted": str(EVENT_WORDS["preempt"] in words).upper(),
            "instance/name": self.vm_name, "instance/id": self.vm_id,
            "instance/scheduling/on-host-maintenance": "MIGRATE" if self.migrates else "TERMINATE",
            "instance/scheduling/automatic-restart": str(self.restarts).upper(),
            "instance/virtual-clock/drift-token": str(self.drift_token),
        }
        if key == "instance/upcoming-maintenance" and self.has_upcoming:
            return self._upcoming_text(query.get("alt") == "json")
        return values.get(key)

    def _upcoming_text(self, as_json: bool) -> str:
        if self.upcoming is None:
            return '{ "error": "no notifications have been received yet, try again later" }' if as_json else "NONE"
        if as_json:
            return json.dumps(self.upcoming)
        return "\n".join(f"{name} {value}" for name, value in self.upcoming.items() if isinstance(value, str))


def _text(status: int, value: str) -> SimulatedResponse:
    return SimulatedResponse(status, value.encode(), "application/text", etag=_etag(value), headers=HEADERS,
                             server="Metadata Server for VM")


def _etag(value: str) -> str:
    """Opaque to clients; the same for the same value."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


def _time_text(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


# --- What `simulate` and `drill` need to know

def open_service(vm_name: str = "vm-1", *, address: str = "127.0.0.1", port: int = 0) -> GceMetadataServer:
    """Return a service that is not started yet. Raise OSError if it cannot be served there."""
    return GceMetadataServer(vm_name, address=address, port=port)


def asks_for_events(request: Request) -> bool:
    """Whether a request asks what is announced."""
    return urlsplit(request.target).path == ROOT + MAINTENANCE


def is_acknowledgement(request: Request) -> bool:
    """Whether a request tries to acknowledge an event, granted or not."""
    return request.method == "POST"


def describe(service: SimulatedService, request: Request) -> str:
    """Given a request, return what was made of it; "" where there is nothing to say."""
    if (request.header("Metadata-Flavor") or "") != "Google":
        return "refused, 403: it lacks the header Metadata-Flavor: Google"
    return "asks for the key, so 60 s of notice are given" if asks_for_events(request) else ""


def source_settings(service: SimulatedService) -> Mapping[str, str]:
    """Return what [source] says to an agent that is to ask this service, beside its kind."""
    return {"endpoint": service.endpoint, "gcp.preempt_notice": "120s"}


def usage(service: SimulatedService) -> tuple[tuple[str, str], ...]:
    """Return how a person or a program can use the service: what for, and the command or the lines to copy."""
    return (("look", f"curl -s -H 'Metadata-Flavor: Google' '{service.endpoint}{ROOT}{MAINTENANCE}'"),
            ("clients", f"GCE_METADATA_HOST={service.endpoint.removeprefix('http://')}"))
