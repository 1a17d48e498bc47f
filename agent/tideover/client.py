"""The client library for applications (`Application`, `AsyncApplication`, `listen`): standard library only.

    from tideover.client import Application

    with Application("transcoder") as app:
        for run in app.runs():              # waits; reconnects by itself
            with run:                       # leaving it answers done, an exception answers failed
                drain() if run.phase == "prepare" else resume()

`AsyncApplication` is the same for asyncio; `listen` and `listen_async` give each change of phase, and nothing waits for
them. Standard library only. The agent's configuration needs a table [application.transcoder]. Where no agent runs,
`runs` waits for one. The protocol stands in docs/applications.md.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import random
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

DEFAULT_SOCKET = ("\\\\.\\pipe\\tideover-applications" if sys.platform == "win32" else
                  "/run/tideover/applications/socket")
VARIABLE = "TIDEOVER_APPLICATIONS_SOCKET"
PROTOCOL = 1
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0     # between two tries to connect: the agent waits 2 s for an instance
REFUSED_WAIT_S = 5.0
LINE_BYTES = 64 * 1024
READ_AT_ONCE = 65536

log = logging.getLogger("tideover.client")


class Run:
    """One run: prepare or recover. What is not known is None.

    `seconds_left`: until the agent ends this run, from when it was sent. Of a recover: `reason` is resumed, cancelled
    or restarted; `pause_s` ± `pause_uncertainty_s` the longest pause; `clock` good, bad or unknown; `clock_offset_s` is
    positive where this machine is ahead.

    As a context manager, synchronous or asynchronous, it answers done at the end, and failed, with the exception's
    text, for an exception, which goes no further. An answer given before counts.
    """

    def __init__(self, phase: str, fields: Mapping[str, Any], answer: _Answer) -> None:
        self.phase = phase
        self.number: int = fields["run"]
        self.event_id: str = fields.get("event_id") or ""
        self.kind: str = fields.get("kind") or "unknown"
        self.attempt: int = fields.get("attempt") or 1
        self.trace_id: str = fields.get("trace_id") or ""
        self.not_before = _moment(fields.get("not_before"))
        self.seconds_left: float | None = fields.get("seconds_left")
        self.expected_pause_s: float | None = fields.get("expected_pause_s")
        self.reason: str = fields.get("reason") or ""
        self.pause_s: float | None = fields.get("pause_s")
        self.pause_uncertainty_s: float | None = fields.get("pause_uncertainty_s")
        self.clock: str = fields.get("clock") or "unknown"
        self.clock_offset_s: float | None = fields.get("clock_offset_s")
        self._answer, self._is_answered = answer, False
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether its time is up or its event was removed: stop, and answer soon; recover follows."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Wait so long for `is_cancelled`, in a thread; return it."""
        return self._cancelled.wait(timeout_s)

    def done(self) -> None:
        """It worked."""
        self._give("done")

    def nothing(self) -> None:
        """There was nothing to do, and nothing has changed: no recover follows a prepare."""
        self._give("nothing")

    def not_yet(self) -> None:
        """Ask again in a moment, as long as the time lasts."""
        self._give("not_yet")

    def refuse(self, why: str) -> None:
        """Refused for safety; nothing has changed."""
        self._give("refuse", why)

    def failed(self, why: str) -> None:
        """It failed; a recover follows all the same."""
        self._give("failed", why)

    def _give(self, word: str, why: str = "") -> None:
        if not self._is_answered:
            self._is_answered = True
            self._answer(self.number, {word: self.number, **({"why": why[:4096]} if why else {})})

    def _cancel(self) -> None:
        self._cancelled.set()

    def _leave(self, error: BaseException | None) -> bool:
        if error is None:
            self.done()
            return False
        self.failed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        if isinstance(error, Exception):
            log.error("%s failed", self.phase, exc_info=error)
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> bool:
        return self._leave(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> bool:
        return self._leave(error)


class _Answer:
    """What a run's answer is given to."""

    def __call__(self, number: int, message: Mapping[str, object]) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _RefusedError(Exception):
    """The agent does not take this client; its reason."""

    why: str


class _Session:
    """What the blocking and the asyncio client share: lines to runs, and the newest answer, which is repeated when the
    agent asks for its run again after a lost connection."""

    def __init__(self, name: str, answer: _Answer, *, listens: bool = False) -> None:
        self.name, self.listens = name, listens
        self.instance = uuid.uuid4().hex
        self.phase = "closed"           # of the event under way, when the agent welcomed this client
        self._answer = answer
        self._current: Run | None = None
        self._answers: dict[int, bytes] = {}

    def hello(self) -> bytes:
        """The first line of a connection."""
        listen = {"listen": True} if self.listens else {}
        return _line({"hello": self.name, "protocol": PROTOCOL, "instance": self.instance, **listen})

    def take(self, line: bytes) -> tuple[Run | None, Mapping[str, Any] | None, bytes]:
        """Given a line of the agent's, return the run or the event that it brings, and what is to be sent for it. Raise
        _RefusedError."""
        message = json.loads(line)
        if "welcome" in message:
            self.phase = message.get("phase", "closed")
        elif "refused" in message or "error" in message:
            raise _RefusedError(str(message.get("refused") or message.get("error")))
        elif "event" in message:
            return None, message["event"], b""
        elif "cancel" in message and self._current is not None and (
                self._current.number == message["cancel"].get("run")):
            self._current._cancel()
        for phase in ("prepare", "recover"):
            if phase in message:
                return *self._begin(phase, message[phase]),
        return None, None, b""

    def _begin(self, phase: str, fields: Mapping[str, Any]) -> tuple[Run | None, None, bytes]:
        number = fields["run"]
        if number in self._answers:
            return None, None, self._answers[number]
        if self._current is not None and self._current.number == number:
            return None, None, b""      # it is worked on; the answer goes out when it is there
        self._current = Run(phase, fields, self._answer)
        return self._current, None, b""

    def answered(self, number: int, message: Mapping[str, object]) -> bytes:
        """Given the answer to a run, return its line, and keep it for a repetition."""
        line = _line(message)
        self._answers = {number: line}
        return line


class _Reconnects:
    """How long to wait before the next connection, and which refusal was logged last. Both clients share it."""

    def __init__(self) -> None:
        self._wait_s, self._refusal = FIRST_WAIT_S, ""

    def heard(self, line: bytes) -> None:
        """A line of the agent's has come. Raise _RefusedError if it ends the connection."""
        self._wait_s = FIRST_WAIT_S
        refusal = _refusal(line)
        if refusal:
            raise _RefusedError(refusal)
        self._refusal = ""

    def refused(self, name: str, why: str) -> None:
        """Each reason is logged once, until the agent takes this client."""
        self._wait_s = REFUSED_WAIT_S
        if why != self._refusal:
            self._refusal = why
            log.warning("the agent refuses %s: %s", name, why)

    def next_s(self) -> float:
        wait_s = self._wait_s * random.uniform(0.5, 1.0)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        return wait_s


# --- Blocking

class Application(_Answer):
    """An application, by the name of its table in the configuration. Use it as a context manager; one thread of its own
    keeps the connection."""

    def __init__(self, name: str, *, socket_path: str | None = None) -> None:
        self._path = _path(socket_path)
        self._session = _Session(name, self)
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._channel: _AgentConnection | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_connected, name=f"tideover-{name}", daemon=True)

    @property
    def is_connected(self) -> bool:
        return self._channel is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; `runs` ends."""
        self._closing.set()
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    self._channel.shutdown(socket.SHUT_RDWR)
        self._runs.put(None)

    def runs(self) -> Iterator[Run]:
        """Yield each run as it comes, until `close`. One at a time."""
        while not self._closing.is_set():
            run = self._runs.get()
            if run is None:
                return
            yield run

    def __call__(self, number: int, message: Mapping[str, object]) -> None:
        line = self._session.answered(number, message)
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(OSError):      # the agent asks again when it is back
                    self._channel.sendall(line)

    def _keep_connected(self) -> None:
        for line in _lines(self._path, self._session, self._closing, self._connected):
            run, _, reply = self._session.take(line)
            if reply:
                with self._lock, contextlib.suppress(OSError):
                    if self._channel is not None:
                        self._channel.sendall(reply)
            if run is not None:
                self._runs.put(run)

    def _connected(self, channel: _AgentConnection | None) -> None:
        with self._lock:
            self._channel = channel


def listen(name: str, *, socket_path: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield each change of an event's phase, for ever: event_id, phase, kind, not_before, why. Nothing waits for a
    listener. `name`: what the agent's log calls it."""
    session = _Session(name, _Answer(), listens=True)
    for line in _lines(_path(socket_path), session, threading.Event(), lambda channel: None):
        event = session.take(line)[1]
        if event is not None:
            yield event


def _lines(path: str, session: _Session, closing: threading.Event, connected: Any) -> Iterator[bytes]:
    """Yield the agent's lines, connecting again whenever the connection ends. A refusal is logged, and tried again."""
    waits = _Reconnects()
    while not closing.is_set():
        try:
            with contextlib.closing(_connect(path)) as channel:
                channel.sendall(session.hello())
                connected(channel)
                for line in _split(channel):
                    waits.heard(line)
                    yield line
        except (OSError, ValueError):
            pass                            # no agent runs, or it is restarted
        except _RefusedError as refused:
            waits.refused(session.name, refused.why)
        finally:
            connected(None)
        closing.wait(waits.next_s())


def _split(channel: _AgentConnection) -> Iterator[bytes]:
    """Yield the lines that come. Raise OSError, ValueError for one that is too long."""
    rest = b""
    while data := channel.recv(READ_AT_ONCE):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if len(rest) > LINE_BYTES:
            raise ValueError("a line that is too long")


# --- asyncio

class AsyncApplication(_Answer):
    """The same for asyncio: `async with`, `async for run in app.runs()`, `async with run`."""

    def __init__(self, name: str, *, socket_path: str | None = None) -> None:
        self._path = _path(socket_path)
        self._session = _Session(name, self)
        self._writer: asyncio.StreamWriter | None = None
        self._runs: asyncio.Queue[Run | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        return self._writer is not None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; `runs` ends."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._runs.put_nowait(None)

    async def runs(self) -> AsyncIterator[Run]:
        """Yield each run as it comes, until `close`. One at a time."""
        while (run := await self._runs.get()) is not None:
            yield run

    def __call__(self, number: int, message: Mapping[str, object]) -> None:
        line = self._session.answered(number, message)
        if self._writer is not None:
            self._writer.write(line)

    async def _keep_connected(self) -> None:
        async for line in _lines_async(self._path, self._session, self._connected):
            run, _, reply = self._session.take(line)
            if reply and self._writer is not None:
                self._writer.write(reply)
            if run is not None:
                self._runs.put_nowait(run)

    def _connected(self, writer: asyncio.StreamWriter | None) -> None:
        self._writer = writer


async def listen_async(name: str, *, socket_path: str | None = None) -> AsyncIterator[Mapping[str, Any]]:
    """`listen` for asyncio."""
    session = _Session(name, _Answer(), listens=True)
    async for line in _lines_async(_path(socket_path), session, lambda writer: None):
        event = session.take(line)[1]
        if event is not None:
            yield event


async def _lines_async(path: str, session: _Session, connected: Any) -> AsyncIterator[bytes]:
    waits = _Reconnects()
    while True:
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await _connect_async(path)
            writer.write(session.hello())
            connected(writer)
            while line := await reader.readline():
                waits.heard(line)
                yield line
        except (OSError, ValueError):
            pass
        except _RefusedError as refused:
            waits.refused(session.name, refused.why)
        finally:
            connected(None)
            if writer is not None:
                writer.close()
        await asyncio.sleep(waits.next_s())


# --- Both

def _path(given: str | None) -> str:
    return given or os.environ.get(VARIABLE) or DEFAULT_SOCKET


class _AgentConnection(Protocol):
    """What the blocking client needs of a socket, or on Windows of a pipe."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


if sys.platform == "win32":
    from tideover.client_windows import PipeConnection, check_owner

    def _connect(path: str) -> PipeConnection:
        """Raise OSError."""
        return PipeConnection(path)

    async def _connect_async(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raise OSError. It needs asyncio's own loop of Windows, which is the default one."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.ProactorEventLoop):
            raise TypeError("AsyncApplication needs asyncio's ProactorEventLoop on Windows")
        reader = asyncio.StreamReader(LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_pipe_connection(lambda: protocol, path)
        try:
            check_owner(transport.get_extra_info("pipe").handle)
        except OSError:
            transport.close()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
else:
    def _connect(path: str) -> socket.socket:
        """Raise OSError. It is local and answered at once, so asyncio may wait for it."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(path)
        except OSError:
            channel.close()
            raise
        return channel

    async def _connect_async(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raise OSError."""
        return await asyncio.open_connection(sock=_connect(path), limit=LINE_BYTES)


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _refusal(line: bytes) -> str:
    message = json.loads(line)
    return str(message.get("refused") or message.get("error") or "")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
