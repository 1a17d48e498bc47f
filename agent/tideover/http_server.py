"""The small HTTP server of health page and metrics: connections at once, time limits, the form of the health page.

Each conversation is one request and one answer, over within its time, however the client drips, in either direction.
Their number is bounded: the oldest makes room for a new one. When the system cannot give a connection (no descriptor,
no memory), that is reported once, and tried again until it can.
"""
from __future__ import annotations

import contextlib
import math
import queue
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tideover.errors import system_reason
from tideover.system.wakeup import Wakeup
from tideover.threads import Loop, start_task

LONGEST_REQUEST = 8192
CONNECTIONS_AT_MOST = 128       # at once on one address; with 8 KiB of request each that is 1 MiB
SLOW_ANSWERS_AT_MOST = 16       # being made at once, each on a thread; the others wait for their turn
ACCEPTED_AT_ONCE = 16           # before those who are in are looked at again
FIRST_REST_S, LONGEST_REST_S = 0.05, 1.0        # of accepting, after the system could not
QUIET_S = 5.0                   # without trouble, until it counts as over
CLOSE_S = 2.0
ANSWERED_WITHIN_S = 1.0         # at the close: what was asked before it may be its cause, and is answered

Answer = bytes | Callable[[], bytes] | None
"""The bytes, or the function that makes them (on a thread of its own: it may take long); None: the request is
incomplete."""
Answers = Callable[[bytes, bool], Answer]
"""Given the bytes received from a client and whether the request is complete, return the answer."""
OnProblem = Callable[[str | None], None]
"""Called with the reason why no client can connect, and with None when that is over."""


def ignore_problem(reason: str | None) -> None:
    """The default of `on_problem`."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a connection may last, how long a request may be, and after which silence it counts as complete."""

    whole_s: float
    request_bytes: int = LONGEST_REQUEST
    silence_s: float = math.inf


class _Client:
    """One connection. `until_s`: its deadline; `silent_s`: when a client that has sent nothing gets its answer."""

    __slots__ = ("answer", "channel", "descriptor", "is_request_read", "received", "silent_s", "until_s")

    def __init__(self, channel: socket.socket, limits: ConnectionLimits) -> None:
        now_s = time.monotonic()
        self.channel, self.descriptor = channel, channel.fileno()
        self.received, self.answer, self.is_request_read = bytearray(), memoryview(b""), False
        self.until_s, self.silent_s = now_s + limits.whole_s, now_s + limits.silence_s

    @property
    def next_s(self) -> float:
        return self.until_s if self.received or self.is_request_read else min(self.silent_s, self.until_s)


class ConnectionListener:
    """Given a socket that listens, which is closed with this, lets clients in and answers each."""

    def __init__(self, listener: socket.socket, name: str, limits: ConnectionLimits, answers: Answers,
                 on_problem: OnProblem) -> None:
        """`name`: the thread's."""
        self._listener, self._name, self._limits = listener, name, limits
        self._answers, self._on_problem = answers, on_problem
        self._clients: dict[int, _Client] = {}          # by descriptor, the oldest first
        self._slow = 0
        self._waiting: deque[tuple[_Client, Callable[[], bytes]]] = deque()
        self._made: queue.SimpleQueue[tuple[_Client, bytes]] = queue.SimpleQueue()
        self._rest_s, self._accept_at_s, self._trouble_at_s = FIRST_REST_S, 0.0, 0.0
        self._is_accepting, self._is_troubled, self._is_closing = True, False, False
        self._wakeup = Wakeup()
        listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._loop = Loop(name, self._serve)
        self._loop.start()

    def close(self) -> None:
        self._is_closing = True
        self._wakeup.set()
        if self._loop.end(CLOSE_S):
            for client in list(self._clients.values()):
                self._drop(client)
            self._selector.close()
            self._wakeup.close()
        self._listener.close()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._is_closing:
            self._serve_once(self._wait_s())
        until_s = time.monotonic() + ANSWERED_WITHIN_S
        while any(client.is_request_read for client in self._clients.values()) \
                and (left_s := until_s - time.monotonic()) > 0:
            self._serve_once(left_s)

    def _serve_once(self, wait_s: float | None) -> None:
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._wakeup:
                self._take_made()
            elif key.fileobj is self._listener:
                self._accept()
            elif (client := self._clients.get(key.fd)) is not None and client.channel is key.fileobj:
                # else the number is a newer client's: the event's own was dropped a moment ago
                self._go_on(client, self._send if client.answer else self._receive)
        self._look_at_the_time()

    def _wait_s(self) -> float | None:
        moments = [client.next_s for client in self._clients.values()]
        if not self._is_accepting:
            moments.append(self._accept_at_s)
        until_s = min(moments, default=math.inf)
        return None if until_s == math.inf else max(0.0, until_s - time.monotonic())

    def _look_at_the_time(self) -> None:
        now_s = time.monotonic()
        for client in list(self._clients.values()):
            if now_s >= client.until_s:
                self._drop(client)
            elif now_s >= client.next_s:
                self._go_on(client, self._receive_nothing)
        if not self._is_accepting and now_s >= self._accept_at_s:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._is_accepting = True

    # --- letting in ---------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                channel, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return                  # no client, or it has gone: the next one wakes the thread
            except OSError as trouble:
                self._rest(system_reason(trouble))
                return
            self._rest_s = FIRST_REST_S
            if self._is_troubled and time.monotonic() - self._trouble_at_s >= QUIET_S:
                self._is_troubled = False
                self._on_problem(None)
            self._let_in(channel)

    def _rest(self, reason: str) -> None:
        """Waiting clients would wake the thread all the time until the system has descriptors again."""
        self._drop_oldest()             # what it held may be enough for the next one
        self._selector.unregister(self._listener)
        self._is_accepting, self._trouble_at_s = False, time.monotonic()
        self._accept_at_s = self._trouble_at_s + self._rest_s
        self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        if not self._is_troubled:
            self._is_troubled = True
            self._on_problem(reason)

    def _let_in(self, channel: socket.socket) -> None:
        if len(self._clients) >= CONNECTIONS_AT_MOST:
            self._drop_oldest()
        channel.setblocking(False)
        client = self._clients[channel.fileno()] = _Client(channel, self._limits)
        self._go_on(client, self._watch)
        if not client.is_request_read and client.descriptor in self._clients:
            self._go_on(client, self._receive)         # most have spoken by now

    def _watch(self, client: _Client) -> None:
        self._selector.register(client.channel, selectors.EVENT_READ)

    def _drop_oldest(self) -> None:
        """Of those whose request is incomplete."""
        oldest = next((client for client in self._clients.values() if not client.is_request_read), None)
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.descriptor, None)
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(client.channel)
        client.channel.close()

    # --- a conversation -----------------------------------------------------------------------------------------------

    def _go_on(self, client: _Client, act: Callable[[_Client], None]) -> None:
        """A conversation ends with whatever goes wrong in it, and no other does."""
        is_going_on = False
        try:
            act(client)
            is_going_on = True
        except BlockingIOError:
            is_going_on = True
        except OSError:
            pass                        # it went away
        finally:
            if not is_going_on:
                self._drop(client)

    def _receive(self, client: _Client) -> None:
        part = client.channel.recv(LONGEST_REQUEST)
        client.received += part
        self._answer(client, not part or len(client.received) >= self._limits.request_bytes)

    def _receive_nothing(self, client: _Client) -> None:
        self._answer(client, True)

    def _answer(self, client: _Client, is_request_complete: bool) -> None:
        answer = self._answers(bytes(client.received), is_request_complete)
        if isinstance(answer, bytes):
            self._give(client, answer)
        elif answer is not None:
            client.is_request_read, client.until_s = True, math.inf
            self._selector.unregister(client.channel)
            self._waiting.append((client, answer))
            self._have_made()
        elif is_request_complete:
            self._drop(client)

    def _give(self, client: _Client, answer: bytes) -> None:
        client.is_request_read, client.answer = True, memoryview(answer)
        client.until_s = time.monotonic() + self._limits.whole_s
        self._selector.modify(client.channel, selectors.EVENT_WRITE)
        self._send(client)

    def _send(self, client: _Client) -> None:
        """Send what can be sent at once; the rest when the client has taken that."""
        client.answer = client.answer[client.channel.send(client.answer):]
        if not client.answer:
            self._drop(client)

    def _have_made(self) -> None:
        """Have answers made, as many at once as may be."""
        while self._waiting and self._slow < SLOW_ANSWERS_AT_MOST:
            self._slow += 1
            start_task(f"{self._name}-answer", partial(self._make, *self._waiting[0]),
                       partial(self._cannot_make, self._waiting.popleft()[0]))

    def _make(self, client: _Client, make: Callable[[], bytes]) -> None:
        self._bring(client, make())

    def _cannot_make(self, client: _Client, reason: str) -> None:
        self._bring(client, b"")

    def _bring(self, client: _Client, answer: bytes) -> None:
        self._made.put((client, answer))
        self._wakeup.set()

    def _take_made(self) -> None:
        self._wakeup.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                client, answer = self._made.get_nowait()
                self._slow -= 1
                if self._clients.get(client.descriptor) is client:
                    self._go_on(client, partial(self._set_answer, answer))
        self._have_made()

    def _set_answer(self, answer: bytes, client: _Client) -> None:
        if answer:
            self._watch(client)
            self._give(client, answer)
        else:
            self._drop(client)          # it could not be made


def listen_on(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raise OSError if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=CONNECTIONS_AT_MOST)


def is_whole_head(received: bytes) -> bool:
    """Whether that is an HTTP request's whole head: closing on unread bytes would reset the connection under the
    answer."""
    return b"\r\n\r\n" in received or b"\n\n" in received


def http_answer(head: bytes, answers: Callable[[bytes], tuple[str, str, bytes]]) -> bytes:
    """Given a request's head and what to answer for a path (status, content type, body), return the whole answer."""
    method, _, rest = head.partition(b" ")
    if method not in (b"GET", b"HEAD"):
        status, content_type, body = "405 Method Not Allowed", "text/plain", b"only GET and HEAD\n"
    else:
        status, content_type, body = answers(rest.partition(b" ")[0].partition(b"?")[0])
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}",
             "Cache-Control: no-store", "Connection: close", "", "")
    return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)


# --- The health page: one drain signal for every load balancer, without any hook
# `GET /healthz` answers 200, or 503 with the reason while the applications must not get new work. Who connects and asks
# nothing over HTTP, as HAProxy's agent-check does, gets the same answer in its words (HAProxy configuration manual,
# agent-check: "drain", "ready"). It knows no state: it is given a question to ask.

# HAProxy's agent-check sends nothing; an HTTP client has begun within 0.2 s.
LIMITS = ConnectionLimits(whole_s=1.0, silence_s=0.2)
READY_LINE, DRAIN_LINE = b"ready up\n", b"drain\n"
HTTP = (b"GET ", b"HEAD ")


class HealthPage:
    """Listens on one address, on one thread that sleeps until a client connects."""

    def __init__(self, host: str, port: int, draining_because: Callable[[], str | None],
                 on_problem: OnProblem = ignore_problem) -> None:
        """`draining_because`: why no new work is wanted, None if it is. `on_problem` gets the reason why no client can
        connect, None when that is over. Raise OSError if it cannot listen there."""
        self._draining_because = draining_because
        listener = listen_on(host, port)
        self.port = int(listener.getsockname()[1])
        self._listening = ConnectionListener(listener, "health", LIMITS, self._answers, on_problem)

    def close(self) -> None:
        self._listening.close()

    def _answers(self, received: bytes, is_request_complete: bool) -> bytes | None:
        is_http = received.startswith(HTTP)
        may_become_http = any(method.startswith(received) for method in HTTP)       # nothing may, too
        if not is_request_complete and (may_become_http or (is_http and not is_whole_head(received))):
            return None
        if is_http:
            return http_answer(received, self._page)
        return READY_LINE if self._draining_because() is None else DRAIN_LINE

    def _page(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/healthz":
            return "404 Not Found", "text/plain", b"there is only /healthz\n"
        reason = self._draining_because()
        if reason is None:
            return "200 OK", "text/plain", b"ready\n"
        return "503 Service Unavailable", "text/plain", f"draining: {reason}\n".encode("ascii", "replace")
