"""What can be promised on this machine, in one sentence for each way in which it may stop."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.pause.settings import PauseSettings
from tideover.timekeeping.gaps import LEAST_WAKE_NS, NS
from tideover.wording import round_length_text

DRIFT_PER_S = 50e-6      # of the raw clock between two samples


@dataclass(frozen=True, slots=True)
class OutsideSource:
    """One source of outside time as it is asked here: how often, and to what bound its answers compare."""

    name: str
    every_s: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class Promise:
    """Pauses of at least `shortest_s` are seen within `within_s` of the resume, to ± `bound_s`. None: never."""

    stopped: str             # which clocks stop, in words
    shortest_s: float | None
    within_s: float | None
    bound_s: float | None
    by: str

    @property
    def sentence(self) -> str:
        """What `tideover doctor` prints."""
        if self.shortest_s is None or self.within_s is None or self.bound_s is None:
            return f"{self.stopped}: cannot be seen here, {self.by}"
        return (f"{self.stopped}: pauses of {round_length_text(self.shortest_s)} or more are seen within "
                f"{round_length_text(self.within_s)}, to ± {round_length_text(self.bound_s)}, by {self.by}")


def promises(settings: PauseSettings, outside: Sequence[OutsideSource]) -> tuple[Promise, ...]:
    """Given the settings and the sources of outside time in use, return what can be promised: while the machine's
    clocks run on, and while they stop with it."""
    wake_s = LEAST_WAKE_NS / NS
    running = Promise("when the clocks run on", settings.threshold_s + settings.tick_s, settings.tick_s,
                      settings.tick_s / 2 + wake_s, "the heartbeat")
    if not outside:
        return running, Promise("when the clocks stop too", None, None, None,
                                "no time server, hardware clock or metadata service is asked")
    finest = min(outside, key=lambda source: (_bound_s(source), source.every_s))
    soonest = min(outside, key=lambda source: (_shortest_s(source, settings), source.every_s))
    return running, Promise("when the clocks stop too", _shortest_s(soonest, settings),
                            2 * soonest.every_s + settings.tick_s, _bound_s(finest),
                            finest.name if finest is soonest else f"{soonest.name} and {finest.name}")


def _bound_s(source: OutsideSource) -> float:
    return 2 * source.bound_s + DRIFT_PER_S * source.every_s


def _shortest_s(source: OutsideSource, settings: PauseSettings) -> float:
    """What stands out beyond both bounds, and is worth telling."""
    return max(settings.threshold_s, 2 * _bound_s(source))
