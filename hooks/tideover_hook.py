"""The part of a hook that every hook in Python has: phases, settings, time left, and state that survives a kill.

    sys.dont_write_bytecode = True
    sys.path.append("/usr/share/tideover/hooks")
    from tideover_hook import NOTHING, Stop, forget, main, remember, remembered, setting

    def prepare() -> None: ...      # returning is status 0; raise Stop(STATUS, "why") for any other
    def recover() -> None: ...

    if __name__ == "__main__":
        sys.exit(main(DESCRIPTION, prepare, recover))

Needs Python 3.11 and its standard library only; for Linux and Windows. Not a hook itself. The rules: docs/hooks.md.
"""
from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

DONE, FAILED, WRONG_USE, NOTHING, REFUSED, NOT_YET = 0, 1, 2, 3, 4, 75      # exit statuses
BEGUN = time.monotonic()        # when this run began, in seconds of the monotonic clock
_USUAL_S = 60.0                 # of a run without TIDEOVER_SECONDS_LEFT
_description: Mapping[str, Any] = {"name": "hook", "settings": {}}


class Stop(Exception):
    """The end of this run: its exit status and one sentence that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


# --- settings and the event -----------------------------------------------------------------------------------------

def setting(name: str) -> str:
    """Given a setting's name, return the owner's value or the default. Raise Stop if it is required and empty."""
    about = _description["settings"][name]
    default = os.path.expandvars(about["default"]) if sys.platform == "win32" else about["default"]
    value = os.environ.get(name, "").strip() or str(default)
    if not value and about.get("required"):
        raise Stop(WRONG_USE, f"{name} is not set: {about['meaning']}")
    return value


def number(name: str) -> float:
    """Given a setting's name, return it as a number that is not negative. Raise Stop if it is none."""
    value = setting(name)
    if not value.replace(".", "", 1).isdecimal():
        raise Stop(WRONG_USE, f'{name} must be a number, not "{value}"')
    return float(value)


def kind() -> str:
    """Return what is coming: freeze, reboot, redeploy, preempt, terminate, unknown, unannounced, live-migration."""
    return os.environ.get("TIDEOVER_KIND", "freeze")


def memory_survives() -> bool:
    """Return whether the machine continues where it stopped, as opposed to a boot."""
    return kind() in ("freeze", "unannounced", "live-migration")


# --- time -----------------------------------------------------------------------------------------------------------

def left_s() -> float:
    """Return the seconds this run may still take, less a second (or a tenth of a short run) to end in order."""
    whole = float(os.environ.get("TIDEOVER_SECONDS_LEFT") or _USUAL_S)
    return whole - min(1.0, whole / 10) - (time.monotonic() - BEGUN)


def timeout_s(longest_s: float) -> float:
    """Given the longest a server may take, return that or what is left of this run, for a call's timeout."""
    return max(0.05, min(longest_s, left_s()))


def wait_until(question: Callable[[], bool], waiting_for: str, longest_s: float = 1e9) -> None:
    """Given a question, ask it ten times a second until it says yes. Raise Stop (not yet) when the time is up."""
    end = time.monotonic() + min(longest_s, left_s())
    while not question():
        if time.monotonic() >= end:
            raise Stop(NOT_YET, f"still waiting: {waiting_for}")
        time.sleep(0.1)


# --- what recover must restore --------------------------------------------------------------------------------------

def state_file() -> pathlib.Path:
    """Return where this hook keeps its state. Raise Stop if the agent gave no directory."""
    directory = os.environ.get("TIDEOVER_STATE_DIR", "")
    if not directory or not pathlib.Path(directory).is_dir():
        raise Stop(WRONG_USE, "TIDEOVER_STATE_DIR is not a directory")
    return pathlib.Path(directory, f"{_description['name']}.json")


def remember(state: dict[str, Any]) -> None:
    """Given what recover must know, have it on the disk when this returns: call it before changing anything."""
    path = state_file()
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as out:
        json.dump(state, out)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    if sys.platform != "win32":         # Windows opens no directory to write it out
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


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


# --- the run --------------------------------------------------------------------------------------------------------

def main(description: Mapping[str, Any], prepare: Callable[[], None], recover: Callable[[], None]) -> int:
    """Given what the hook says of itself and its phases, do what the command line asks; return the exit status.

    A phase ends in its time, whatever it waits for: on Linux a signal raises Stop (not yet) in it.
    """
    global _description
    _description = description
    phases = {"prepare": prepare, "recover": recover}
    arguments = sys.argv[1:]
    if arguments == ["describe"]:
        print(json.dumps(dict(description), indent=1))
        return DONE
    if len(arguments) != 1 or arguments[0] not in phases:
        print(f"usage: {description['name']} describe | prepare | recover", file=sys.stderr)
        return WRONG_USE
    return _run(arguments[0], phases[arguments[0]])


def _run(phase: str, do: Callable[[], None]) -> int:
    try:
        _limit_time()
        try:
            do()
            return DONE
        finally:
            _end_limit()
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


def _limit_time() -> None:
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left_s()))


def _end_limit() -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(_number: int, _frame: object) -> None:
    raise Stop(NOT_YET, "this run's time is over")
