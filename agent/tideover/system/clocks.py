"""This machine's clocks as functions, nanoseconds each, and the id of its boot. Read; never set.

`raw_ns`: nobody sets or slews it, and it stands still in a suspend (Linux: CLOCK_MONOTONIC_RAW). `mono_ns`: the same,
or slewed with the wall clock. `boot_ns`: the monotonic one and all suspends besides. `wall_ns`: since 1970, may be
wrong. The values of the first three mean the same in every process of one boot.
"""
from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

if sys.platform == "win32":
    from tideover.winapi import clocks as windows

    raw_ns = mono_ns = windows.raw_reader()
    boot_ns = windows.biased_reader() or raw_ns
    wall_ns = windows.wall_reader()
    WALL_IS_SLEWED_ALONE = True
    """The time service slews the wall clock and nothing else, so that it drifts from the monotonic one."""

    def read_boot_id(root: Path = Path("/")) -> str:
        """Return the id of this boot; empty where the machine has none."""
        return windows.read_boot_id()

else:
    raw_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW)
    mono_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    boot_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
    wall_ns = time.time_ns
    WALL_IS_SLEWED_ALONE = False

    def read_boot_id(root: Path = Path("/")) -> str:
        """Return the id of this boot (proc(5): /proc/sys/kernel/random/boot_id); empty where the machine has none."""
        try:
            return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""


def read_raw_s() -> float:
    """Return seconds of the raw clock."""
    return raw_ns() / 1e9
