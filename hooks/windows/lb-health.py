"""lb-health: makes this machine's health page say "not me" by a file, waits until the load balancers have seen it and
the requests under way are done. It never stops a service and never closes a connection.
"""
from __future__ import annotations

import ctypes
import json
import os
import pathlib
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

DESCRIPTION: dict[str, Any] = {
    "name": "lb-health",
    "stage": 20,
    "summary": "Fails this machine's health page by a file, so that any load balancer sends its traffic elsewhere",
    "does": {
        "freeze": "creates DRAIN_FILE, waits SETTLE_S for the probes, then until PORT has no connection (DRAIN_S "
                  "at most)",
        "restart": "the same",
        "unannounced": "nothing",
        "recover": "removes DRAIN_FILE if it is still the one prepare made",
    },
    "settings": {
        "DRAIN_FILE": {"default": "%ProgramData%\\tideover-drain\\drain",
                       "meaning": "the file whose presence makes the health page answer 503"},
        "SETTLE_S": {"default": "12", "meaning": "seconds until every load balancer has noticed: probe interval x "
                                                 "failures, and one more interval"},
        "PORT": {"default": "", "meaning": "TCP ports of the service, separated by spaces; their connections are "
                                           "waited for; empty: not waited for"},
        "DRAIN_S": {"default": "30", "meaning": "seconds after SETTLE_S that connections are waited for; those left "
                                                "are told and kept"},
    },
    "needs": ["a health page that answers 503 while DRAIN_FILE exists (IIS: a rewrite rule with IsFile)",
              "write access to its directory"],
    "proved_against": "the file alone, under Wine; no load balancer",
}

# iprtrmib.h: table of all connections with their owners · states that still carry something (MIB_TCP_STATE)
ALL_WITH_OWNERS, CARRYING = 5, frozenset({5, 6, 8, 9, 10})
INET, INET6 = 2, 23
ROWS = {INET: struct.Struct("<I4xI12x"), INET6: struct.Struct("<20xI24xI4x")}     # state and port · port and state


def local_ports() -> Iterator[int]:
    """The local port of each connection that still carries something (GetExtendedTcpTable)."""
    read = ctypes.WinDLL("iphlpapi").GetExtendedTcpTable
    for family, row in ROWS.items():
        size = ctypes.c_uint32(0)
        read(None, ctypes.byref(size), False, family, ALL_WITH_OWNERS, 0)
        table = ctypes.create_string_buffer(size.value + 64 * 1024)        # more may come meanwhile
        size.value = len(table)
        if read(table, ctypes.byref(size), False, family, ALL_WITH_OWNERS, 0):
            continue
        for at in range(int.from_bytes(table.raw[:4], "little")):
            first, second = row.unpack_from(table.raw, 4 + at * row.size)
            state, port = (first, second) if family == INET else (second, first)
            if state in CARRYING:
                yield int.from_bytes((port & 0xFFFF).to_bytes(2, "little"), "big")


def connections(ports: set[int]) -> int:
    """Given the service's ports, return how many connections of theirs still carry something."""
    return sum(port in ports for port in local_ports())


def prepare() -> None:
    """Make the file, then wait for probes and connections."""
    ports = {int(word) for word in setting("PORT").split()}
    settle_s, drain_s, file = number("SETTLE_S"), number("DRAIN_S"), pathlib.Path(setting("DRAIN_FILE"))
    kept = remembered()
    if kept is None:
        if file.exists():
            raise Stop(NOTHING, f"{file} is there already: somebody else drains this machine, left as it is")
        kept = {"file": str(file), "word": f"tideover {os.environ.get('TIDEOVER_EVENT_ID', '')} {time.time_ns()}"}
        remember(kept)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(kept["word"])
        print(f"health page fails from now on ({file})", flush=True)
    wait_until(lambda: time.monotonic() - BEGUN >= settle_s, "load balancers may not have seen it yet")
    if not ports:
        raise Stop(DONE, "drained as far as the probes go; no PORT to watch")
    end = time.monotonic() + drain_s
    wait_until(lambda: not connections(ports) or time.monotonic() >= end, f"connections on port {setting('PORT')}")
    left = connections(ports)
    raise Stop(DONE, f"{left} connections stay after DRAIN_S={drain_s:g}" if left else "drained: no connection is left")


def recover() -> None:
    """Take the file away, if it is ours."""
    kept = remembered()
    if kept is None:
        raise Stop(NOTHING, "nothing was prepared")
    file = pathlib.Path(kept["file"])
    is_ours = file.is_file() and file.read_text(encoding="utf-8", errors="replace") in ("", kept["word"])
    if is_ours:
        file.unlink(missing_ok=True)
    forget()
    raise Stop(DONE, "health page is good again" if is_ours else f"{file} is gone or somebody else's: left as it is")


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
