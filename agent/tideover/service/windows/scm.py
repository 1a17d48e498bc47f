"""Calls to the service control manager of Windows: register, remove, start, stop, its state."""
from __future__ import annotations

import subprocess
import sys
import time
import winreg
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

assert sys.platform == "win32"      # mypy reads the rest for Windows only

import psutil
import pywintypes
import win32security
import win32service

import tideover
from tideover.errors import TideoverError, UnreachableError, WrongUseError
from tideover.service.windows import control
from tideover.service.windows.control import NAME, ServiceControlCode, ServiceState
from tideover.service_manager import ServiceReport

# --- Asking the service control manager, and waiting until it is done

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


# --- Registration: service, failure actions, event source, folders

SERVICE_ENTRY = Path("cli", "windows_service.py")    # says there why it is run by its path
INTERPRETER_WORDS = ("-I", "-X", "utf8")
"""Neither PYTHONPATH nor a user's own packages get into what runs as the system; our words are UTF-8."""

SOURCE_KEY = f"SYSTEM\\CurrentControlSet\\Services\\EventLog\\{control.LOG}\\{control.NAME}"
ALL_KINDS = 7               # errors, warnings, information

# Protected, so that nothing is inherited: in %ProgramData% every user may make files in folders that say nothing else.
# https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format
EVERYBODY_READS = "O:BAG:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)"
ADMINISTRATORS_ONLY = "O:BAG:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"


@dataclass(frozen=True, slots=True)
class ServiceProgram:
    """What Windows starts, and where its events' texts are."""

    command: tuple[str, ...]
    text_file: str = control.TEXT_FILE


def own_program(config: str | None) -> ServiceProgram:
    """Given the configuration file (None: the usual one), return the program of this pip installation."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    entry = Path(tideover.__file__).absolute().parent / SERVICE_ENTRY
    named = ("--config", config) if config else ()
    return ServiceProgram((base, *INTERPRETER_WORDS, str(entry), *named))


def install(config: str | None, hooks: Path) -> Path:
    """Given the configuration file (None: the usual one) and the hooks directory, register the service to start with
    the machine, or renew what was registered.

    Return what it starts. Raise WrongUseError if that cannot be, TideoverError if Windows refuses.
    """
    from tideover.hooks.trust import trusted_users, why_untrusted
    program = own_program(config)
    _refuse_another_kind("install")
    for file in (program.command[0], tideover.__file__):
        refusal = why_untrusted(str(Path(file).absolute()), trusted_users(), set())
        if refusal is not None:
            raise WrongUseError("cannot install the service", str(refusal),
                                "Everything that the system runs must be writable by administrators only.")
    make_folder(hooks, EVERYBODY_READS)
    for warning in register(program):
        print(f"tideover: {warning}", file=sys.stderr)
    return Path(program.command[0])


def check_ours() -> None:
    """Raise WrongUseError if there is no service of ours that may be removed. Changes nothing."""
    if not read_report().is_installed:
        raise WrongUseError("cannot remove the service", f"the service {control.NAME} does not "
                                                         "exist", "The service is not installed.")
    _refuse_another_kind("remove")


def remove() -> None:
    """Stop the service and forget it. Raise WrongUseError if it is not ours, TideoverError if Windows refuses."""
    check_ours()
    stop()
    unregister()


def register(program: ServiceProgram) -> tuple[str, ...]:
    """Given what to start, make the service or renew it; return what this Windows would not take.

    An owner's own account and kind of start stay. Raise TideoverError if Windows refuses the whole.
    """
    with asking("install"):
        _write_source(program.text_file)
        manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CREATE_SERVICE)
        try:
            handle, is_new = _made(manager, subprocess.list2cmdline(program.command))
            try:
                refused = [*_configure(handle), *(_start_delayed(handle) if is_new else ())]
            finally:
                win32service.CloseServiceHandle(handle)
        finally:
            win32service.CloseServiceHandle(manager)
    return tuple(refused)


def unregister() -> None:
    """Forget the service and its event source. Raise TideoverError if Windows refuses."""
    with asking("remove"), service(0x10000) as handle:      # DELETE
        win32service.DeleteService(handle)
    try:
        winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, SOURCE_KEY)
    except FileNotFoundError:
        return


def make_folder(folder: Path, access: str) -> None:
    """Given a folder and its access list (SDDL), make it if need be and give it that list and to the administrators.

    Raise WrongUseError if that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
            access, win32security.SDDL_REVISION_1)
        parts = (win32security.OWNER_SECURITY_INFORMATION | win32security.DACL_SECURITY_INFORMATION
                 | win32security.PROTECTED_DACL_SECURITY_INFORMATION)
        win32security.SetNamedSecurityInfo(str(folder), win32security.SE_FILE_OBJECT, parts,
                                           descriptor.GetSecurityDescriptorOwner(), None,
                                           descriptor.GetSecurityDescriptorDacl(), None)
    except (OSError, pywintypes.error) as trouble:
        raise WrongUseError(f"cannot make the folder {folder}", str(trouble.strerror or trouble),
                            "Open the command line with Run as administrator.") from trouble


# --- one by one -----------------------------------------------------------------------------------------------------


def _made(manager: Any, command: str) -> tuple[Any, bool]:
    """The service's handle, and whether it is new."""
    try:
        handle = win32service.OpenService(manager, control.NAME, win32service.SERVICE_ALL_ACCESS)
    except pywintypes.error as trouble:
        if trouble.winerror != NO_SUCH_SERVICE:
            raise
        handle = win32service.CreateService(
            manager, control.NAME, control.DISPLAY_NAME, win32service.SERVICE_ALL_ACCESS,
            win32service.SERVICE_WIN32_OWN_PROCESS, win32service.SERVICE_AUTO_START, win32service.SERVICE_ERROR_NORMAL,
            command, None, False, None, None, None)
        return handle, True
    keep = win32service.SERVICE_NO_CHANGE
    win32service.ChangeServiceConfig(handle, keep, keep, keep, command, None, False, None, None, None,
                                     control.DISPLAY_NAME)
    return handle, False


def _configure(handle: Any) -> list[str]:
    restarts = [(win32service.SC_ACTION_RESTART, seconds * 1000) for seconds in control.RESTART_AFTER_S]
    failures = {"ResetPeriod": control.FAILURES_FORGOTTEN_S, "RebootMsg": "", "Command": "", "Actions": restarts}
    end_limit_ms = control.PRESHUTDOWN_LIMIT_S * 1000
    return [
        *_tried(handle, "description", win32service.SERVICE_CONFIG_DESCRIPTION, control.DESCRIPTION),
        *_tried(handle, "recovery actions", win32service.SERVICE_CONFIG_FAILURE_ACTIONS, failures),
        *_tried(handle, "recovery after an exit status", win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
        *_tried(handle, "privileges", win32service.SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, control.PRIVILEGES),
        *_tried(handle, "time at shutdown", win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO, end_limit_ms),
    ]


def _start_delayed(handle: Any) -> list[str]:
    """Some two minutes after the machine's start, when what applications need has been started."""
    return _tried(handle, "delayed start", win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True)


def _tried(handle: Any, what: str, level: int, value: Any) -> list[str]:
    """The service works without: what this Windows does not know is reported, and no more."""
    try:
        win32service.ChangeServiceConfig2(handle, level, value)
    except pywintypes.error as trouble:
        return [f"Windows did not take the service's {what}: {trouble.strerror} ({trouble.winerror})"]
    return []


def _write_source(text_file: str) -> None:
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, SOURCE_KEY) as key:
        winreg.SetValueEx(key, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, text_file)
        winreg.SetValueEx(key, "TypesSupported", 0, winreg.REG_DWORD, ALL_KINDS)


def _refuse_another_kind(doing: str) -> None:
    """The installer's service is the installer's to renew and remove. Raise WrongUseError, TideoverError."""
    command = read_report().unit
    if command and SERVICE_ENTRY.name not in command:
        raise WrongUseError(f"cannot {doing} the service", f"it belongs to another installation: {command}",
                            "Use the installer, or Apps in Windows Settings.")
