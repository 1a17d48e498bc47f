"""The machine as this hand may look at it: where its files are, how its devices are read, its commands run.

One value, so that a test can play any machine. Reads nothing itself.
"""
from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tideover.clock.ended import Ended
from tideover.clock.kernel import KernelClock, read_kernel_clock
from tideover.clock.programs import run
from tideover.system.files import ROOT

if sys.platform == "win32":
    from tideover.winapi.registry import read_value as read_registry
else:
    def read_registry(key: str, name: str) -> str | int | bytes | list[str] | None:
        """Nothing: only Windows has one."""
        return None

CHRONY_MONITOR = ("127.0.0.1", 323)      # chrony's default `cmdport`, open to local users for monitoring
NTPD_CONTROL = ("127.0.0.1", 123)
# For a daemon on this machine, whose answer takes 0.1 ms; room for the crowd after a resume. A port where nobody
# listens refuses at once.
PATIENCE_S = 0.25


def read_device_ns(device: str) -> int:
    """Given a PTP clock's device, return its nanoseconds since 1970. Raise OSError if it cannot be read.

    A descriptor stands for a clock as ((~fd) << 3) | 3 (the kernel's FD_TO_CLOCKID).
    """
    if sys.platform == "win32":
        raise FileNotFoundError(errno.ENOENT, "Windows has no such devices", device)
    descriptor = os.open(device, os.O_RDONLY)
    try:
        return time.clock_gettime_ns((~descriptor << 3) | 3)
    finally:
        os.close(descriptor)


def random_fraction() -> float:
    """Return a number from 0 up to 1 that another machine would not draw as well."""
    return os.urandom(1)[0] / 256


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Given a root of the file system and ways to reach the rest, the machine."""

    root: Path = ROOT
    chrony_monitor: tuple[str, int] = CHRONY_MONITOR
    chrony_socket: str = ""              # where chronyc finds chronyd; "": where it was built to look
    ntpd_control: tuple[str, int] = NTPD_CONTROL
    patience_s: float = PATIENCE_S
    read_device_ns: Callable[[str], int] = read_device_ns
    run: Callable[[Sequence[str]], Ended] = run
    registry: Callable[[str, str], str | int | bytes | list[str] | None] = read_registry    # below HKEY_LOCAL_MACHINE
    kernel_clock: Callable[[], KernelClock | None] = read_kernel_clock
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random_fraction

    def path(self, absolute: str) -> Path:
        """Given an absolute path of the machine, return where it lies for us."""
        return self.root / absolute.lstrip("/")
