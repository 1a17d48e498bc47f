"""The process that the service control manager of Windows starts: a thin shell around the same agent as everywhere.

Each control is handed to `control.ServiceControl`, which knows what it means; what that tells is handed back.
"""
from __future__ import annotations

import os
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

assert sys.platform == "win32"      # mypy reads the rest for Windows only

import pywintypes
import servicemanager
import win32service
import win32serviceutil

from tideover.errors import EXIT_BUG, TideoverError
from tideover.service.windows.control import ServiceControl, Standing, Told
from tideover.service.windows.event_log import EventLog, StandardError
from tideover.service.windows.identity import NAME
from tideover.service.windows.watchdog import Watchdog
from tideover.supervision import ServiceManager

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
        self._control.heard(control, event_type)

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
        self._events.write_text("The agent's loop has not turned for two minutes: it is ended, to be started again.")
        os._exit(EXIT_BUG)

    def _report(self, told: Told) -> None:
        win32_status = SERVICE_SPECIFIC if told.exit_status else 0
        status = (win32service.SERVICE_WIN32_OWN_PROCESS, int(told.standing), int(told.accepted), win32_status,
                  told.exit_status, told.checkpoint, int(told.hint_s * 1000))
        try:
            win32service.SetServiceStatus(self.ssh, status)
        except pywintypes.error:
            if told.standing is not Standing.STOPPED:
                raise


class _BugsEndTheProcess:
    """What nobody expected is told, then the process ends without another word: Windows takes that for a crash, which
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
                            "It is meant for the service; try tideover service start, or tideover run.") from trouble
