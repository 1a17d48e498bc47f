"""Asks the service control manager of Windows to do things, and waits until they are done."""
from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

assert sys.platform == "win32"      # mypy reads the rest for Windows only

import psutil
import pywintypes
import win32service

from tideover.errors import TideoverError, UnreachableError, WrongUseError
from tideover.service.windows.control import NAME, ServiceControlCode, ServiceState
from tideover.service_manager import ServiceReport

CALL_LIMIT_S = 120.0        # a stop that recovers first takes up to 90 s
EXIT_LIMIT_S = 10.0
LOOK_EVERY_S = 0.1
ACCESS_DENIED = 5
IS_RUNNING = 1056           # ERROR_SERVICE_ALREADY_RUNNING
NO_SUCH_SERVICE = 1060      # ERROR_SERVICE_DOES_NOT_EXIST
IS_NOT_ACTIVE = 1062        # ERROR_SERVICE_NOT_ACTIVE
STATES: dict[int, str] = {ServiceState.STOPPED: "inactive", ServiceState.START_PENDING: "activating",
                          ServiceState.STOP_PENDING: "deactivating", ServiceState.RUNNING: "active"}
WORDS: dict[int, str] = {ServiceState.STOPPED: "stopped", ServiceState.START_PENDING: "start pending",
                         ServiceState.STOP_PENDING: "stop pending", ServiceState.RUNNING: "running"}
NEVER_STARTED = 1077        # ERROR_SERVICE_NEVER_STARTED: no failure


@contextmanager
def asking(doing: str) -> Iterator[None]:
    """Windows' refusals as sentences. `doing`: what was tried, as in "cannot DOING the service"."""
    try:
        yield
    except pywintypes.error as trouble:
        operation = f"cannot {doing} the service"
        if trouble.winerror == ACCESS_DENIED:
            raise WrongUseError(operation, "administrator privileges are required",
                                "Open the command line with Run as administrator.") from trouble
        if trouble.winerror == NO_SUCH_SERVICE:
            raise WrongUseError(operation, f"there is no service {NAME}",
                                "Create it with tideover service install.") from trouble
        raise TideoverError(operation, f"{trouble.strerror} ({trouble.winerror})",
                            "See the event log (Windows, Application).") from trouble


@contextmanager
def service(access: int) -> Iterator[Any]:
    """The handle of our service, with the rights wanted. Raise pywintypes.error."""
    manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CONNECT)
    try:
        handle = win32service.OpenService(manager, NAME, access)
        try:
            yield handle
        finally:
            win32service.CloseServiceHandle(handle)
    finally:
        win32service.CloseServiceHandle(manager)


def start() -> None:
    """Start the service; return once it is ready. Raise TideoverError if it does not start."""
    with asking("start"), service(win32service.SERVICE_START | win32service.SERVICE_QUERY_STATUS) as handle:
        try:
            win32service.StartService(handle, None)
        except pywintypes.error as trouble:
            if trouble.winerror != IS_RUNNING:
                raise
        _await(handle, ServiceState.RUNNING, "start")


def stop() -> None:
    """Stop the service, whatever that takes by [policy] on_stop. Raise TideoverError if Windows refuses."""
    with asking("stop"):
        _end(ServiceControlCode.STOP, win32service.SERVICE_STOP)


def stop_for_upgrade() -> bool:
    """End the agent for a moment: what is prepared stays prepared, the next start goes on. Return whether it ran."""
    with asking("stop"):
        return _end(ServiceControlCode.MAKE_WAY, win32service.SERVICE_USER_DEFINED_CONTROL)


def read_report() -> ServiceReport:
    """Return how the service is. Raise UnreachableError if Windows does not say.

    psutil.win_service_get does not tell the exit code, by which a failure is known.
    """
    rights = win32service.SERVICE_QUERY_STATUS | win32service.SERVICE_QUERY_CONFIG
    try:
        with service(rights) as handle:
            status = _status(handle)
            config = win32service.QueryServiceConfig(handle)
    except pywintypes.error as trouble:
        if trouble.winerror == NO_SUCH_SERVICE:
            return ServiceReport(False, False, "inactive", "", None, None, "", "")
        raise UnreachableError("cannot ask about the service", f"{trouble.strerror} ({trouble.winerror})",
                               "Is the service control manager running?") from trouble
    standing = status["CurrentState"]
    state = STATES.get(standing, "inactive")
    if standing == ServiceState.STOPPED and status["Win32ExitCode"] not in (0, NEVER_STARTED):
        state = "failed"
    return ServiceReport(is_installed=True, is_enabled=config[1] == win32service.SERVICE_AUTO_START, state=state,
                  detail=WORDS.get(standing, str(standing)), pid=status["ProcessId"] or None, restarts=None,
                  status_text="",
                  unit=config[3])


def _end(control: ServiceControlCode, right: int) -> bool:
    with service(right | win32service.SERVICE_QUERY_STATUS) as handle:
        process = _ServiceProcess(_status(handle))
        try:
            win32service.ControlService(handle, control)
        except pywintypes.error as trouble:
            if trouble.winerror == IS_NOT_ACTIVE:
                return False
            raise
        _await(handle, ServiceState.STOPPED, "stop")
        process.await_exit()
        return True


def _await(handle: Any, wanted: ServiceState, doing: str) -> None:
    """Raise TideoverError if the service gets to another standing, UnreachableError if it takes too long."""
    until = time.monotonic() + CALL_LIMIT_S
    process = _ServiceProcess({"ProcessId": 0})
    while (status := _status(handle))["CurrentState"] != wanted:
        if status["CurrentState"] == ServiceState.STOPPED:
            process.await_exit()
            raise TideoverError(f"cannot {doing} the service", "it ended as soon as it was started",
                                "See the event log (Windows, Application, source tideover).")
        if time.monotonic() > until:
            raise UnreachableError(f"cannot {doing} the service", f"it did not happen within {CALL_LIMIT_S:.0f} s",
                                   "See sc queryex tideover.")
        process = _ServiceProcess(status)
        time.sleep(LOOK_EVERY_S)


class _ServiceProcess:
    """The process of a service. One that has stopped may still be a process that ends: its files are in use until then,
    and a start that comes too early may be given to it."""

    def __init__(self, status: dict[str, int]) -> None:
        self._process = None
        if status["ProcessId"]:
            with suppress(psutil.Error):
                self._process = psutil.Process(status["ProcessId"])

    def await_exit(self) -> None:
        until = time.monotonic() + EXIT_LIMIT_S
        while self._process is not None and self._process.is_running() and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)


def _status(handle: Any) -> dict[str, int]:
    return cast(dict[str, int], win32service.QueryServiceStatusEx(handle))
