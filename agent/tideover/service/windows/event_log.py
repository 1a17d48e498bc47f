"""The event log of Windows, where the agent's log lines go. A line that it does not take is lost, not fatal."""
from __future__ import annotations

import io
import sys

assert sys.platform == "win32"      # mypy reads the rest for Windows only

import pywintypes
import win32evtlog

from tideover.service.windows.identity import EVENTS, NAME, event_of

LONGEST_TEXT = 31_000       # ReportEvent takes 31,839 characters a string
TYPES = {"error": win32evtlog.EVENTLOG_ERROR_TYPE, "warning": win32evtlog.EVENTLOG_WARNING_TYPE}


class EventLog:
    """Writes events of the source `tideover`. Any thread."""

    def __init__(self) -> None:
        try:
            self._handle = win32evtlog.RegisterEventSource(None, NAME)
        except pywintypes.error:
            self._handle = None

    def write_line(self, level: str, line: str) -> None:
        """Given a level and a line, write one event."""
        self._write(level, event_of(level, line), line)

    def write_text(self, text: str) -> None:
        """Given what a program said on standard error (a traceback), write it as one error."""
        self._write("error", EVENTS["error"], text)

    def _write(self, level: str, event: int, text: str) -> None:
        if self._handle is None:
            return
        kind = TYPES.get(level, win32evtlog.EVENTLOG_INFORMATION_TYPE)
        try:
            win32evtlog.ReportEvent(self._handle, kind, 0, event, None, [text[:LONGEST_TEXT].replace("\0", " ")], None)
        except pywintypes.error:
            return


class StandardError(io.TextIOBase):
    """Standard error of a process that has none: what is written until a flush is one event."""

    def __init__(self, log: EventLog) -> None:
        self._log, self._text = log, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    def flush(self) -> None:
        text, self._text = self._text.strip(), ""
        if text:
            self._log.write_text(text)

