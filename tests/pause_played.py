"""Clocks, counters and listeners with a memory, for the tests of the pause watch: any machine can be played on them."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from tideover.model import Moment, Pause, utc
from tideover.observations import Observation, PauseProved, Resumed
from tideover.pause.detector import PauseCallbacks, PauseDetector
from tideover.pause.incidents import SourceSamples
from tideover.pause.types import PauseWatchSettings, PushSignal
from tideover.timekeeping.gaps import KernelCounters
from tideover.timekeeping.intervals import NS
from tideover.timekeeping.pause_fusion import SourceSample

TRUTH_MINUS_RAW_NS = 1_799_999_000 * NS      # as the played clocks begin


def ns(seconds: float) -> int:
    return round(seconds * NS)


@dataclass
class PlayedClocks:
    """Four clocks that stop until the test lets time pass, together or one without the others."""

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

    counters: KernelCounters = field(default_factory=lambda: KernelCounters(0, 0, 0, 0, 0, 0))
    rate: float = 200.0
    debugger: int = 0
    source: str = "tsc"
    reads: int = 0
    price_ns: int = 0

    def read(self) -> KernelCounters:
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
    """What the watch reported, in order."""

    told: list[Observation] = field(default_factory=list)
    clock_sets: int = 0
    wanted: int = 0
    hosts: list[tuple[str, str]] = field(default_factory=list)
    disruptions: list[bool] = field(default_factory=list)

    def tell(self, observation: Observation) -> None:
        self.told.append(observation)

    def clock_was_set(self) -> None:
        self.clock_sets += 1

    def outside_wanted(self) -> None:
        self.wanted += 1

    def host_changed(self, before: str, after: str) -> None:
        self.hosts.append((before, after))

    @property
    def pauses(self) -> list[Pause]:
        return [told.pause for told in self.told if isinstance(told, Resumed)]

    @property
    def proved(self) -> list[Pause]:
        return [told.pause for told in self.told if isinstance(told, PauseProved)]


class PlayedMachine:
    """A played machine with a watch on it, a time server beside it, and what the watch reported.

    `tick`: ordinary beats; `halt`: a stop during which the clocks ran on; `freeze`: one in which they all stopped;
    `ask`: the server answers, now, with an error of its own and a round trip."""

    TICK_S = 0.25

    def __init__(self, settings: PauseWatchSettings | None = None) -> None:
        self.clocks, self.counters, self.heard = PlayedClocks(), PlayedCounters(), Heard()
        self.outside = SourceSamples()
        self.noticer = PauseDetector(
            self.heard.tell, settings or PauseWatchSettings(), self.clocks, self.counters, outside=self.outside,
            listeners=PauseCallbacks(self.heard.clock_was_set, self.heard.outside_wanted, self.heard.host_changed,
                                self.heard.disruptions.append))
        self.lost_ns = 0
        self.servers_error_ns: dict[str, int] = {}
        self.noticer.begin()

    def tick(self, times: int = 1, *signals: PushSignal, late_s: float = 0.0) -> None:
        for _ in range(times):
            self.clocks.run(self.TICK_S + late_s)
            self.counters.others_run(self.TICK_S + late_s)
            self.noticer.tick(ns(self.TICK_S), signals)
            signals = ()

    def halt(self, seconds: float, *signals: PushSignal, into_s: float = 0.1, others: bool = False) -> None:
        """The clocks run on for `seconds`, the watch does not; `others`: but everybody else does."""
        self.clocks.run(max(self.TICK_S, into_s + seconds))
        self.counters.others_run(into_s + (seconds if others else 0))
        self.noticer.tick(ns(self.TICK_S), signals)

    def freeze(self, seconds: float) -> None:
        """Nothing of this machine moves, and the world goes on."""
        self.lost_ns += ns(seconds)

    def set_server(self, source: str, by_s: float) -> None:
        self.servers_error_ns[source] = self.servers_error_ns.get(source, 0) + ns(by_s)

    def ask(self, source: str = "ntp:a", *, bound_s: float = 0.002, error_s: float = 0.0) -> None:
        """One answer, off by `error_s`, which its bound allows or not."""
        truth = TRUTH_MINUS_RAW_NS + self.lost_ns + self.servers_error_ns.get(source, 0)
        self.outside.add(source, SourceSample(self.clocks.raw, truth + ns(error_s), ns(bound_s)))

    def live(self, seconds: float, *sources: str, every_s: float = 1.0, bound_s: float = 0.002) -> None:
        """Ordinary life, with an answer of each source every second."""
        for _ in range(round(seconds / every_s)):
            for source in sources or ("ntp:a",):
                self.ask(source, bound_s=bound_s)
            self.tick(round(every_s / self.TICK_S))

    @property
    def pauses(self) -> list[Pause]:
        return self.heard.pauses
