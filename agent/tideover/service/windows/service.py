"""The process that the Windows service control manager starts: the same agent, with the event log as its log.

Each control is handed to `control.ServiceControl`, which knows what it means; what that tells is handed back.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import io
import os
import traceback
import types
from collections.abc import Callable
from typing import Any

import pywintypes
import servicemanager
import win32evtlog
import win32service
import win32serviceutil

from tideover.errors import EXIT_BUG, TideoverError
from tideover.service.windows.control import (
    EVENTS,
    NAME,
    ServiceControl,
    ServiceState,
    ServiceStatus,
    Watchdog,
    event_of,
)
from tideover.service_manager import ServiceManager

# --- The event log. A line that it does not take is lost, not fatal

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
        """Given a program's standard error (a traceback), write it as one error."""
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


# --- The service process

SERVICE_SPECIFIC = 1066     # ERROR_SERVICE_SPECIFIC_ERROR: the exit status is ours
NO_MANAGER = 1063           # ERROR_FAILED_SERVICE_CONTROLLER_CONNECT

Run = Callable[[ServiceManager], int]


class Service(win32serviceutil.ServiceFramework):
    """The service, as pywin32 wants to see it."""

    _svc_name_ = NAME
    run: Run                    # set by `serve`: pywin32 makes the object

    def __init__(self, arguments: Any) -> None:
        self._events = EventLog()
        self._control = ServiceControl(self._report, self._events.write_line, Watchdog(self._hangs))
        super().__init__(arguments)

    def ServiceCtrlHandlerEx(self, control: int, event_type: int, data: Any) -> None:
        """On the dispatcher's thread."""
        self._control.on_control(control, event_type)

    def SvcRun(self) -> None:
        """On the service's own thread; returns when the agent has ended."""
        sys.stderr = StandardError(self._events)
        self._control.starting()
        with _BugsEndTheProcess(self._events):
            try:
                exit_status = type(self).run(self._control)
            except TideoverError as trouble:
                self._events.write_line("error", "\n".join([str(trouble), *getattr(trouble, "faults", ())]))
                exit_status = trouble.exit_status
        self._control.stopped(exit_status)
        os._exit(exit_status)   # pywin32 would report a second, successful end

    def _hangs(self) -> None:
        """On the watchdog's thread. An exit without a word is a crash, after which Windows starts the service again."""
        self._events.write_text("The agent's main loop has not run for two minutes: the process is ended and "
                                "restarted.")
        os._exit(EXIT_BUG)

    def _report(self, report: ServiceStatus) -> None:
        win32_status = SERVICE_SPECIFIC if report.exit_status else 0
        status = (win32service.SERVICE_WIN32_OWN_PROCESS, int(report.standing), int(report.accepted), win32_status,
                  report.exit_status, report.checkpoint, int(report.hint_s * 1000))
        try:
            win32service.SetServiceStatus(self.ssh, status)
        except pywintypes.error:
            if report.standing is not ServiceState.STOPPED:
                raise


class _BugsEndTheProcess:
    """An unforeseen exception is logged, then the process ends without a status: Windows takes that for a crash, which
    it is, and starts the service again. pywin32 would report an end and leave the threads running."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, trouble: BaseException | None,
                 where: types.TracebackType | None) -> None:
        if kind is not None:
            self._events.write_text("".join(traceback.format_exception(kind, trouble, where)))
            os._exit(EXIT_BUG)


def serve(run: Run) -> None:
    """Given what runs the agent under a service manager, answer the service control manager until the service has
    ended.

    Raise TideoverError if none has started us.
    """
    Service.run = staticmethod(run)
    servicemanager.Initialize(NAME, None)
    servicemanager.PrepareToHostSingle(Service)
    try:
        servicemanager.StartServiceCtrlDispatcher()     # type: ignore[no-untyped-call]
    except pywintypes.error as trouble:
        if trouble.winerror != NO_MANAGER:
            raise
        raise TideoverError("cannot serve", "the service control manager has not started this program",
                            "This program is for the service; use tideover service start or tideover run.") from trouble
