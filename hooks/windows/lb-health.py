"""lb-health: makes this machine's health page say "not me" by a file, waits until the load balancers have seen it and
the requests under way are done. It never stops a service and never closes a connection.
"""
from __future__ import annotations

import ctypes
import os
import pathlib
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

sys.dont_write_bytecode = True      # the library's folder is the installation's
sys.path.append(str(pathlib.Path(sys.prefix, "share/tideover/hooks/windows")))      # the installation's
sys.path.append(str(pathlib.Path(__file__).parents[1]))     # the source tree's
from tideover_hook import BEGUN, DONE, NOTHING, Stop, forget, main, number, remember, remembered, setting, wait_until

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
                                                "are reported and kept"},
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
            raise Stop(NOTHING, f"{file} exists already: another program drains this machine, left as it is")
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
    raise Stop(DONE, "health page is good again" if is_ours else f"{file} is gone or another program's: left as it is")


if __name__ == "__main__":
    sys.exit(main(DESCRIPTION, prepare, recover))
