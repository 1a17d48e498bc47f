"""Log lines: a fixed name and fields, one line for each thing that happened. Writes; never decides.

Event fields and hook output are strangers' words: control characters never reach the log. Names and fields are
documented in docs/logs.md.
"""
from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, TextIO

from tideover.record import trace_id

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES: Mapping[str, int] = MappingProxyType({"debug": 7, "info": 6, "warning": 4, "error": 3})
"""As in syslog(3); "<N>" before a line tells them to the journal (sd-daemon(3))."""

REPEATS = 3                 # the same trouble is told so often at once, then hourly, then once when it is over
HOURLY_S = 3600.0


class Line(NamedTuple):
    """One thing that happened. `at`: UTC with milliseconds; fields without a value are left out."""

    at: str
    level: str
    name: str
    fields: Mapping[str, object]

    def as_text(self, *, dated: bool = True) -> str:
        """For people; `dated`: with its moment, where nobody else keeps that."""
        words = [f"{key}={_word(value)}" for key, value in self.fields.items()]
        return " ".join([*([self.at, self.level] if dated else []), self.name, *words])

    def as_json(self) -> str:
        """For machines."""
        return json.dumps({"at": self.at, "level": self.level, "name": self.name}
                          | {key: _plain(value) for key, value in self.fields.items()})


Sink = Callable[[Line], None]
"""Where lines go: a stream, the journal, or what a service of another system offers (the Windows event log). Called on
any thread, one at a time; never raises for a reader that went away."""


def to_stream(format_: str, stream: TextIO) -> Sink:
    """Given the owner's format and a stream, return the sink that writes there, text or JSON."""
    return lambda line: _put(stream, line.as_json() if format_ == "json" else line.as_text())


def to_journal(format_: str, stream: TextIO) -> Sink:
    """Given the same, where systemd's journal reads the stream: each line has its priority, and no moment in text: the
    journal keeps that itself."""
    def write(line: Line) -> None:
        text = line.as_json() if format_ == "json" else line.as_text(dated=False)
        _put(stream, f"<{PRIORITIES[line.level]}>{text}")

    return write


def to_lines(format_: str, write: Callable[[str, str], None]) -> Sink:
    """Given the owner's format and what takes a level and a line (the event log of Windows), return the sink that
    writes there."""
    return lambda line: write(line.level, line.as_json() if format_ == "json" else line.as_text())


def open_sink(format_: str, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Sink:
    """Given the owner's format, return where lines go when nobody says otherwise: standard error, or the journal behind
    it."""
    stream = stream or sys.stderr
    return to_journal(format_, stream) if is_journal(stream, environ) else to_stream(format_, stream)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the one JOURNAL_STREAM names by device and inode (systemd.exec(5)): a process whose output
    goes elsewhere has inherited the variable as well."""
    try:
        told = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{told.st_dev}:{told.st_ino}"


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):
        return                              # nobody reads: the agent's work does not depend on it


class Log:
    """Hands what is worth telling to a sink. Any thread. Lines that speak of an `event` get its `trace_id`."""

    def __init__(self, format_: str = "text", level: str = "info", sink: Sink | None = None) -> None:
        self._write = sink or open_sink(format_)
        self._lowest = LEVELS.index(level)
        self._lock = threading.Lock()       # a line is one piece, whoever writes it

    def debug(self, name: str, **fields: object) -> None:
        self._tell("debug", name, fields)

    def info(self, name: str, **fields: object) -> None:
        self._tell("info", name, fields)

    def warning(self, name: str, **fields: object) -> None:
        self._tell("warning", name, fields)

    def error(self, name: str, **fields: object) -> None:
        self._tell("error", name, fields)

    def _tell(self, level: str, name: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        if event := fields.get("event"):
            fields["trace_id"] = trace_id(str(event))
        told = {key: value for key, value in fields.items() if value is not None and value != ""}
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            self._write(Line(at, level, name, told))


class Trouble:
    """Tells the same trouble a few times, then hourly, then once that it is over."""

    def __init__(self, log: Log, name: str, clock: Callable[[], float]) -> None:
        self._log, self._name, self._clock = log, name, clock
        self._count, self._told_at = 0, 0.0

    def again(self, reason: str) -> None:
        """It happened (again)."""
        self._count += 1
        now = self._clock()
        if self._count <= REPEATS or now - self._told_at >= HOURLY_S:
            self._told_at = now
            self._log.warning(f"{self._name}.failed", reason=reason, times=self._count)

    def told(self, reason: str | None) -> None:
        """It happened (again), or, with None, it did not happen this time."""
        if reason is None:
            self.over()
        else:
            self.again(reason)

    def over(self) -> None:
        """It did not happen this time."""
        if self._count:
            self._log.info(f"{self._name}.works", after_failures=self._count)
        self._count = 0


def _word(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
