"""Time as a test wants it, for a whole process: the wall clock set, the machine away for a while, a new boot.

Three distances in nanoseconds lie in a small file that the test and the processes under test have mapped. In a process
that calls `play`, every reading of a clock goes through them; nothing of the product knows. The outside world (the
metadata service, the time servers) reads `PlayedTime.outside_s`.
"""
from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from tideover.system import clocks

NS = 1_000_000_000
LAYOUT = struct.Struct("<qqqq")
WALL, AWAY, BOOT, LEAP = range(4)
SINCE_BOOT = ("CLOCK_MONOTONIC_RAW", "CLOCK_MONOTONIC", "CLOCK_BOOTTIME")

_wall_ns, _clock_ns, _raw = time.time_ns, time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW


def real_s() -> float:
    """Return the time of the machine on which all this is played, in seconds since the epoch."""
    return _wall_ns() / NS


class PlayedTime:
    """The distances. `file` is made if it is not there."""

    def __init__(self, file: Path) -> None:
        file.touch(0o600)
        with file.open("r+b") as opened:
            opened.truncate(LAYOUT.size)
            self._map = mmap.mmap(opened.fileno(), LAYOUT.size)

    def set_wall(self, seconds: float) -> None:
        """The wall clock is set, by so much against the truth."""
        self._put(WALL, round(seconds * NS))

    def leap(self, seconds: float) -> None:
        """UTC itself jumps, here and everywhere at once."""
        self._put(LEAP, round(seconds * NS))

    def pass_by(self, seconds: float) -> None:
        """The machine is away for so long; its counters and its wall clock run on meanwhile."""
        self._put(AWAY, self._get()[AWAY] + round(seconds * NS))

    def stand_still(self, seconds: float) -> None:
        """The machine is away for so long, and no clock of its own counts meanwhile: it is behind afterwards."""
        wall, _, _, leap = self._get()
        self._put(WALL, wall - round(seconds * NS))
        self._put(LEAP, leap + round(seconds * NS))

    def reboot(self, up_s: float = 7.0) -> None:
        """The clocks that count since the boot begin again."""
        away = self._get()[AWAY]
        self._put(BOOT, _clock_ns(_raw) + away - round(up_s * NS))

    def outside_s(self) -> float:
        """Return the true time, in seconds since the epoch."""
        _, away, _, leap = self._get()
        return (_wall_ns() + away + leap) / NS

    def wall_ns(self) -> int:
        wall, away, _, leap = self._get()
        return _wall_ns() + wall + away + leap

    def since_boot_ns(self, clock: int) -> int:
        _, away, boot, _ = self._get()
        return _clock_ns(clock) + away - boot

    def _get(self) -> tuple[int, int, int, int]:
        return LAYOUT.unpack_from(self._map)    # type: ignore[return-value]

    def _put(self, place: int, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * place, value)


def play(played: PlayedTime) -> None:
    """From here on this process lives in played time. What waits (locks, sockets, sleeps) goes on in real time."""
    counted = {getattr(time, name) for name in SINCE_BOOT}

    def read_ns(clock: int) -> int:
        if clock in counted:
            return played.since_boot_ns(clock)
        return played.wall_ns() if clock == time.CLOCK_REALTIME else _clock_ns(clock)

    time.time_ns, time.time = played.wall_ns, lambda: played.wall_ns() / NS
    time.clock_gettime_ns, time.clock_gettime = read_ns, lambda clock: read_ns(clock) / NS
    time.monotonic_ns = lambda: read_ns(time.CLOCK_MONOTONIC)
    _play_clocks({clocks.raw_ns: lambda: read_ns(time.CLOCK_MONOTONIC_RAW),
                  clocks.mono_ns: lambda: read_ns(time.CLOCK_MONOTONIC),
                  clocks.boot_ns: lambda: read_ns(time.CLOCK_BOOTTIME),
                  clocks.wall_ns: played.wall_ns})
    _play_datetime(lambda: played.wall_ns() / NS)


def _play_clocks(instead: dict[Callable[[], int], Callable[[], int]]) -> None:
    """The product's own clocks, which hold on to what they were when they were imported, wherever they went by name."""
    by_identity = {id(clock): played for clock, played in instead.items()}
    for name, module in list(sys.modules.items()):
        if name.startswith("tideover."):
            for known, value in list(vars(module).items()):
                if id(value) in by_identity:        # some values of a module cannot be hashed
                    setattr(module, known, by_identity[id(value)])


def _play_datetime(now_s: Callable[[], float]) -> None:
    class Played(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(now_s(), tz)

    for name, module in list(sys.modules.items()):
        if name.startswith("tideover.") and getattr(module, "datetime", None) is datetime \
                and "datetime.now(" in Path(module.__file__ or "").read_text():
            module.datetime = Played            # type: ignore[attr-defined]
