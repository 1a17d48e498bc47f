"""All HTTP that this program speaks, on requests: deadlines, bounds of bytes, TLS, reuse of connections, reasons in
words.

`requests` and `urllib3` do the protocol. Two things they cannot do are added at the socket: their timeouts bound each
wait, so a body that drips one byte a second lasts forever, and they bound one line or one body, so interim responses,
trailers and chunks have no end. Here the socket itself knows the deadline of the exchange, and how many bytes may still
arrive; TLS (`tideover.http_tls`) is spoken through a socket that knows the same, and a name is resolved within the
deadline too. A `requests.Session` is not used: proxies of the environment, redirects, cookies, .netrc and decompression
are its work, and a metadata service must be asked without them. The transport adapter below it does none of these.
"""
from __future__ import annotations

import http.client
import math
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, IncompleteRead
from urllib3.poolmanager import SSL_KEYWORDS

from tideover.system.clocks import read_raw_s
from tideover.threads import start_task

MAX_BODY_BYTES = 1 << 20         # a real document of a metadata service has a few hundred
MAX_HEAD_BYTES = 1 << 16         # status line, headers, and the interim responses (100 Continue) before them
MAX_FRAMING_BYTES = 1 << 16      # what comes with a body: chunk sizes, chunk ends, trailers
MAX_LENGTH_DIGITS = 20           # of a Content-Length: int() refuses more than 4300
CONNECT_TIMEOUT_S = 5.0          # the servers asked are on this host, or one hop away
MOST_ADDRESSES = 4               # of one name that are tried, each for its share of the time
CLOSE_CHECK_S = 0.25             # how soon a wait sees that it was closed: shutdown(2) wakes no reader on Windows
JSON_CONTENT: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
BODY_TOO_LARGE = "the answer is larger than 1 MiB"
CLOSED = "the connection was closed without an answer"
HEAD_TOO_LARGE = "the headers of the answer are larger than 64 KiB"


class RequestFailed(Exception):
    """There was no complete HTTP response; the message says why, the same for the same cause.

    `status`: of a response that was complete but of no use, None if there was none. `timed_out`: neither a response
    nor an error arrived in time. `may_be_received`: the server may have got the request, and may act on it.
    `is_tls`: server and client do not trust each other, or do not speak the same TLS.
    """

    def __init__(self, reason: str, status: int | None = None, *, timed_out: bool = False,
                 may_be_received: bool = True, is_tls: bool = False) -> None:
        super().__init__(reason)
        self.status, self.timed_out, self.may_be_received, self.is_tls = status, timed_out, may_be_received, is_tls


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response. `body` is read for a 200 to a GET or a PUT only, and by `exchange`; otherwise it is empty."""

    status: int
    body: bytes
    date: str                    # the Date header as received, or ""
    headers: Mapping[str, str]   # all as received; a name in any case
    sent_raw_s: float
    received_raw_s: float


class _LimitExceeded(OSError):
    """More bytes arrived than an exchange may bring; the message says of what."""


class _ExchangeLimits:
    """The deadline of the exchange in progress and the bytes it may still bring, shared by a client and its socket."""

    def __init__(self, read_raw_s: Callable[[], float]) -> None:
        self._read_raw_s = read_raw_s
        self._deadline_raw_s = 0.0
        self._bytes_left, self._reason = 0, ""
        self.closed = False              # by `HttpClient.close`
        self.sock: socket.socket | None = None

    def begin(self, timeout_s: float) -> None:
        """An exchange begins: so many seconds for all of it, and bytes for the head of its response."""
        self._deadline_raw_s = self._read_raw_s() + timeout_s
        self._bytes_left, self._reason = MAX_HEAD_BYTES, HEAD_TOO_LARGE

    def expect_body(self) -> None:
        """The head has been read, perhaps with part of the body behind it."""
        self._bytes_left, self._reason = MAX_BODY_BYTES + MAX_FRAMING_BYTES, BODY_TOO_LARGE

    def count(self, received: int) -> None:
        """Bytes have arrived. Raise _LimitExceeded if they are too many."""
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise _LimitExceeded(self._reason)

    def left_s(self) -> float:
        """Return the seconds left. Raise TimeoutError if there are none, or the client was closed."""
        left_s = self._deadline_raw_s - self._read_raw_s()
        if left_s <= 0 or self.closed:
            raise TimeoutError
        return left_s


class _NotResolved(TimeoutError):
    """The name service has not answered within the time of the exchange."""


class LimitedStream:
    """The part of a socket whose reads and writes all end at the deadline of the exchange; reads count against its
    bytes."""

    limits: _ExchangeLimits

    def recv_into(self: Any, *place: Any) -> int:
        left_s = self.limits.left_s()
        while True:
            self.settimeout(min(left_s, CLOSE_CHECK_S))
            try:
                received: int = super().recv_into(*place)     # type: ignore[misc]
            except TimeoutError:
                left_s -= CLOSE_CHECK_S
                if left_s <= 0:
                    raise
            else:
                self.limits.count(received)
                return received
            self.limits.left_s()

    def sendall(self: Any, *data: Any) -> None:
        self.settimeout(self.limits.left_s())
        super().sendall(*data)      # type: ignore[misc]


class _LimitedSocket(LimitedStream, socket.socket):
    pass


class TlsLayer(Protocol):
    """TLS as `tideover.http_tls` speaks it. Named here only: `ssl` and OpenSSL are 5 MiB of an agent that asks an
    http:// metadata service all day."""

    def wrap(self, plain: socket.socket, host: str) -> Any:
        """Given a connected socket and the server's name, return the socket that speaks TLS through it, a
        `LimitedStream` too, before its handshake."""

    def refusal(self, error: BaseException) -> str | None:
        """Given an exception, return in words what TLS refused; None where this is no failure of TLS."""

    def is_cut(self, error: BaseException) -> bool:
        """Whether the connection ended where TLS did not: the server was killed, or a cut on the way."""


class _Resolver:
    """Addresses of names, within a time. Of a name service that does not answer, one thread at most waits."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()
        self._is_waiting = False

    def addresses(self, host: str, port: int, timeout_s: float) -> list[str]:
        """Given a name or an address, return the addresses to try. Raise OSError."""
        if _is_address(host):
            return [host]
        if not self._is_waiting:
            self._is_waiting = True
            start_task("http-resolve", partial(self._resolve, host, port), lambda why: self._answers.put(OSError(why)))
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise _NotResolved from None
        self._is_waiting = False
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _resolve(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._answers.put(error)
        else:
            self._answers.put(list(dict.fromkeys(str(one[4][0]) for one in found))[:MOST_ADDRESSES])


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except (OSError, UnicodeError):
        return False
    return True


class _Connection(HTTPConnection):
    """A connection of urllib3 that reads through a limited socket."""

    def __init__(self, *arguments: Any, limits: _ExchangeLimits, resolver: _Resolver, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limits, self._resolver = limits, resolver

    def _new_conn(self) -> socket.socket:
        plain = self._connect_plain()
        limited = _LimitedSocket(plain.family, plain.type, plain.proto, plain.detach())
        limited.limits, limited.limits.sock = self.limits, limited
        limited.settimeout(self.limits.left_s())        # raises when the client was closed while this connected
        return limited

    def _connect_plain(self) -> socket.socket:
        """Connect to one of the host's addresses, all of them in the time that this exchange has."""
        name = self._dns_host
        addresses = self._resolver.addresses(name.strip("[]"), self.port, self.limits.left_s())
        try:
            while True:
                self._dns_host = addresses.pop(0)
                self.timeout = min(CONNECT_TIMEOUT_S, self.limits.left_s() / (len(addresses) + 1))
                try:
                    plain: socket.socket = super()._new_conn()
                    return plain
                except (HTTPError, OSError):
                    if not addresses:
                        raise
        finally:
            self._dns_host = name


class _TlsConnection(_Connection):
    default_port = 443      # type: ignore[misc]

    def __init__(self, *arguments: Any, tls: TlsLayer, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tls = tls

    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        secure = self._tls.wrap(plain, self.host.strip("[]"))
        secure.limits, self.limits.sock = self.limits, secure
        secure.settimeout(self.limits.left_s())
        secure.do_handshake()       # its timeout bounds all of it
        return secure       # type: ignore[no-any-return]


class _Pool(HTTPConnectionPool):
    """A pool of one connection. The TLS options of requests and urllib3 do not reach it: the context has them all."""

    def __init__(self, connection: Callable[..., HTTPConnection], *arguments: Any, **options: Any) -> None:
        self.ConnectionCls = connection         # type: ignore[assignment]
        super().__init__(*arguments, **{name: value for name, value in options.items() if name not in SSL_KEYWORDS})


class _Adapter(HTTPAdapter):
    """The transport of requests with one kept-alive connection, http or https as given, and no retries of its own."""

    def __init__(self, limits: _ExchangeLimits, tls: TlsLayer | None) -> None:
        if tls is None:
            self._pools = {"http": partial(_Pool, partial(_Connection, limits=limits, resolver=_Resolver()))}
        else:
            secure = partial(_TlsConnection, tls=tls, limits=limits, resolver=_Resolver())
            self._pools = {"https": partial(_Pool, secure)}
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=1, maxsize=1)
        self.poolmanager.pool_classes_by_scheme = self._pools    # type: ignore[assignment]

    def cert_verify(self, *what: Any) -> None:
        """The context does it; requests would add the authorities of its own file."""


class HttpClient:
    """One kept-alive connection to a server, for one thread at a time; `close` may come from any thread."""

    def __init__(self, headers: Mapping[str, str], read_raw_s: Callable[[], float] = read_raw_s, *,
                 tls: TlsLayer | None = None, longest_idle_s: float = math.inf) -> None:
        """`headers`: sent with every request. `tls`: a `tideover.http_tls.Tls`, for https:// and nothing else; None:
        for http:// and nothing else. `longest_idle_s`: a connection that was idle for longer is not used again: a NAT
        or a load balancer may have forgotten it without a word."""
        self._headers = dict(headers)
        self._read_raw_s = read_raw_s
        self._tls, self._scheme = tls, "http" if tls is None else "https"
        self._limits = _ExchangeLimits(read_raw_s)
        self._adapter = _Adapter(self._limits, tls)
        self._longest_idle_s, self._used_raw_s = longest_idle_s, -math.inf
        self._busy = threading.Lock()

    def get(self, url: str, timeout_s: float, headers: Mapping[str, str] = MappingProxyType({})) -> HttpResponse:
        """Given a URL, how long the whole exchange may take and headers for this request alone, return the response.
        Raise RequestFailed."""
        return self._exchange("GET", url, None, timeout_s, headers)

    def put(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> HttpResponse:
        """PUT without a body; else as `get`."""
        return self._exchange("PUT", url, None, timeout_s, headers)

    def post(self, url: str, body: bytes, timeout_s: float) -> HttpResponse:
        """Given a URL, a JSON body and how long the whole exchange may take, return the response. Raise
        RequestFailed."""
        return self._exchange("POST", url, body, timeout_s, JSON_CONTENT)

    def exchange(self, method: str, url: str, timeout_s: float, body: bytes | None = None,
                 headers: Mapping[str, str] = MappingProxyType({})) -> HttpResponse:
        """Any method, with a body or without; return the response with its body, whatever its status. Raise
        RequestFailed."""
        return self._exchange(method, url, body, timeout_s, headers, read_all=True)

    def close(self) -> None:
        """End an exchange in progress, and refuse every further one."""
        self._limits.closed = True
        sock = self._limits.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._dispose()

    def _dispose(self) -> None:
        """Close the connection, unless an exchange is in progress: its thread does it then."""
        if self._busy.acquire(blocking=False):
            self._disconnect()
            self._busy.release()

    def _disconnect(self) -> None:
        self._adapter.close()
        sock, self._limits.sock = self._limits.sock, None
        if sock is not None:
            sock.close()            # urllib3 never saw it if the connection was not finished

    def _exchange(self, method: str, url: str, body: bytes | None, timeout_s: float, headers: Mapping[str, str],
                  *, read_all: bool = False) -> HttpResponse:
        _check_url(url, self._scheme)
        try:
            with self._busy:
                return self._try_exchange(method, url, body, timeout_s, headers, read_all)
        finally:
            if self._limits.closed:
                self._dispose()

    def _try_exchange(self, method: str, url: str, body: bytes | None, timeout_s: float, headers: Mapping[str, str],
                      read_all: bool) -> HttpResponse:
        self._limits.begin(timeout_s)
        if self._read_raw_s() - self._used_raw_s > self._longest_idle_s:
            self._disconnect()
        try:
            return self._send(self._prepare(method, url, body, headers), read_all)
        except (requests.RequestException, HTTPError, OSError, ValueError, http.client.HTTPException) as error:
            was_connected = self._limits.sock is not None
            self._disconnect()
            if self._limits.closed:
                raise RequestFailed("ended by this agent", may_be_received=was_connected) from error
            reason, timed_out = _reason_for(error, self._tls)
            raise RequestFailed(reason, timed_out=timed_out, may_be_received=was_connected,
                                is_tls=self._is_tls_refusal(error)) from error
        except RequestFailed:
            self._disconnect()
            raise

    def _is_tls_refusal(self, error: BaseException) -> bool:
        return self._tls is not None and any(self._tls.refusal(cause) is not None for cause in _chain(error))

    def _prepare(self, method: str, url: str, body: bytes | None,
                 headers: Mapping[str, str]) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.prepare(method=method, url=url, headers={**self._headers, **headers}, data=body)
        return request

    def _send(self, request: requests.PreparedRequest, read_all: bool) -> HttpResponse:
        sent_raw_s, left_s = self._read_raw_s(), self._limits.left_s()
        response = self._adapter.send(request, stream=True, timeout=(min(CONNECT_TIMEOUT_S, left_s), left_s))
        self._limits.expect_body()
        try:
            wanted = read_all or (request.method in ("GET", "PUT") and response.status_code == 200)
            body = _read_body(response) if wanted else b""
        finally:
            if not response.raw.closed:
                response.close()        # with its connection: a body that was not read would be in the way
        self._used_raw_s = self._read_raw_s()
        return HttpResponse(response.status_code, body, response.headers.get("Date", ""), response.headers,
                            sent_raw_s, self._used_raw_s)


class HedgedGet:
    """A GET whose response may take minutes, repeated on a second connection meanwhile: a hedged request.

    A metadata service may hold back the first call after a while. But a connection may also be accepted and never
    answered, and then a long timeout must not delay everything. So after `hedge_after_s` the same URL is requested
    again, for `hedge_timeout_s` at a time, until one of both answers. An error of a hedge ends the wait too, except a
    timeout: a server that answers holds nothing back.
    """

    def __init__(self, make_client: Callable[[], HttpClient], hedge_after_s: float, hedge_timeout_s: float) -> None:
        self._hedge_after_s, self._hedge_timeout_s = hedge_after_s, hedge_timeout_s
        self._patient, self._hedge = make_client(), make_client()
        self._hedge_result: tuple[HttpResponse, HttpClient] | RequestFailed | None = None
        self._over, self._lock = threading.Event(), threading.Lock()

    def get(self, url: str, timeout_s: float) -> tuple[HttpResponse, HttpClient]:
        """Given a URL and how long the whole may take, return the response and the client it came through, which
        belongs to the caller from then on. Raise RequestFailed."""
        start_task("http-hedge", partial(self._run_hedge, url))     # where no thread can be started there is no hedge
        try:
            response = self._patient.get(url, timeout_s)
        except RequestFailed:
            result = self._finish()
            if result is None:
                self._hedge.close()
                raise
            if isinstance(result, RequestFailed):
                raise result from None
            return result
        self._finish()
        self._hedge.close()
        return response, self._patient

    def close(self) -> None:
        """End the requests in progress. From any thread."""
        self._over.set()
        self._patient.close()
        self._hedge.close()

    def _finish(self) -> tuple[HttpResponse, HttpClient] | RequestFailed | None:
        """The patient request is over: a hedge that ends later counts for nothing. Return what it had until then."""
        with self._lock:
            self._over.set()
            return self._hedge_result

    def _run_hedge(self, url: str) -> None:
        """On the hedge's thread."""
        self._over.wait(self._hedge_after_s)
        while not self._over.is_set():
            result: tuple[HttpResponse, HttpClient] | RequestFailed
            try:
                result = self._hedge.get(url, self._hedge_timeout_s), self._hedge
            except RequestFailed as error:
                if error.timed_out:
                    continue
                result = error
            with self._lock:
                if self._over.is_set():
                    return self._hedge.close()
                self._hedge_result = result
            return self._patient.close()
        return None


def _check_url(url: str, scheme: str) -> None:
    """Raise RequestFailed if this is no URL of the scheme that can be requested."""
    try:
        place = urlsplit(url)
        usable = place.scheme == scheme and bool(place.hostname) and place.port != 0
    except ValueError as error:
        raise RequestFailed("not a valid address", may_be_received=False) from error
    if not usable:
        raise RequestFailed(f"not an {scheme}:// address", may_be_received=False)


def _read_body(response: requests.Response) -> bytes:
    """Return the body as sent, not decompressed. Raise RequestFailed if it is too large or not all of it arrived."""
    promised = _promised_length(response)
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        part = response.raw.read(MAX_BODY_BYTES + 1 - len(body), decode_content=False)
        if not part:
            break
        body += part
    if len(body) > MAX_BODY_BYTES:
        raise RequestFailed(BODY_TOO_LARGE)
    if promised is not None and len(body) != promised:
        raise RequestFailed("the answer was cut short")
    return bytes(body)


def _promised_length(response: requests.Response) -> int | None:
    """Return Content-Length, None if there is none. Raise HTTPException for what RFC 9112 §6.3 calls an error: lengths
    that differ or are no numbers, or one together with chunks."""
    lengths = set(response.raw.headers.getlist("Content-Length"))
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or "Transfer-Encoding" in response.headers or not (length.isascii() and length.isdecimal()):
        raise http.client.HTTPException("no usable Content-Length")
    return int(length[:MAX_LENGTH_DIGITS])


_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (_NotResolved, "its name was not resolved in time"),
    (requests.ConnectTimeout, "the connection was not accepted in time"),
    (TimeoutError, "no complete answer in time"),
    ((requests.exceptions.InvalidURL, http.client.InvalidURL), "not a valid address"),
    ((http.client.IncompleteRead, IncompleteRead), "the answer was cut short"),
    (http.client.RemoteDisconnected, CLOSED),
)


def _reason_for(error: BaseException, tls: TlsLayer | None) -> tuple[str, bool]:
    """Given what the libraries raised, return the cause below it in words, and whether it was a timeout."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, _LimitExceeded):
            return str(cause), False
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved", False
        if tls is not None and (refusal := tls.refusal(cause)) is not None:
            return refusal, False
        if tls is not None and tls.is_cut(cause):
            return CLOSED, False
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror.lower(), False
    for kinds, words in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words, any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes)
    return "not a valid HTTP answer", False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those below it; urllib3 wraps a TLS failure as an argument."""
    while error is not None:
        yield error
        wrapped = next((one for one in error.args if isinstance(one, BaseException)), None)
        error = error.__cause__ or error.__context__ or wrapped
