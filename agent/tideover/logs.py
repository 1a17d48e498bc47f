"""Log lines: a fixed name and fields, one line for each thing that happened. Writes; never decides.

Event fields and hook output are strangers' words: control characters never reach the log.
"""
from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
REPEATS = 3                 # the same trouble is told so often at once, then hourly, then once when it is over
HOURLY_S = 3600.0


class Log:
    """Writes lines of one format to one stream, or wherever `write` puts a level and its line. Any thread."""

    def __init__(self, format_: str = "text", level: str = "info", stream: TextIO | None = None,
                 write: Callable[[str, str], None] | None = None) -> None:
        self._line = _json_line if format_ == "json" else _text_line
        self._lowest = LEVELS.index(level)
        self._stream = stream or sys.stderr
        self._write = write or self._to_stream
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
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = self._line(at, level, name, fields)
        try:
            with self._lock:
                self._write(level, line)
        except (OSError, ValueError):
            return                          # nobody reads: the agent's work does not depend on it

    def _to_stream(self, level: str, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


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

    def over(self) -> None:
        """It did not happen this time."""
        if self._count:
            self._log.info(f"{self._name}.works", after_failures=self._count)
        self._count = 0


def _text_line(at: str, level: str, name: str, fields: dict[str, object]) -> str:
    return " ".join([at, level, name, *(f"{key}={_word(value)}" for key, value in fields.items())])


def _json_line(at: str, level: str, name: str, fields: dict[str, object]) -> str:
    return json.dumps({"at": at, "level": level, "name": name} | {key: _plain(value) for key, value in fields.items()})


def _word(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
