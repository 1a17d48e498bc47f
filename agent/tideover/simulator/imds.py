"""A metadata service for drills, `tideover simulate` and tests: Scheduled Events and this VM's identity.

It behaves as learn.microsoft.com says ("Scheduled Events for Linux VMs", "Azure Instance Metadata Service"); what is
written nowhere is a setting. Events change only when told to, or by the rules that the constructor turns on. Reads
nothing of the agent's.
"""
from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from tideover.simulator.manners import (
    EVENTS,
    SINCE,
    THROTTLED,
    VERSIONS,
    Announced,
    as_bad_request,
    as_json,
    read_start_requests,
    refuse,
    tell_instance,
)
from tideover.simulator.serving import Answer, Fault, HttpServer, Request

TEXTS = {
    "Freeze": ("Host server is undergoing maintenance.", 9),
    "Reboot": ("Virtual machine is going to be restarted as requested by authorized user.", -1),
    "Redeploy": ("Virtual machine is going to be redeployed as requested by authorized user.", -1),
}
REQUESTS_KEPT = 10_000           # two hours and more of one poller


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One event of one POST that was carried out. `at` is seconds since the epoch, by the service's clock."""

    event_id: str
    at: float
    at_monotonic_s: float


class MetadataService:
    """The service as the VM `vm_name` sees it. Start it, change what is announced, and look at what was asked.

    `start_after_acknowledge_s`, `start_at_not_before`: events start by themselves. `requests_per_s`: more than that
    are answered with 429. `now`: the platform's clock, seconds since the epoch.
    """

    def __init__(self, vm_name: str = "vm-1", vm_id: str = "7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11", *,
                 address: str = "127.0.0.1", port: int = 0, scale_set: str = "",
                 start_after_acknowledge_s: float | None = None, start_at_not_before: bool = False,
                 requests_per_s: int | None = None, now: Callable[[], float] = time.time) -> None:
        self.vm_name, self.vm_id, self.scale_set = vm_name, vm_id, scale_set
        self.start_after_acknowledge_s, self.start_at_not_before = start_after_acknowledge_s, start_at_not_before
        self.requests_per_s, self.unknown_id_status = requests_per_s, 400
        self.sends_date, self.platform_ahead_s = True, 0.0
        self.incarnation = 1
        self.requests: list[Request] = []
        self.acknowledgements: list[Acknowledgement] = []
        self._now = now
        self._listed: dict[str, Announced] = {}
        self._faults: list[tuple[str, str, Fault, int | None]] = []
        self._changed = threading.Condition(threading.RLock())
        self._server = HttpServer(address, port, self._answer)
        self.endpoint = f"http://{self._server.address}:{self._server.port}"

    @property
    def connections(self) -> int:
        """How many connections have been made so far."""
        return self._server.accepted

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> MetadataService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
            self._listed[event.id.lower()] = event
            self._move_on()
        return event.id

    def start_event(self, event_id: str) -> None:
        """Let it be Started. Raise KeyError if it is not listed."""
        with self._changed:
            self._listed[event_id.lower()].started = True
            self._move_on()

    def move_event(self, event_id: str, not_before_in_s: float) -> None:
        """Let its NotBefore be another one, counted from now. Raise KeyError if it is not listed."""
        with self._changed:
            self._listed[event_id.lower()].not_before = self.platform_time() + not_before_in_s
            self._move_on()

    def remove_event(self, event_id: str) -> None:
        """Take it off the list: finished if it had started, else cancelled. Raise KeyError if it is not listed."""
        with self._changed:
            del self._listed[event_id.lower()]
            self._move_on()

    def listed(self) -> tuple[str, ...]:
        """Return the ids of what is announced now, oldest first."""
        return tuple(event.id for event in list(self._listed.values()))

    def status_of(self, event_id: str) -> str | None:
        """Return Scheduled or Started; None if it is not listed."""
        with self._changed:
            self._settle()
            event = self._listed.get(event_id.lower())
        return None if event is None else event.status

    def misbehave(self, fault: Fault, *, method: str = "GET", path: str = EVENTS, times: int | None = 1) -> None:
        """Let the next `times` answers (None: all until `behave`) to this method under this path go wrong."""
        with self._changed:
            self._faults.append((method, path, fault, times))

    def behave(self) -> None:
        """End all misbehaviour."""
        with self._changed:
            self._faults.clear()

    def wait_until(self, question: Callable[[], object], timeout_s: float = 5.0) -> bool:
        """Wait until the answer is yes, asked after each request and change; return whether it was in time."""
        with self._changed:
            return bool(self._changed.wait_for(question, timeout_s))

    def platform_time(self) -> float:
        """Return seconds since the epoch by the platform's clock, which may be ahead of this machine's."""
        return self._now() + self.platform_ahead_s

    def _move_on(self) -> None:
        self.incarnation += 1
        self._changed.notify_all()

    def _settle(self) -> None:
        """Start what the rules start by now."""
        for event in self._listed.values():
            if not event.started and self.platform_time() >= self._starts_at(event):
                event.started = True
                self._move_on()

    def _starts_at(self, event: Announced) -> float:
        at = event.not_before if self.start_at_not_before else math.inf
        if self.start_after_acknowledge_s is None or event.acknowledged_at is None:
            return at
        return min(at, event.acknowledged_at + self.start_after_acknowledge_s)

    def _answer(self, request: Request) -> Answer:
        with self._changed:
            self.requests.append(request)
            del self.requests[:-REQUESTS_KEPT]
            fault = self._take_fault(request)
            if fault.replaces_the_answer:
                answer = Answer(fault.status or 200, fault.body or b"", fault=fault)
            else:
                answer = self._carry_out(request)
            self._changed.notify_all()
            date = self.platform_time() if self.sends_date else None
        return replace(answer, date=date, fault=fault)

    def _take_fault(self, request: Request) -> Fault:
        for place, (method, path, fault, times) in enumerate(self._faults):
            if method == request.method and request.target.lower().startswith(path):
                if times is not None:
                    self._faults[place:place + 1] = [(method, path, fault, times - 1)] if times > 1 else []
                return fault
        return Fault()

    def _carry_out(self, request: Request) -> Answer:
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
            return self._events(request, parameters["api-version"])
        return tell_instance(self._compute(), path, parameters)

    def _is_too_often(self, request: Request) -> bool:
        limit = self.requests_per_s
        if limit is None or len(self.requests) <= limit:
            return False
        return request.at_monotonic_s - self.requests[-1 - limit].at_monotonic_s < 1.0

    def _compute(self) -> dict[str, str]:
        return {"name": self.vm_name, "vmId": self.vm_id, "vmScaleSetName": self.scale_set, "osType": "Linux",
                "resourceId": f"/subscriptions/0/resourceGroups/drill/providers/Microsoft.Compute/{self.vm_name}"}

    def _events(self, request: Request, version: str) -> Answer:
        """An ETag, and 304 for who sends it back, are in no document; Microsoft's own sample in Node works with them
        (github.com/Azure/vm-scheduled-events)."""
        if version not in VERSIONS:
            return as_bad_request("api-version is invalid or was not specified in the request.")
        if request.method == "POST":
            return self._acknowledge(request)
        self._settle()
        listed = [{name: value for name, value in event.fields().items() if SINCE.get(name, "") <= version}
                  for event in self._listed.values() if SINCE.get(event.kind, "") <= version]
        etag = f'"{self.incarnation}"'
        if request.header("If-None-Match") == etag:
            return Answer(304, etag=etag)
        return replace(as_json(200, {"DocumentIncarnation": self.incarnation, "Events": listed}), etag=etag)

    def _acknowledge(self, request: Request) -> Answer:
        """Several ids in one POST are allowed; one that is not listed refuses them all, with a status of choice."""
        ids = read_start_requests(request.body)
        if ids is None:
            return as_bad_request("The request payload is malformed.")
        if any(event_id.lower() not in self._listed for event_id in ids):
            return as_json(self.unknown_id_status, {"error": "Bad request. The event is not known."})
        for event_id in ids:
            event = self._listed[event_id.lower()]
            event.acknowledged_at = event.acknowledged_at or self.platform_time()
            self.acknowledgements.append(Acknowledgement(event_id, request.at, request.at_monotonic_s))
        return Answer(200)
