"""What the simulated services of all platforms share: what was asked, injected faults, the platform's clock.

A platform's own module has the service itself, and what `simulate` and `drill` need to know of it (SimulatorModule).
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, Self, cast

from tideover.platforms import Platform
from tideover.simulator.http import HttpServer, InjectedFault, Request, SimulatedResponse

REQUESTS_KEPT = 10_000           # two hours and more of one poller


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One event of an acknowledgement that was carried out. `at` is seconds since the epoch, by the service's clock;
    `vm_name`: the VM that sent it."""

    event_id: str
    at: float
    at_monotonic_s: float
    vm_name: str = ""


class SimulatedService:
    """A platform's service as the VM `vm_name` sees it. Start it, change what is announced, and look at what was asked.

    `now`: the platform's clock, seconds since the epoch.
    """

    def __init__(self, vm_name: str, address: str, port: int, now: Callable[[], float]) -> None:
        self.vm_name = vm_name
        self.sends_date, self.platform_ahead_s = True, 0.0
        self.requests: list[Request] = []
        self.acknowledgements: list[Acknowledgement] = []
        self._now = now
        self._faults: list[tuple[str, str, InjectedFault, int | None]] = []
        self._changed = threading.Condition(threading.RLock())
        self._server = HttpServer(address, port, self._answer)
        self.endpoint = f"http://{self._server.address}:{self._server.port}"

    def add_event(self, *words: Any, **fields: Any) -> str:
        """Announce an event of this VM, given the platform's word for its kind, how soon it may start
        (`not_before_in_s`), how long it takes (`duration_s`) and what else the platform says; return its id."""
        raise NotImplementedError

    def start_event(self, event_id: str) -> None:
        """Let it start. Raise KeyError if it is not listed."""
        raise NotImplementedError

    def move_event(self, event_id: str, not_before_in_s: float) -> None:
        """Let its NotBefore be another one. Raise KeyError if it is not listed or has started, NotImplementedError
        where the platform tells no time."""
        raise NotImplementedError

    def remove_event(self, event_id: str) -> None:
        """Take it off the list: finished if it had started, else cancelled. Raise KeyError if it is not listed."""
        raise NotImplementedError

    def beside(self, vm_name: str, *, port: int = 0) -> SimulatedService:
        """Return the service of another VM to which the platform shows the same events, at a port of its own. An
        acknowledgement by either counts for both. Raise NotImplementedError where the platform shows each VM its own
        events, OSError if it cannot be served there."""
        raise NotImplementedError

    def status_of(self, event_id: str) -> str | None:
        """Return Scheduled or Started; None if it is not listed."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """How many connections have been made so far."""
        return self._server.accepted

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inject_fault(self, fault: InjectedFault, *, method: str = "GET", path: str = "/",
                     times: int | None = 1) -> None:
        """Let the next `times` answers (None: all until `clear_faults`) to this method under this path go wrong."""
        with self._changed:
            self._faults.append((method, path, fault, times))

    def clear_faults(self) -> None:
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

    def _answer(self, request: Request) -> SimulatedResponse:
        with self._changed:
            self.requests.append(request)
            del self.requests[:-REQUESTS_KEPT]
            fault = self._take_fault(request)
            if fault.replaces_the_answer:
                answer = SimulatedResponse(fault.status or 200, fault.body or b"", fault=fault)
            else:
                answer = self._carry_out(request)
            self._changed.notify_all()
            date = self.platform_time() if self.sends_date else None
        return replace(answer, date=date, fault=fault)

    def _take_fault(self, request: Request) -> InjectedFault:
        for place, (method, path, fault, times) in enumerate(self._faults):
            if method == request.method and request.target.lower().startswith(path):
                if times is not None:
                    self._faults[place:place + 1] = [(method, path, fault, times - 1)] if times > 1 else []
                return fault
        return InjectedFault()

    def _carry_out(self, request: Request) -> SimulatedResponse:
        """Given a request that nothing goes wrong with, return its answer. The lock is held."""
        raise NotImplementedError


class SimulatorModule(Protocol):
    """What the module of a simulated platform has."""

    @property
    def FIRST_SCENARIO(self) -> str:
        """The scenario that is played where none is named."""

    @property
    def EVENT_WORDS(self) -> Mapping[str, str]:
        """The platform's word for each kind of event that a drill can play."""

    @property
    def CANCEL_ONLY(self) -> frozenset[str]:
        """The kinds of which a drill can only show the cancellation: nothing but a restart of the machine would show
        that they have begun."""

    def open_service(self, vm_name: str = "vm-1", *, address: str = "127.0.0.1", port: int = 0) -> SimulatedService:
        """Return a service that is not started yet. Raise OSError if it cannot be served there."""

    def asks_for_events(self, request: Request) -> bool:
        """Whether a request asks what is announced."""

    def is_acknowledgement(self, request: Request) -> bool:
        """Whether a request tries to acknowledge an event, granted or not."""

    def describe(self, service: SimulatedService, request: Request) -> str:
        """Given a request, return what was made of it: a refusal, an acknowledgement; "" where there is nothing to say.
        What the client sent is in it as it came."""

    def source_settings(self, service: SimulatedService) -> Mapping[str, str]:
        """Return what [source] says to an agent that is to ask this service, beside its kind."""

    def usage(self, service: SimulatedService) -> tuple[tuple[str, str], ...]:
        """Return how a person or a program can use the service: what for, and the command or the lines to copy."""


def load_simulator(platform: Platform) -> SimulatorModule:
    """Given a platform that is simulated, return its module."""
    return cast(SimulatorModule, import_module(platform.simulator))
