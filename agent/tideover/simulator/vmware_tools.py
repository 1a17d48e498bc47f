"""A simulated VMware host with vMotion notifications, and a stand-in `vmtoolsd` that asks it.

Replies, their members and the texts of errors as captured from vSphere 8 ("vSphere vMotion Notifications",
core.vmware.com, and VMware's sample service). One application can register; the host waits for its acknowledgement
until the timeout. The stand-in is a program in a directory of its own, which passes its argument on to the service.
Reads nothing of the agent's.
"""
from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tideover.simulator.http import Request, SimulatedResponse
from tideover.simulator.service import Acknowledgement, SimulatedService

SERVICE = "vm-operation-notification"
PATH = "/vmtoolsd"
TIMEOUT_S = 120
FIRST_SCENARIO = "vmotion"
CANCEL_ONLY: frozenset[str] = frozenset()
EVENT_WORDS = {"freeze": "host-migration"}
INVALID = "Invalid input: {}, please see schema for detail and examples"

STAND_IN = '''#!{python} -IS
"""A stand-in for vmtoolsd: passes the text after --cmd to the simulated host, prints the reply and ends as it says."""
import socket, sys
words = sys.argv[1:]
text = (words[words.index("--cmd") + 1] if "--cmd" in words[:-1] else "").encode()
with socket.create_connection(({host!r}, {port}), timeout=10) as connection:
    head = "POST {path} HTTP/1.1\\r\\nHost: host\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
    connection.sendall((head % len(text)).encode() + text)
    answer = b""
    while part := connection.recv(65536):
        answer += part
head, _, body = answer.partition(b"\\r\\n\\r\\n")
status = int(head.split()[1]) if head else 500
sys.stdout.write(body.decode())
sys.exit(0 if status == 200 else 1)
'''


@dataclass(slots=True)
class _Migration:
    """One vMotion. `operation_id`: as the host numbers it."""

    operation_id: int
    timeout_s: int
    started: bool = False


class VmwareHost(SimulatedService):
    """The host as the VM `vm_name` sees it through its tools.

    `enabled`: whether notifications are on for this VM. `timeout_s`: how long it waits. `program`: the stand-in.
    """

    def __init__(self, vm_name: str = "vm-1", *, address: str = "127.0.0.1", port: int = 0,
                 now: Callable[[], float] = time.time) -> None:
        super().__init__(vm_name, address, port, now)
        self.enabled, self.timeout_s = True, TIMEOUT_S
        self.replayed: defaultdict[str, deque[bytes]] = defaultdict(deque)      # replies to a verb, byte for byte
        self.registered: tuple[str, str] | None = None      # the application's name and its token
        self._events: deque[dict[str, Any]] = deque()
        self._migrations: dict[str, _Migration] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="tideover-vmtoolsd-"))
        self.program = self._directory / "vmtoolsd"
        self.program.write_text(STAND_IN.format(python=sys.executable, host=self._server.address,
                                                port=self._server.port, path=PATH), encoding="utf-8")
        self.program.chmod(0o755)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def restart_vm(self) -> None:
        """The VM is restarted: its registration and the events in its queue are gone."""
        with self._changed:
            self.registered = None
            self._events.clear()

    def add_event(self, kind: str = EVENT_WORDS["freeze"], *, not_before_in_s: float = TIMEOUT_S,
                  duration_s: int | None = None) -> str:
        """Begin a vMotion: the host waits so long at most for the acknowledgement. Return its operation id. No event
        is sent where no application is registered; the platform never says how long it takes."""
        migration = _Migration((6279 << 50) + uuid.uuid4().int % (1 << 50), max(1, round(not_before_in_s)))
        with self._changed:
            self._migrations[str(migration.operation_id)] = migration
            self._tell("start", opType=kind, notificationTimeoutInSec=migration.timeout_s,
                       destNotificationTimeoutInSec=migration.timeout_s, operationId=migration.operation_id)
        return str(migration.operation_id)

    def change_timeout(self, timeout_s: int) -> str:
        """From here on the host waits so long; return the id of that notification."""
        operation_id = int(self.platform_time() * 1_000_000)
        with self._changed:
            self._tell("timeout-change", notificationTimeoutInSec=self.timeout_s, newNotificationTimeoutInSec=timeout_s,
                       operationId=operation_id)
            self.timeout_s = timeout_s
        return str(operation_id)

    def start_event(self, event_id: str) -> None:
        """The VM moves: nothing shows that. Raise KeyError if it is not listed."""
        with self._changed:
            self._migrations[event_id].started = True
            self._changed.notify_all()

    def remove_event(self, event_id: str) -> None:
        """The vMotion is over. Raise KeyError if it is not listed."""
        with self._changed:
            migration = self._migrations.pop(event_id)
            self._tell("end", opType="host-migration", opStatus="success" if migration.started else "failure",
                       operationId=migration.operation_id)

    def status_of(self, event_id: str) -> str | None:
        migration = self._migrations.get(event_id)
        return None if migration is None else "Started" if migration.started else "Scheduled"

    def _tell(self, what: str, **members: Any) -> None:
        if self.registered is not None:
            self._events.append({"eventType": what, "eventGenTimeInSec": int(self.platform_time()),
                                 "notificationTypes": ["sla-miss"], **members})
        self._changed.notify_all()

    def _carry_out(self, request: Request) -> SimulatedResponse:
        if not request.target.startswith(PATH):
            return SimulatedResponse(404, b"the host is asked through vmtoolsd only\n", "text/plain")
        name, _, text = request.body.decode("utf-8", "replace").partition(" ")
        service, _, verb = name.partition(".")
        try:
            arguments = json.loads(text) if text.strip() else {}
        except ValueError:
            arguments = None
        if service != SERVICE or not isinstance(arguments, dict):
            return SimulatedResponse(500, b"", "text/plain")        # exit status 1, and nothing printed
        if self.replayed[verb]:
            return SimulatedResponse(200, self.replayed[verb].popleft())
        reply = self._reply(verb, arguments)
        if isinstance(reply, str):
            reply = {"result": False, "errorMessage": f"{SERVICE}.{verb}: {INVALID.format(reply)}"}
        return SimulatedResponse(200, json.dumps({"version": "1.0.0", "result": True, **reply}).encode())

    def _reply(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any] | str:
        """Return the reply's members, or what is wrong with the request. The lock is held."""
        if not self.enabled:
            return "VM operation notification not enabled on this VM"
        if verb == "list":
            return {"info": [] if self.registered is None else [
                {"appName": self.registered[0], "notificationTypes": ["sla-miss"]}]}
        if verb == "register":
            return self._register(arguments)
        if self.registered is None or arguments.get("uniqueToken") != self.registered[1]:
            return "Could not find application with the token."
        if verb == "unregister":
            self.registered = None
            self._events.clear()
            return {}
        if verb == "check-for-event":
            return self._events.popleft() if self._events else {}
        if verb == "ack-event" and isinstance(arguments.get("operationId"), int):
            self.acknowledgements.append(Acknowledgement(str(arguments["operationId"]), self.platform_time(),
                                                         time.monotonic()))
            return {"operationId": arguments["operationId"], "ackStatus": "ack_received"}
        return f"{verb} is not known"

    def _register(self, arguments: dict[str, Any]) -> dict[str, Any] | str:
        if self.registered is not None:
            return ("Failed to register additional apps. Max allowed limit of 1 concurrent apps already registered.")
        if arguments.get("notificationTypes") != ["sla-miss"] or not isinstance(arguments.get("appName"), str):
            return "appName and notificationTypes are required"
        token = str(uuid.uuid4())
        self.registered = arguments["appName"], token
        return {"guaranteed": True, "uniqueToken": token, "notificationTimeoutInSec": self.timeout_s}


# --- What `simulate` and `drill` need to know

def open_service(vm_name: str = "vm-1", *, address: str = "127.0.0.1", port: int = 0) -> VmwareHost:
    """Return a host that is not started yet. Raise OSError if it cannot be served there."""
    return VmwareHost(vm_name, address=address, port=port)


def asks_for_events(request: Request) -> bool:
    """Whether a request asks what is announced."""
    return request.body.startswith(f"{SERVICE}.check-for-event".encode())


def is_acknowledgement(request: Request) -> bool:
    """Whether a request tries to acknowledge an event, granted or not."""
    return request.body.startswith(f"{SERVICE}.ack-event".encode())


def describe(service: SimulatedService, request: Request) -> str:
    """Given a request, return what was made of it."""
    return request.body.decode("utf-8", "replace").partition(" ")[0]


def source_settings(service: SimulatedService) -> Mapping[str, str]:
    """Return what [source] says to an agent that is to ask this service, beside its kind."""
    assert isinstance(service, VmwareHost)
    return {"vsphere.vmtoolsd": str(service.program)}


def usage(service: SimulatedService) -> tuple[tuple[str, str], ...]:
    """Return how a person or a program can use the service: what for, and the command or the lines to copy."""
    assert isinstance(service, VmwareHost)
    return (("look", f"{service.program} --cmd {SERVICE}.list"), ("clients", f"PATH={service.program.parent}:$PATH"))
