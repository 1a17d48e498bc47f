"""One HTTP exchange with a metadata service: straight there, bounded in size, and over by one deadline as a whole.

The time-outs of HTTP clients bound each wait, so a body that drips a byte a second lasts for ever. Here the socket
itself knows when the exchange has to be over. Never goes through a proxy whatever the environment says, never follows a
redirect, never unpacks a compressed answer, and never reads the body of an error.
"""
from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from tideover.sources.readings import read_raw_s

LARGEST_BODY = 1 << 20           # bytes; a real document has a few hundred
LONGEST_LENGTH = 20              # digits of a Content-Length that are looked at: int() refuses 4300 and more
CONNECT_S = 5.0                  # the service is on this host: a connection that takes longer leads nowhere


class NoAnswer(Exception):
    """There was no whole answer; the message says why, for people, and is the same for the same trouble."""


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
        self.settimeout(self.deadline.left_s())
        return super().recv_into(*place)


def _punctual_pool(deadline: Deadline) -> type[HTTPConnectionPool]:
    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            plain: socket.socket = self.sock
            timeout_s = plain.gettimeout()
            self.sock = deadline.sock = _PunctualSocket(plain.family, plain.type, plain.proto, plain.detach())
            self.sock.deadline = deadline
            self.sock.settimeout(timeout_s)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


class _Adapter(HTTPAdapter):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        super().init_poolmanager(*sizes, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _punctual_pool(self._deadline)}


class Line:
    """One kept-alive connection to a service, for one thread at a time; `close` may come from any thread.

    It sends through requests' adapter and not its Session: a Session reads a redirect's whole body even when told not
    to follow it, keeps cookies, and looks for proxies in the environment.
    """

    def __init__(self, headers: Mapping[str, str], read_raw_s: Callable[[], float] = read_raw_s) -> None:
        self._headers = dict(headers)
        self._read_raw_s = read_raw_s
        self._deadline = Deadline(read_raw_s)
        self._adapter = _Adapter(self._deadline)
        self._prepared: dict[str, requests.PreparedRequest] = {}

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
        self._adapter.close()

    def _exchange(self, method: str, url: str, body: bytes | None, limit_s: float) -> Answer:
        self._deadline.set(limit_s)
        try:
            return self._send(self._prepare(method, url, body), (min(CONNECT_S, self._deadline.left_s()), limit_s))
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            raise NoAnswer("ended by this agent" if self._deadline.cut else _why(error)) from error

    def _prepare(self, method: str, url: str, body: bytes | None) -> requests.PreparedRequest:
        """The same GET is sent once a second for months: it is put together once."""
        if not url.startswith("http://"):
            raise NoAnswer("this is no http:// address")
        if body is not None:
            headers = {**self._headers, "Content-Type": "application/json"}
            return requests.Request(method, url, headers=headers, data=body).prepare()
        if url not in self._prepared:
            self._prepared[url] = requests.Request(method, url, headers=self._headers).prepare()
        return self._prepared[url]

    def _send(self, prepared: requests.PreparedRequest, timeout_s: tuple[float, float]) -> Answer:
        asked_raw_s = self._read_raw_s()
        with self._adapter.send(prepared, stream=True, timeout=timeout_s, proxies={}) as response:
            body = _read_body(response) if prepared.method == "GET" and response.status_code == 200 else b""
        return Answer(response.status_code, body, response.headers.get("Date", ""), asked_raw_s, self._read_raw_s())


def _read_body(response: requests.Response) -> bytes:
    body: bytes = response.raw.read(LARGEST_BODY + 1, decode_content=False)
    if len(body) > LARGEST_BODY:
        raise NoAnswer("the answer is larger than 1 MiB")
    promised = response.headers.get("Content-Length", "")
    if promised.isdecimal() and len(body) != int(promised[:LONGEST_LENGTH]):
        raise NoAnswer("the answer was cut short")
    return body


def _why(error: BaseException) -> str:
    """Given what the client raised, return the cause beneath it, in the same words for the same trouble."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror.lower()
    if any(isinstance(cause, requests.ConnectTimeout) for cause in causes):
        return "nobody answers there"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "no whole answer in time"
    if any(isinstance(cause, requests.exceptions.InvalidURL) for cause in causes):
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
