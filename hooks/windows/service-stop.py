"""service-stop: stops (or pauses) Windows services in the owner's order before the machine goes away, and starts (or
continues) afterwards those that ran. A freeze keeps memory, so by default it does nothing then.

It asks the service control manager itself: no text of `sc` or `net` is read, which is another one in each language.
"""
from __future__ import annotations

import ctypes
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import wintypes
from typing import Any

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
            told = library.StartServiceW(service, 0, None)
        else:
            told = library.ControlService(service, CONTROLS[what], ctypes.byref(Status()))
        code = 0 if told else ctypes.get_last_error()
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
    """Stop or pause what runs, each noted down before it is told."""
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


PHASES: dict[str, Callable[[], None]] = {"prepare": prepare, "recover": recover}

# ---- the frame: the same in every hook of this folder (a test holds it so) ----
DONE, FAILED, WRONG_USE, NOTHING, REFUSED, NOT_YET = 0, 1, 2, 3, 4, 75
BEGUN = time.monotonic()


class Stop(Exception):
    """The end of this run: its exit status and one sentence that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def setting(name: str) -> str:
    """Given a setting's name, return the owner's value or the default. Raise Stop if it is required and empty."""
    about = DESCRIPTION["settings"][name]
    value = os.environ.get(name, "").strip() or os.path.expandvars(about["default"])
    if not value and about.get("required"):
        raise Stop(WRONG_USE, f"{name} is not set: {about['meaning']}")
    return value


def number(name: str) -> float:
    """Given a setting's name, return it as a number that is not negative. Raise Stop if it is none."""
    value = setting(name)
    if not value.replace(".", "", 1).isdecimal():
        raise Stop(WRONG_USE, f'{name} must be a number, not "{value}"')
    return float(value)


def memory_survives() -> bool:
    """Does the machine go on where it stopped, as opposed to starting afresh?"""
    return os.environ.get("TIDEOVER_KIND", "freeze") in ("freeze", "unannounced", "live-migration")


def left_s() -> float:
    """Seconds this run may still take, with a second (or a tenth of a short run) kept for leaving in order."""
    whole = float(os.environ.get("TIDEOVER_SECONDS_LEFT") or 60)
    return whole - min(1.0, whole / 10) - (time.monotonic() - BEGUN)


def wait_until(question: Callable[[], bool], waiting_for: str, longest_s: float = 1e9) -> None:
    """Given a question, ask it ten times a second until it says yes. Raise Stop (not yet) when the time is up."""
    end = time.monotonic() + min(longest_s, left_s())
    while not question():
        if time.monotonic() >= end:
            raise Stop(NOT_YET, f"still waiting: {waiting_for}")
        time.sleep(0.1)


def state_file() -> pathlib.Path:
    """Where this hook keeps what recover must restore. Raise Stop if the agent gave no directory."""
    directory = pathlib.Path(os.environ.get("TIDEOVER_STATE_DIR") or "\\nonexistent")
    if not directory.is_dir():
        raise Stop(WRONG_USE, "TIDEOVER_STATE_DIR is not a directory")
    return directory / f"{DESCRIPTION['name']}.json"


def remember(state: dict[str, Any]) -> None:
    """Given what recover must know, have it on the disk when this returns: call it before changing anything."""
    path = state_file()
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as out:
        json.dump(state, out)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def remembered() -> dict[str, Any] | None:
    """Return what an earlier run kept, or None."""
    try:
        return dict(json.loads(state_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def forget() -> None:
    """Everything is as it was: keep nothing."""
    for path in (state_file(), state_file().with_suffix(".new")):
        path.unlink(missing_ok=True)


def run(phase: str) -> int:
    """Given prepare or recover, run it and return the exit status."""
    try:
        PHASES[phase]()
        return DONE
    except Stop as stop:
        status, why = stop.status, str(stop)
    except (OSError, ValueError, LookupError) as error:
        status, why = FAILED, f"{type(error).__name__}: {error}"
    if phase == "prepare" and status in (NOTHING, REFUSED) and remembered() is not None:
        status = DONE if status == NOTHING else FAILED   # 3 and 4 say "nothing was changed", and something was
    if phase == "recover" and status == NOTHING:
        forget()                                         # a prepare killed in its first note leaves half of one
    print(why, flush=True)
    return status


def main(arguments: list[str]) -> int:
    """Given the command's arguments, do as the contract says and return the exit status."""
    if arguments == ["describe"]:
        print(json.dumps(DESCRIPTION, indent=1))
        return DONE
    if len(arguments) != 1 or arguments[0] not in PHASES:
        print(f"usage: {DESCRIPTION['name']} describe | prepare | recover", file=sys.stderr)
        return WRONG_USE
    return run(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
# ---- end of the frame ----
