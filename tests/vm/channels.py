"""The lines to a hypervisor and into its guest: commands with answers (QMP, guest agent), and what the guest tells.

QMP and guest agent: QEMU documentation, "QEMU Machine Protocol Specification" and "QEMU Guest Agent Protocol
Reference". Both are lines of JSON over a socket.
"""
from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ground import LabError

RESET = b"\xff"                      # makes the guest agent forget half a request; answered with noise


def connect(path: Path, patience_s: float = 10.0) -> socket.socket:
    """Given a socket that is about to be served, return a connection to it. Raise LabError if it is not served."""
    until = time.monotonic() + patience_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > until:
                raise LabError(f"nobody answers at {path.name}: {error}") from error
            time.sleep(0.02)


class JsonLines:
    """One JSON value a line, both ways."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._rest = b""

    def send(self, value: Mapping[str, Any], before: bytes = b"") -> None:
        self._connection.sendall(before + json.dumps(value).encode() + b"\n")

    def receive(self, until: float) -> Any:
        """Return the next value. Raise TimeoutError at `until` (monotonic), LabError if the other side is gone."""
        while b"\n" not in self._rest:
            self._connection.settimeout(max(0.001, until - time.monotonic()))
            received = self._connection.recv(1 << 16)
            if not received:
                raise LabError("the hypervisor hung up")
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line.lstrip(RESET))

    def close(self) -> None:
        self._connection.close()


class Monitor:
    """QMP: commands to the hypervisor, and its events with the times it gives them."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._events: list[dict[str, Any]] = []
        self._lines.receive(time.monotonic() + 10)           # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Given a command, return its answer. Raise LabError if it is refused."""
        self._lines.send({"execute": command, "arguments": arguments})
        until = time.monotonic() + 30
        while True:
            answer = self._lines.receive(until)
            if "error" in answer:
                raise LabError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events.append(answer)

    def time_of(self, event: str, patience_s: float = 30.0) -> float:
        """Given an event's name, wait for the next of them; return its time, seconds since the epoch."""
        until = time.monotonic() + patience_s
        while True:
            for place, seen in enumerate(self._events):
                if seen["event"] == event:
                    del self._events[:place + 1]
                    return float(seen["timestamp"]["seconds"] + seen["timestamp"]["microseconds"] / 1e6)
            self._events.append(self._lines.receive(until))

    def forget(self) -> None:
        """Forget the events so far."""
        self.ask("query-status")
        self._events.clear()

    def close(self) -> None:
        self._lines.close()


class GuestAgent:
    """QEMU's own agent in the guest: it needs no network and survives a migration."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._numbers = itertools.count(time.monotonic_ns())
        self._lines.send({"execute": "guest-ping", "id": "first"}, RESET)

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None, patience_s: float = 60.0) -> Any:
        """Given a command, return its answer. Raise LabError if it is refused, TimeoutError if none comes."""
        number = next(self._numbers)
        self._lines.send({"execute": command, "arguments": arguments or {}, "id": number})
        until = time.monotonic() + patience_s
        while True:
            with suppress(ValueError):                       # the noise of a reset
                answer = self._lines.receive(until)
                if answer.get("id") == number and "error" in answer:
                    raise LabError(f"{command}: {answer['error']['desc']}")
                if answer.get("id") == number:
                    return answer["return"]

    def close(self) -> None:
        self._lines.close()


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the guest's second serial port. `at`: seconds since the epoch by the host, when it was here whole."""

    at: float
    text: str


class Ear:
    """Listens to what guests tell on their second serial port, stamped by the host's clock, which is never stopped."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._more = threading.Condition()

    def listen(self, path: Path) -> None:
        """Given the socket of one guest's port, hear it until it is closed."""
        threading.Thread(target=self._hear, args=(connect(path),), name="ear", daemon=True).start()

    def told(self, since: float = 0.0) -> list[Told]:
        """Return what was printed since then."""
        with self._more:
            return [line for line in self._told if line.at >= since]

    def wait_for(self, words: str, since: float, patience_s: float) -> Told | None:
        """Given words, return the first line printed since then that has them; None: none came in time."""
        def found() -> Told | None:
            return next((line for line in self._told if line.at >= since and words in line.text), None)
        with self._more:
            return self._more.wait_for(found, patience_s)

    def _hear(self, connection: socket.socket) -> None:
        rest = b""
        with connection:
            while received := _received(connection):
                at = time.time()
                *lines, rest = (rest + received).split(b"\n")
                with self._more:
                    self._told += [Told(at, line.decode(errors="replace").strip()) for line in lines]
                    self._more.notify_all()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""
