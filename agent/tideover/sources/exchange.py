"""One HTTP exchange with a metadata service: straight there, bounded in size, and over by one deadline as a whole.

The time-outs of HTTP clients bound each wait, so a body that drips a byte a second lasts for ever; and what they bound
in size is one line or one body, so answers that never come to one have no end. Here the socket itself knows when the
exchange has to be over, and how many bytes may still come in. It speaks through the standard library's http.client,
which knows no proxies, redirects, cookies or compression: all that this service must never be asked through, and a
third of the memory of the clients that do.
"""
from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tideover.sources.readings import read_raw_s

LARGEST_BODY = 1 << 20           # bytes; a real document has a few hundred
LARGEST_HEAD = 1 << 16           # … and its headers too: with all that comes before them, as 100 Continue
LARGEST_FRAME = 1 << 16          # what may come with a body beside it: the sizes of its chunks, their ends, trailers
LONGEST_LENGTH = 20              # digits of a Content-Length that are looked at: int() refuses 4300 and more
TOO_LARGE = "the answer is larger than 1 MiB"
LOOK_S = 0.25                    # how soon a wait hears that it was cut: shutdown(2) wakes nobody on Windows
CONNECT_S = 5.0                  # the service is on this host: a connection that takes longer leads nowhere


class NoAnswer(Exception):
    """There was no whole answer; the message says why, for people, and is the same for the same trouble.

    `status`: of an answer that was whole and is none to us, None where there was nothing of the kind. `is_silence`:
    nothing was heard in time that ends the exchange.
    """

    def __init__(self, reason: str, status: int | None = None, *, is_silence: bool = False) -> None:
        super().__init__(reason)
        self.status, self.is_silence = status, is_silence


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` is read for a 200 to a GET only; else it is empty."""

    status: int
    body: bytes
    date: str                    # the Date header as it stood there, or ""
    asked_raw_s: float
    received_raw_s: float


class _TooMuch(OSError):
    """More came in than an exchange may bring; the message says so."""


class Bounds:
    """When the exchange under way has to be over, and how many bytes may still come: of a line and its socket."""

    def __init__(self, read_raw_s: Callable[[], float]) -> None:
        self._read_raw_s = read_raw_s
        self._at_raw_s = 0.0
        self._left, self._too_much = 0, ""
        self.cut = False         # somebody ended the exchange from outside
        self.sock: socket.socket | None = None

    def begin(self, limit_s: float) -> None:
        """An exchange begins: so much time for the whole, so many bytes for the head of its answer."""
        self._at_raw_s = self._read_raw_s() + limit_s
        self._left, self._too_much = LARGEST_HEAD, "the headers of the answer are larger than 64 KiB"

    def expect_body(self) -> None:
        """The head is here, perhaps with a part of the body behind it."""
        self._left, self._too_much = LARGEST_BODY + LARGEST_FRAME, TOO_LARGE

    def count(self, came: int) -> None:
        """So many bytes came in. Raise _TooMuch where that is more than may."""
        self._left -= came
        if self._left < 0:
            raise _TooMuch(self._too_much)

    def left_s(self) -> float:
        """Return the seconds left. Raise TimeoutError if there are none."""
        left_s = self._at_raw_s - self._read_raw_s()
        if left_s <= 0 or self.cut:
            raise TimeoutError
        return left_s


class _BoundedSocket(socket.socket):
    """A socket that waits for data until the deadline at most, however often it is asked, and takes in no more than
    the exchange may bring."""

    bounds: Bounds

    def recv_into(self, *place: Any) -> int:
        left_s = self.bounds.left_s()
        while True:
            self.settimeout(min(left_s, LOOK_S))
            try:
                came = super().recv_into(*place)
            except TimeoutError:
                left_s -= LOOK_S
                if left_s <= 0:
                    raise
            else:
                self.bounds.count(came)
                return came
            self.bounds.left_s()


class _NobodyThere(Exception):
    """The connection could not be made in time."""


class _Connection(http.client.HTTPConnection):
    """A connection whose socket keeps to the deadline."""

    def __init__(self, host: str, port: int | None, bounds: Bounds) -> None:
        super().__init__(host, port)
        self._bounds = bounds

    def connect(self) -> None:
        self.timeout = min(CONNECT_S, self._bounds.left_s())
        try:
            super().connect()
        except TimeoutError as error:
            raise _NobodyThere from error
        plain: socket.socket = self.sock
        bounded = _BoundedSocket(plain.family, plain.type, plain.proto, plain.detach())
        bounded.bounds = self._bounds
        bounded.settimeout(self._bounds.left_s())
        self.sock = self._bounds.sock = bounded

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
            self.sock.settimeout(self._bounds.left_s())
        return True


class Line:
    """One kept-alive connection to a service, for one thread at a time; `close` may come from any thread."""

    def __init__(self, headers: Mapping[str, str], read_raw_s: Callable[[], float] = read_raw_s) -> None:
        self._headers = dict(headers)
        self._read_raw_s = read_raw_s
        self._bounds = Bounds(read_raw_s)
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
        self._bounds.cut = True
        if self._bounds.sock is not None:
            with suppress(OSError):
                self._bounds.sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, method: str, url: str, body: bytes | None, limit_s: float) -> Answer:
        place = _place_of(url)
        self._bounds.begin(limit_s)
        try:
            connection = self._connect(place)
            answer = self._send(connection, method, url, body)
        except (OSError, http.client.HTTPException, ValueError, _NobodyThere) as error:
            self._hang_up()
            if self._bounds.cut:
                raise NoAnswer("ended by this agent") from error
            raise NoAnswer(_why(error), is_silence=isinstance(error, TimeoutError | _NobodyThere)) from error
        except NoAnswer:
            self._hang_up()
            raise
        return answer

    def _connect(self, place: SplitResult) -> _Connection:
        """Return the connection to a place, the one kept alive if it still lives. Raise TimeoutError."""
        self._bounds.left_s()
        if self._connection is not None and (self._place != place.netloc or self._connection.was_dropped()):
            self._hang_up()
        if self._connection is None:
            assert place.hostname is not None
            self._connection, self._place = _Connection(place.hostname, place.port, self._bounds), place.netloc
        return self._connection

    def _send(self, connection: _Connection, method: str, url: str, body: bytes | None) -> Answer:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        target = url.partition("://")[2].partition("/")
        asked_raw_s = self._read_raw_s()
        connection.request(method, f"/{target[2]}", body=body, headers=headers)
        response = connection.getresponse()
        self._bounds.expect_body()
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


def _place_of(url: str) -> SplitResult:
    """Given an address, return its parts. Raise NoAnswer if it is none that can be asked."""
    try:
        place = urlsplit(url)
        is_ours = place.scheme == "http" and bool(place.hostname) and place.port != 0
    except ValueError as error:
        raise NoAnswer("this is no usable address") from error
    if not is_ours:
        raise NoAnswer("this is no http:// address")
    return place


class PatientGet:
    """One question that may be answered late, asked again beside it on further connections, one at a time.

    The service may hold back the first call for two minutes; it may also be that the connection was taken by somebody
    who never answers. So what waits long must not be the only one that asks: after `probe_after_s` others ask beside
    it, each for `probe_limit_s` at most. The first answer counts, of whomever; and whatever a probe hears but silence
    is the outcome, for whoever answers, be it with an error, holds nothing back.
    """

    def __init__(self, open_line: Callable[[], Line], probe_after_s: float, probe_limit_s: float) -> None:
        self._probe_after_s, self._probe_limit_s = probe_after_s, probe_limit_s
        self._first, self._probe = open_line(), open_line()
        self._heard: tuple[Answer, Line] | NoAnswer | None = None        # by a probe
        self._over, self._lock = threading.Event(), threading.Lock()

    def ask(self, url: str, limit_s: float) -> tuple[Answer, Line]:
        """Given an address and how long the whole may take, return the answer and the line it came on, which is the
        caller's from then on. Raise NoAnswer."""
        prober = threading.Thread(target=self._ask_beside, args=(url,), name="first-call-probe", daemon=True)
        with suppress(RuntimeError):        # no thread can be had now: then nobody asks beside
            prober.start()
        try:
            answer = self._first.get(url, limit_s)
        except NoAnswer:
            heard = self._end()
            if heard is None:
                raise
            if isinstance(heard, NoAnswer):
                raise heard from None
            return heard
        self._end()
        self._probe.close()
        return answer, self._first

    def close(self) -> None:
        """Cut what is under way. From any thread."""
        self._over.set()
        self._first.close()
        self._probe.close()

    def _end(self) -> tuple[Answer, Line] | NoAnswer | None:
        """The first call is over: what is heard from now on counts nothing. Return what was heard until then."""
        with self._lock:
            self._over.set()
            return self._heard

    def _ask_beside(self, url: str) -> None:
        """On the prober's thread."""
        self._over.wait(self._probe_after_s)
        while not self._over.is_set():
            heard: tuple[Answer, Line] | NoAnswer
            try:
                heard = self._probe.get(url, self._probe_limit_s), self._probe
            except NoAnswer as error:
                if error.is_silence:
                    continue
                heard = error
            with self._lock:
                if self._over.is_set():
                    self._probe.close()
                    return
                self._heard = heard
            self._first.close()
            return


def _read_body(response: http.client.HTTPResponse) -> bytes:
    promised = _promised_length(response)
    body = bytearray()
    while len(body) <= LARGEST_BODY and (part := response.read(LARGEST_BODY + 1 - len(body))):
        body += part
    if len(body) > LARGEST_BODY:
        raise NoAnswer(TOO_LARGE)
    if promised is not None and len(body) != promised:
        raise NoAnswer("the answer was cut short")
    return bytes(body)


def _promised_length(response: http.client.HTTPResponse) -> int | None:
    """Return the length of the body that the headers promise, None where they promise none. Raise HTTPException for
    what RFC 9112 §6.3 says is not to be trusted: lengths that differ or are none, or one beside chunks."""
    lengths = set(response.headers.get_all("Content-Length", []))
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or "Transfer-Encoding" in response.headers or not (length.isascii() and length.isdecimal()):
        raise http.client.HTTPException("no length to be trusted")
    return int(length[:LONGEST_LENGTH])


def _why(error: BaseException) -> str:
    """Given what the client raised, return the cause beneath it, in the same words for the same trouble."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, _TooMuch):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror.lower()
    for kinds, words in _WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    return "the answer is no proper HTTP"


_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (_NobodyThere, "nobody answers there"),
    (TimeoutError, "no whole answer in time"),
    (http.client.InvalidURL, "this is no usable address"),
    (http.client.IncompleteRead, "the answer was cut short"),
    (http.client.RemoteDisconnected, "the connection was closed without an answer"),
)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
