"""Log lines: levels, text and JSON form, where they go (stderr, journald, event log), repeats, the bounded queue.

Writes; never decides.

The reader of the lines (a terminal, a pipe, journald, the event log of Windows) may stop reading. `LineWriter` writes
on a thread of its own behind a bounded queue, so that no thread of the agent waits for a reader.

Event fields and hook output are untrusted: control characters never reach the log. Names and fields are
documented in docs/logs.md.
"""
from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

from tideover.record import trace_id
from tideover.text_safety import safe_json
from tideover.threads import Loop

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES: Mapping[str, int] = MappingProxyType({"debug": 7, "info": 6, "warning": 4, "error": 3})
"""As in syslog(3); "<N>" before a line tells them to the journal (sd-daemon(3))."""

REPEATS = 3                 # the same trouble is logged so often at once, then hourly, then once when it is over
HOURLY_S = 3600.0

QUEUED_CHARACTERS = 1024 * 1024     # of lines that wait for their reader; more are dropped and counted
QUEUED_LOWER = QUEUED_CHARACTERS * 3 // 4
"""Lines below warning fill no more of the queue than this: a hook that prints without end leaves room for warnings."""
LINE_OVERHEAD = 200                 # characters that a line without fields counts for

RECENT_CHARACTERS = 128 * 1024      # of the newest lines, which stay in memory for a bundle

FLUSH_LIMIT_S = 1.0
"""At the end of a process, lines that wait for their reader are given this long."""


class LogLine(NamedTuple):
    """One thing that happened. `at`: UTC with milliseconds; fields without a value are left out."""

    at: str
    level: str
    name: str
    fields: Mapping[str, object]

    def as_text(self, *, dated: bool = True) -> str:
        """For people; `dated`: with its moment, where its reader does not add one."""
        words = [f"{key}={_word(value)}" for key, value in self.fields.items()]
        return " ".join([*([self.at, self.level] if dated else []), self.name, *words])

    def as_json(self) -> str:
        """For machines."""
        return json.dumps({"at": self.at, "level": self.level, "name": self.name}
                          | {key: _plain(value) for key, value in self.fields.items()})


Sink = Callable[[LogLine], None]
"""Where lines go: a stream, the journal, or what a service of another system offers (the Windows event log). Called on
any thread, one at a time. Raises OSError or ValueError for a line that could not be written; may wait for a reader."""


class Output(Protocol):
    """The part of a text stream that a sink needs."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def fileno(self) -> int: ...


class Descriptor:
    """An open descriptor as an output without a buffer: a write that waits holds no lock that another thread or the
    end of the process needs, and a descriptor that another process made non-blocking is waited for."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._is_torn = False           # the last line was written in part only

    def write(self, text: str, /) -> None:
        """Raise OSError."""
        left = (("\n" if self._is_torn else "") + text).encode("utf-8", "backslashreplace")
        whole = len(left)
        while left:
            try:
                left = left[os.write(self._number, left):]
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError:
                self._is_torn = self._is_torn or len(left) < whole
                raise
        self._is_torn = False

    def flush(self) -> None:
        """Nothing is kept back."""

    def fileno(self) -> int:
        return self._number


def standard_error() -> Output:
    """Return the process's standard error; a descriptor where that is what it is."""
    if sys.platform == "win32" or sys.stderr is not sys.__stderr__:
        return sys.stderr               # a console of Windows takes text; a test or a service has put another in place
    return Descriptor(2)


def to_stream(format_: str, stream: Output) -> Sink:
    """Given the owner's format and a stream, return the sink that writes there, text or JSON."""
    return lambda line: _put(stream, line.as_json() if format_ == "json" else line.as_text())


def to_journal(format_: str, stream: Output) -> Sink:
    """Given the same, where systemd's journal reads the stream: each line has its priority, and no moment in text: the
    journal keeps that itself."""
    def write(line: LogLine) -> None:
        text = line.as_json() if format_ == "json" else line.as_text(dated=False)
        _put(stream, f"<{PRIORITIES[line.level]}>{text}")

    return write


def to_lines(format_: str, write: Callable[[str, str], None]) -> Sink:
    """Given the owner's format and what takes a level and a line (the event log of Windows), return the sink that
    writes there."""
    return lambda line: write(line.level, line.as_json() if format_ == "json" else line.as_text())


def open_sink(format_: str, stream: Output | None = None, environ: Mapping[str, str] = os.environ) -> Sink:
    """Given the owner's format, return where lines go by default: standard error, or the journal behind
    it."""
    stream = stream or standard_error()
    return to_journal(format_, stream) if is_journal(stream, environ) else to_stream(format_, stream)


def is_journal(stream: Output, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the one JOURNAL_STREAM names by device and inode (systemd.exec(5)): a process whose output
    goes elsewhere has inherited the variable as well."""
    try:
        report = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{report.st_dev}:{report.st_ino}"


def _put(stream: Output, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


class LineWriter:
    """The one thread that writes log lines, with a bounded queue before it. Any thread may give it lines; none waits.

    What does not fit into the queue, or could not be written, is dropped and counted; a line `log.lines-lost` with
    their number stands where they are missing, as soon as lines are written again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[tuple[Sink, LogLine, int]] = deque()    # with the number of lines lost just before each
        self._queued = 0                    # characters
        self._recent: deque[LogLine] = deque()      # the newest lines, whatever became of them
        self._recent_size = 0               # characters
        self._lost = 0                      # lines, since the last one that was queued
        self._is_writing = False
        self._loop: Loop | None = None

    def through(self, sink: Sink) -> Sink:
        """Given a sink that may wait, return one that never does."""
        return lambda line: self._take(sink, line)

    def close(self, limit_s: float = FLUSH_LIMIT_S) -> None:
        """Return when all lines are written, after `limit_s` in any case."""
        end_s = time.monotonic() + limit_s
        with self._changed:
            while (self._queue or self._is_writing) and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def _take(self, sink: Sink, line: LogLine) -> None:
        limit = QUEUED_CHARACTERS if PRIORITIES[line.level] <= PRIORITIES["warning"] else QUEUED_LOWER
        with self._changed:
            self._remember(line)
            if self._queued + _size(line) > limit:
                self._lost += 1
                return
            self._queue.append((sink, line, self._lost))
            self._queued, self._lost = self._queued + _size(line), 0
            if self._loop is None:
                self._start()
            self._changed.notify_all()

    def recent(self) -> list[str]:
        """Return the newest lines as text, the oldest first. Any thread."""
        with self._changed:
            lines = list(self._recent)
        return [line.as_text() for line in lines]

    def _remember(self, line: LogLine) -> None:
        self._recent.append(line)
        self._recent_size += _size(line)
        while self._recent_size > RECENT_CHARACTERS:
            self._recent_size -= _size(self._recent.popleft())

    def _start(self) -> None:
        """Where the system gives no thread, the next line tries again."""
        loop = Loop("log", self._write_all)
        with suppress(RuntimeError):
            loop.start()
            self._loop = loop

    def _write_all(self) -> None:
        unwritten = 0                       # lines that failed since the last that was written
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue)
                sink, line, lost = self._queue.popleft()
                self._queued -= _size(line)
                self._is_writing = True
            unwritten = _write_after(sink, line, unwritten + lost)
            with self._changed:
                lost, self._lost = (0, self._lost) if self._queue else (self._lost, 0)
            if lost:                        # the queue is empty: no line that follows could tell of them
                unwritten = _write_after(sink, None, unwritten + lost)


def _write_after(sink: Sink, line: LogLine | None, lost: int) -> int:
    """Given a line (None: there is none) and how many were lost before it, write both; return how many are lost now."""
    try:
        if lost:
            sink(LogLine(_now(), "warning", "log.lines-lost", {"lines": lost}))
            lost = 0
        if line is not None:
            sink(line)
    except (OSError, ValueError):
        return lost + (line is not None)
    return 0


def _size(line: LogLine) -> int:
    return LINE_OVERHEAD + sum(len(value) for value in line.fields.values() if isinstance(value, str))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Log:
    """Passes log lines to a sink. Any thread. Lines that speak of an `event` get its `trace_id`."""

    def __init__(self, format_: str = "text", level: str = "info", sink: Sink | None = None) -> None:
        self._write = sink or open_sink(format_)
        self._lowest = LEVELS.index(level)
        self._lock = threading.Lock()       # a line is written whole, by any thread

    def debug(self, name: str, **fields: object) -> None:
        self._write_line("debug", name, fields)

    def info(self, name: str, **fields: object) -> None:
        self._write_line("info", name, fields)

    def warning(self, name: str, **fields: object) -> None:
        self._write_line("warning", name, fields)

    def error(self, name: str, **fields: object) -> None:
        self._write_line("error", name, fields)

    def _write_line(self, level: str, name: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        if event := fields.get("event"):
            fields["trace_id"] = trace_id(str(event))
        report = {key: value for key, value in fields.items() if value is not None and value != ""}
        with self._lock, suppress(OSError, ValueError):     # the work does not depend on a reader
            self._write(LogLine(_now(), level, name, report))


class Trouble:
    """Logs a repeated failure: the first three times and then hourly as a warning, in between at debug; and once that
    it is over."""

    def __init__(self, log: Log, name: str, clock: Callable[[], float]) -> None:
        self._log, self._name, self._clock = log, name, clock
        self._count, self._logged_at = 0, 0.0

    def again(self, reason: str) -> None:
        """It happened (again)."""
        self._count += 1
        now = self._clock()
        is_due = self._count <= REPEATS or now - self._logged_at >= HOURLY_S
        if is_due:
            self._logged_at = now
        write = self._log.warning if is_due else self._log.debug
        write(f"{self._name}.failed", reason=reason, times=self._count)

    def report(self, reason: str | None) -> None:
        """It happened (again), or, with None, it did not happen this time."""
        if reason is None:
            self.over()
        else:
            self.again(reason)

    def over(self) -> None:
        """It did not happen this time."""
        if self._count:
            self._log.info(f"{self._name}.recovered", after_failures=self._count)
        self._count = 0


def _word(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return safe_json(text)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
