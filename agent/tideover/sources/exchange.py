"""One HTTP exchange with a metadata service: straight there, bounded in size, and over by one deadline as a whole.

The time-outs of HTTP clients bound each wait, so a body that drips a byte a second lasts for ever. Here the socket
itself knows when the exchange has to be over. It speaks through the standard library's http.client, which knows no
proxies, redirects, cookies or compression: all that this service must never be asked through, and a third of the memory
of the clients that do.
"""
from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tideover.sources.readings import read_raw_s

LARGEST_BODY = 1 << 20           # bytes; a real document has a few hundred
LONGEST_LENGTH = 20              # digits of a Content-Length that are looked at: int() refuses 4300 and more
LOOK_S = 0.25                    # how soon a wait hears that it was cut: shutdown(2) wakes nobody on Windows
CONNECT_S = 5.0                  # the service is on this host: a connection that takes longer leads nowhere


class NoAnswer(Exception):
    """There was no whole answer; the message says why, for people, and is the same for the same trouble.

    `status`: of an answer that was whole and is none to us, None where there was nothing of the kind.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` is read for a 200 to a GET only; else it is empty."""

    status: int
    body: bytes
    date: str                    # the Date header as it stood there, or ""
    asked_raw_s: float
    received_raw_s: float


class Deadline:
    """The moment at which the exchange under way has to be over, shared by a line and its socket."""

    def __init__(self, read_raw_s: Callable[[], float]) -> None:
        self._read_raw_s = read_raw_s
        self._at_raw_s = 0.0
        self.cut = False         # somebody ended the exchange from outside
        self.sock: socket.socket | None = None

    def set(self, limit_s: float) -> None:
        self._at_raw_s = self._read_raw_s() + limit_s

    def left_s(self) -> float:
        """Return the seconds left. Raise TimeoutError if there are none."""
        left_s = self._at_raw_s - self._read_raw_s()
        if left_s <= 0 or self.cut:
            raise TimeoutError
        return left_s


class _PunctualSocket(socket.socket):
    """A socket that waits for data until the deadline at most, however often it is asked."""

    deadline: Deadline

    def recv_into(self, *place: Any) -> int:
        left_s = self.deadline.left_s()
        while True:
            self.settimeout(min(left_s, LOOK_S))
            try:
                return super().recv_into(*place)
            except TimeoutError:
                left_s -= LOOK_S
                if left_s <= 0:
                    raise
            self.deadline.left_s()


class _NobodyThere(Exception):
    """The connection could not be made in time."""


class _Connection(http.client.HTTPConnection):
    """A connection whose socket keeps to the deadline."""

    def __init__(self, host: str, port: int | None, deadline: Deadline) -> None:
        super().__init__(host, port)
        self._deadline = deadline

    def connect(self) -> None:
        self.timeout = min(CONNECT_S, self._deadline.left_s())
        try:
            super().connect()
        except TimeoutError as error:
            raise _NobodyThere from error
        plain: socket.socket = self.sock
        punctual = _PunctualSocket(plain.family, plain.type, plain.proto, plain.detach())
        punctual.deadline = self._deadline
        punctual.settimeout(self._deadline.left_s())
        self.sock = self._deadline.sock = punctual

    def was_dropped(self) -> bool:
        """Whether the other side has closed what was kept alive, or has said something nobody asked for."""
        if self.sock is None:
            return False
        self.sock.settimeout(0)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(self._deadline.left_s())
        return True


class Line:
    """One kept-alive connection to a service, for one thread at a time; `close` may come from any thread."""

    def __init__(self, headers: Mapping[str, str], read_raw_s: Callable[[], float] = read_raw_s) -> None:
        self._headers = dict(headers)
        self._read_raw_s = read_raw_s
        self._deadline = Deadline(read_raw_s)
        self._connection: _Connection | None = None
        self._place = ""             # the scheme, host and port it leads to

    def get(self, url: str, limit_s: float) -> Answer:
        """Given an address and how long the whole may take, return the answer. Raise NoAnswer if there is none."""
        return self._exchange("GET", url, None, limit_s)

    def post(self, url: str, body: bytes, limit_s: float) -> Answer:
        """Given an address, a JSON body and how long the whole may take, return the answer. Raise NoAnswer."""
        return self._exchange("POST", url, body, limit_s)

    def close(self) -> None:
        """Cut an exchange that is under way, and refuse any further one."""
        self._deadline.cut = True
        if self._deadline.sock is not None:
            with suppress(OSError):
                self._deadline.sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, method: str, url: str, body: bytes | None, limit_s: float) -> Answer:
        self._deadline.set(limit_s)
        try:
            connection = self._connect(urlsplit(url))
            answer = self._send(connection, method, url, body)
        except (OSError, http.client.HTTPException, ValueError, _NobodyThere) as error:
            self._hang_up()
            raise NoAnswer("ended by this agent" if self._deadline.cut else _why(error)) from error
        except NoAnswer:
            self._hang_up()
            raise
        return answer

    def _connect(self, place: SplitResult) -> _Connection:
        """Return the connection to a place, the one kept alive if it still lives. Raise NoAnswer, ValueError."""
        if place.scheme != "http" or not place.hostname:
            raise NoAnswer("this is no http:// address")
        self._deadline.left_s()
        if self._connection is not None and (self._place != place.netloc or self._connection.was_dropped()):
            self._hang_up()
        if self._connection is None:
            self._connection, self._place = _Connection(place.hostname, place.port, self._deadline), place.netloc
        return self._connection

    def _send(self, connection: _Connection, method: str, url: str, body: bytes | None) -> Answer:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        target = url.partition("://")[2].partition("/")
        asked_raw_s = self._read_raw_s()
        connection.request(method, f"/{target[2]}", body=body, headers=headers)
        response = connection.getresponse()
        read = b""
        if method == "GET" and response.status == 200:
            read = _read_body(response)
        if not response.isclosed():
            self._hang_up()          # the body of an error is not read, so the connection cannot be used again
        return Answer(response.status, read, response.headers.get("Date", ""), asked_raw_s, self._read_raw_s())

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _read_body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while len(body) <= LARGEST_BODY and (part := response.read(LARGEST_BODY + 1 - len(body))):
        body += part
    if len(body) > LARGEST_BODY:
        raise NoAnswer("the answer is larger than 1 MiB")
    lengths = set(response.headers.get_all("Content-Length", []))
    if len(lengths) > 1:
        raise http.client.HTTPException("two lengths for one body (RFC 9112 §6.3: not to be trusted)")
    promised = "".join(lengths)
    if promised.isdecimal() and len(body) != int(promised[:LONGEST_LENGTH]):
        raise NoAnswer("the answer was cut short")
    return bytes(body)


def _why(error: BaseException) -> str:
    """Given what the client raised, return the cause beneath it, in the same words for the same trouble."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror.lower()
    if any(isinstance(cause, _NobodyThere) for cause in causes):
        return "nobody answers there"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "no whole answer in time"
    if any(isinstance(cause, http.client.InvalidURL | ValueError) for cause in causes):
        return "this is no usable address"
    if any(isinstance(cause, http.client.IncompleteRead) for cause in causes):
        return "the answer was cut short"
    if any(isinstance(cause, http.client.RemoteDisconnected) for cause in causes):
        return "the connection was closed without an answer"
    return "the answer is no proper HTTP"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
