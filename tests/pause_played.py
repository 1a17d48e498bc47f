"""Clocks, counters and listeners with a memory, for the tests of the pause watch: any machine can be played on them."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from tideover.model import Moment, Pause, utc
from tideover.observations import Observation, Resumed
from tideover.timekeeping.gaps import NS, Counters


def ns(seconds: float) -> int:
    return round(seconds * NS)


@dataclass
class PlayedClocks:
    """Four clocks that stand still until the test lets time pass, together or one without the others."""

    raw: int = ns(1000)
    mono: int = ns(1000)
    wall: int = ns(1_800_000_000)
    boot: int = ns(1000)

    def raw_ns(self) -> int:
        return self.raw

    def mono_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return self.wall

    def boot_ns(self) -> int:
        return self.boot

    def moment(self) -> Moment:
        return Moment(utc(self.wall / NS), self.raw / NS)

    def run(self, seconds: float) -> None:
        """Time passes on all of them."""
        self.raw += ns(seconds)
        self.mono += ns(seconds)
        self.wall += ns(seconds)
        self.boot += ns(seconds)

    def set_wall(self, by_s: float) -> None:
        self.wall += ns(by_s)

    def suspend(self, seconds: float) -> None:
        """In-guest suspend: BOOTTIME counts it, and the wall clock is put right at its end."""
        self.boot += ns(seconds)
        self.wall += ns(seconds)


@dataclass
class PlayedCounters:
    """Counters of a machine whose other processes switch `rate` times a second while it runs."""

    counters: Counters = field(default_factory=lambda: Counters(0, 0, 0, 0, 0, 0))
    rate: float = 200.0
    debugger: int = 0
    source: str = "tsc"
    reads: int = 0
    price_ns: int = 0

    def read(self) -> Counters:
        self.reads += 1
        return self.counters

    def traced_by(self) -> int:
        return self.debugger

    def clocksource(self) -> str:
        return self.source

    def affordable_every_ns(self) -> int:
        return self.price_ns

    def close(self) -> None:
        return None

    def add(self, **more: int) -> None:
        self.counters = replace(self.counters, **{
            name: (getattr(self.counters, name) or 0) + by for name, by in more.items()})

    def others_run(self, seconds: float) -> None:
        self.add(switches=round(self.rate * seconds))


@dataclass
class Heard:
    """What the watch told, in order."""

    told: list[Observation] = field(default_factory=list)
    clock_sets: int = 0

    def tell(self, observation: Observation) -> None:
        self.told.append(observation)

    def clock_was_set(self) -> None:
        self.clock_sets += 1

    @property
    def pauses(self) -> list[Pause]:
        return [told.pause for told in self.told if isinstance(told, Resumed)]
