"""The simulator's HTTP server, with faults that can be injected.

A thread for each connection, kept alive; an answer leaves in one piece. The standard library's own server looks for its
shutdown twice a second; this one waits for connections only.
"""
from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from tideover.threads import Loop, start_task

REST_S = 0.05                                  # of accepting, after the system could not
CLOSE_S = 5.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)       # SO_LINGER of no time at all: the peer gets RST instead of FIN


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in. `at`: seconds since the epoch; `at_monotonic_s`: for the time between two of them."""

    at: float
    at_monotonic_s: float
    method: str
    target: str                  # path and query as they stood there
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Given a header's name, without case, return its value; None: it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """What goes wrong with an answer. With a status, a body, raw bytes or a reset the request is not carried out;
    one that is delayed, dripped or dropped is."""

    status: int | None = None
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0         # before the answer
    drip_s: float = 0.0          # after each byte of it
    raw: bytes | None = None     # all that is sent, instead of HTTP made here; then the connection is closed
    reset: bool = False          # RST instead of an answer
    drop: bool = False           # the connection is closed without one, after the request was carried out

    @property
    def replaces_the_answer(self) -> bool:
        return self.reset or any(part is not None for part in (self.status, self.body, self.raw))


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """What goes back. `date`: seconds since the epoch for the Date header, `etag`: for the ETag header; None: no such
    header."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    date: float | None = None
    fault: InjectedFault = InjectedFault()
    etag: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    server: str = "IMDS/simulated"


class HttpServer:
    """Serves `answer` at a loopback address; port 0: any that is free."""

    def __init__(self, address: str, port: int, answer: Callable[[Request], SimulatedResponse]) -> None:
        self.answer = answer
        self.closing = threading.Event()
        self.accepted = 0                      # connections so far
        self._listener = socket.create_server((address, port), backlog=64)
        self.address: str = self._listener.getsockname()[0]
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[socket.socket] = set()
        self._is_started = False
        self._loop = Loop("simulator", self._accept)

    def start(self) -> None:
        self._is_started = True
        self._loop.start()

    def close(self) -> None:
        """End every connection, at once."""
        self.closing.set()
        if self._is_started:
            with suppress(OSError):
                socket.create_connection((self.address, self.port), timeout=1).close()
            self._loop.end(CLOSE_S)
        self._listener.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError:                     # no descriptor, no memory, or the client went away meanwhile
                self.closing.wait(REST_S)
                continue
            if self.closing.is_set():
                connection.close()
                return
            self.accepted += 1
            self._connections.add(connection)
            start_task("simulator", partial(self._serve, connection, peer), partial(self._end, connection))

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        with suppress(OSError):          # the client went away in the middle, or the server was closed
            _SimulatedConnection(connection, peer, cast(Any, self))
        self._end(connection)

    def _end(self, connection: socket.socket, reason: str = "") -> None:
        self._connections.discard(connection)
        connection.close()


class _SimulatedConnection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def _converse(self) -> None:
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(int(length)) if length.isdecimal() and len(length) < 8 else b""
        answer: SimulatedResponse = self.server.answer(Request(time.time(), time.monotonic(), self.command, self.path,
                                                    tuple(self.headers.items()), body))
        fault = answer.fault
        self.server.closing.wait(fault.delay_s)
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        if fault.reset or fault.drop or self.server.closing.is_set():
            self.close_connection = True
            return
        self._write(self._compose(answer) if fault.raw is None else fault.raw, fault.drip_s)
        self.close_connection = self.close_connection or fault.raw is not None

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _converse

    def _compose(self, answer: SimulatedResponse) -> bytes:
        phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else "Unknown"
        headers = [("Content-Type", answer.content_type), ("Server", answer.server), *answer.headers,
                   *answer.fault.headers,
                   ("Content-Length", str(len(answer.body)))]
        if answer.date is not None:
            headers.append(("Date", formatdate(answer.date, usegmt=True)))
        if self.close_connection:           # else the client sends its next request on this connection
            headers.append(("Connection", "close"))
        if answer.etag is not None:
            headers.append(("ETag", answer.etag))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        body = b"" if self.command == "HEAD" else answer.body
        return f"HTTP/1.1 {answer.status} {phrase}\r\n{head}\r\n".encode("latin-1") + body

    def _write(self, payload: bytes, drip_s: float) -> None:
        if not drip_s:
            self.wfile.write(payload)
            return
        for place in range(len(payload)):
            self.wfile.write(payload[place:place + 1])
            if self.server.closing.wait(drip_s):
                return

    def log_message(self, *words: Any) -> None:
        """Requests are kept for who asks, not printed."""
