"""service-stop: stops (or pauses) Windows services in the owner's order before the machine goes away, and starts (or
continues) afterwards those that ran. A freeze keeps memory, so by default it does nothing then.

It asks the service control manager itself: no text of `sc` or `net` is read, which is another one in each language.
"""
from __future__ import annotations

import ctypes
import pathlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import wintypes
from typing import Any

sys.dont_write_bytecode = True      # the library's folder is the installation's
sys.path.append(str(pathlib.Path(sys.prefix, "share/tideover/hooks/windows")))      # the installation's
sys.path.append(str(pathlib.Path(__file__).parents[1]))     # the source tree's
from tideover_hook import (
    FAILED,
    NOTHING,
    REFUSED,
    WRONG_USE,
    Stop,
    forget,
    main,
    memory_survives,
    remember,
    remembered,
    setting,
    wait_until,
)

DESCRIPTION: dict[str, Any] = {
    "name": "service-stop",
    "stage": 80,
    "summary": "Stops or pauses services in order before a restart, and starts or continues those again that ran",
    "does": {
        "freeze": "nothing, unless ON_FREEZE=yes",
        "restart": "stops SERVICES one after the other (HOW=pause: pauses them) and waits for each",
        "unannounced": "nothing",
        "recover": "starts (continues) in reverse order those that ran before prepare, and waits for each",
    },
    "settings": {
        "SERVICES": {"default": "", "required": True,
                     "meaning": "names of services as the registry has them, separated by commas; one that others "
                                "depend on comes after them"},
        "HOW": {"default": "stop", "meaning": "stop, or pause for services that take it"},
        "ON_FREEZE": {"default": "no", "meaning": "yes: also before a freeze"},
    },
    "needs": ["the right to control the services (the agent's service has it)"],
    "proved_against": "a service of the tests' under Wine's service control manager; no product",
}

# winsvc.h
CONNECT, QUERY_STATUS, START, STOP, PAUSE_CONTINUE = 0x1, 0x4, 0x10, 0x20, 0x40
CONTROLS = {"stop": 1, "pause": 2, "continue": 3}
STOPPED, START_PENDING, RUNNING, PAUSED = 1, 2, 4, 7
WORDS = {1: "stopped", 2: "starting", 3: "stopping", 4: "running", 5: "continuing", 6: "pausing", 7: "paused"}
NOT_THERE, ALREADY_RUNNING, NOT_ACTIVE, DEPENDED_ON, CANNOT_NOW, CANNOT = 1060, 1056, 1062, 1051, 1061, 1052


class Status(ctypes.Structure):
    """SERVICE_STATUS."""

    _fields_ = [(name, wintypes.DWORD) for name in ("kind", "state", "accepts", "exit", "own_exit", "point", "wait")]


def advapi32() -> Any:
    """The library of the service control manager."""
    library = ctypes.WinDLL("advapi32", use_last_error=True)
    for name in ("OpenSCManagerW", "OpenServiceW"):
        getattr(library, name).restype = wintypes.HANDLE
    library.OpenServiceW.argtypes = (wintypes.HANDLE, wintypes.LPCWSTR, wintypes.DWORD)
    library.QueryServiceStatus.argtypes = (wintypes.HANDLE, ctypes.POINTER(Status))
    library.ControlService.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(Status))
    library.StartServiceW.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p)
    library.CloseServiceHandle.argtypes = (wintypes.HANDLE,)
    return library


@contextmanager
def opened(name: str) -> Iterator[tuple[Any, Any]]:
    """Given a service's name, give the library and a handle. Raise Stop if there is none, or it is not for us."""
    library = advapi32()
    manager = library.OpenSCManagerW(None, None, CONNECT)
    service = library.OpenServiceW(manager, name, QUERY_STATUS | START | STOP | PAUSE_CONTINUE) if manager else None
    try:
        if not service:
            code = ctypes.get_last_error()
            raise Stop(REFUSED, f"there is no service {name}" if code == NOT_THERE else
                       f"cannot control the service {name}: {ctypes.FormatError(code)}")
        yield library, service
    finally:
        for handle in (service, manager):
            if handle:
                library.CloseServiceHandle(handle)


def state_of(name: str) -> int:
    """Given a service, return its state."""
    status = Status()
    with opened(name) as (library, service):
        if not library.QueryServiceStatus(service, ctypes.byref(status)):
            raise ctypes.WinError(ctypes.get_last_error())
    return status.state


def tell(name: str, what: str) -> None:
    """Given a service, tell it to stop, pause, continue or start; what it does already needs no telling."""
    with opened(name) as (library, service):
        if what == "start":
            succeeded = library.StartServiceW(service, 0, None)
        else:
            succeeded = library.ControlService(service, CONTROLS[what], ctypes.byref(Status()))
        code = 0 if succeeded else ctypes.get_last_error()
    if code == DEPENDED_ON:
        raise Stop(FAILED, f"other services depend on {name} and run: name them before it in SERVICES")
    if code == CANNOT:
        raise Stop(FAILED, f"{name} does not take {what}: set HOW=stop")
    if code not in (0, ALREADY_RUNNING, NOT_ACTIVE, CANNOT_NOW):       # cannot now: it is on its way somewhere
        raise ctypes.WinError(code)


def names() -> list[str]:
    """The owner's services. Raise Stop if one is not there, before anything is changed."""
    wanted = [name.strip() for name in setting("SERVICES").split(",") if name.strip()]
    for name in wanted:
        state_of(name)
    return wanted


def prepare() -> None:
    """Stop or pause what runs, each noted down before the request."""
    how = setting("HOW")
    if how not in ("stop", "pause"):
        raise Stop(WRONG_USE, f'HOW must be stop or pause, not "{how}"')
    if memory_survives() and setting("ON_FREEZE") != "yes":
        raise Stop(NOTHING, "a freeze keeps memory: nothing to stop (ON_FREEZE=yes would)")
    wanted = names()
    kept = remembered() or {"how": how, "services": []}
    for name in wanted:
        if state_of(name) in (STOPPED, PAUSED) and name not in kept["services"]:
            continue
        if name not in kept["services"]:
            kept["services"].append(name)
            remember(kept)
        settle(name, how, STOPPED if how == "stop" else PAUSED)
    if not kept["services"]:
        raise Stop(NOTHING, "none of the services runs")
    print(f"{'stopped' if how == 'stop' else 'paused'}: {', '.join(kept['services'])}")


def recover() -> None:
    """Start or continue what ran."""
    kept = remembered()
    if kept is None:
        raise Stop(NOTHING, "nothing was prepared")
    for name in reversed(kept["services"]):
        settle(name, "start" if kept["how"] == "stop" or state_of(name) == STOPPED else "continue", RUNNING)
    forget()
    print(f"running again: {', '.join(reversed(kept['services']))}")


def settle(name: str, what: str, wanted: int) -> None:
    """Tell a service until it is where it should be: one on its way to somewhere else takes no word."""
    def is_there() -> bool:
        state = state_of(name)
        if state != wanted:
            tell(name, what)
        return state == wanted

    wait_until(is_there, f"{name} is {WORDS.get(state_of(name), 'in no known state')}")


if __name__ == "__main__":
    sys.exit(main(DESCRIPTION, prepare, recover))
