"""Turns one reading of the clocks after another into pauses told. Waits for nothing and knows no thread."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from tideover.model import Cause, Moment, Pause, Quality, utc
from tideover.observations import Observation, Resumed
from tideover.pause.background import Background
from tideover.pause.clocks import Clocks, read_all
from tideover.pause.counters import CounterSource
from tideover.pause.settings import PauseSettings
from tideover.pause.signals import Signal
from tideover.timekeeping.gaps import (
    NS,
    Gap,
    Reading,
    Shift,
    gap_between,
    judge_stall,
    shift_between,
    visible_length_ns,
    wake_after_ns,
    wake_latency_ns,
)

# Waits remembered for the usual wake latency: 10 s of them when calm, 2 s when watching closely.
WAITS_KEPT = 40


class Noticer:
    """Given `tell` and the machine's clocks and counters, tells each pause and each step of the wall clock once."""

    def __init__(self, tell: Callable[[Observation], None], settings: PauseSettings, clocks: Clocks,
                 counters: CounterSource, *, clock_was_set: Callable[[], None]) -> None:
        self._tell, self._settings, self._clocks = tell, settings, clocks
        self._clock_was_set = clock_was_set
        self._last = self._anchor = read_all(clocks)
        self._background = Background(counters)
        self._lateness: deque[int] = deque(maxlen=WAITS_KEPT)
        self._newest_id_ms = 0

    def begin(self) -> None:
        """Take now as the start of the first wait. On the thread that will call `beat`."""
        self._last = self._anchor = read_all(self._clocks)
        self._background.begin(self._last.raw_ns)

    def latest_beat(self) -> Moment:
        """Return when the clocks were read last."""
        return _moment(self._last)

    def beat(self, period_ns: int, signals: Sequence[Signal] = ()) -> None:
        """Given that a wait of at most `period_ns` is over, and what ended it, read the clocks and tell what shows."""
        now = read_all(self._clocks)
        gap, shift = gap_between(self._last, now, period_ns), shift_between(self._anchor, now)
        self._last = now
        if gap.visible_ns >= self._settings.threshold_ns:
            self._tell_gap(now, gap, shift)
        else:
            self._learn(now, gap)
        if shift.is_suspend or shift.is_step:
            self._anchor = now
            self._tell_shift(now, shift)

    def close(self) -> None:
        self._background.close()

    def _learn(self, now: Reading, gap: Gap) -> None:
        if gap.elapsed_ns >= gap.period_ns:
            self._lateness.append(gap.visible_ns)
        self._background.learn(now.raw_ns)

    def _tell_gap(self, now: Reading, gap: Gap, shift: Shift) -> None:
        usual_ns = wake_latency_ns(self._lateness)
        stall = self._background.around(now.raw_ns, visible_length_ns(gap, usual_ns)[0], shift.suspended_ns)
        judged = judge_stall(stall)
        length_ns, uncertainty_ns = visible_length_ns(gap, wake_after_ns(usual_ns, stall))
        self._tell_pause(now, judged.cause, length_ns, uncertainty_ns, judged.quality,
                         (gap_sentence(gap), *judged.evidence))

    def _tell_shift(self, now: Reading, shift: Shift) -> None:
        if shift.is_suspend and shift.suspended_ns >= self._settings.threshold_ns:
            self._tell_pause(now, Cause.SUSPEND, shift.suspended_ns, shift.slack_ns, Quality.MEASURED,
                             ("the clock that counts suspends ran ahead of the monotonic one by "
                              f"{shift.suspended_ns / NS:.3f} s",))
        if shift.is_step:
            self._clock_was_set()
            if abs(shift.stepped_ns) >= self._settings.threshold_ns:
                self._tell_pause(now, Cause.CLOCK_STEP, 0, 0, Quality.MEASURED, (step_sentence(shift.stepped_ns),))

    def _tell_pause(self, at: Reading, cause: Cause, length_ns: int, uncertainty_ns: int, quality: Quality,
                    evidence: tuple[str, ...]) -> None:
        moment = _moment(at)
        self._tell(Resumed(Pause(
            id=self._new_id(moment), resumed_at=moment.utc, resumed_raw_s=moment.raw_s, length_s=length_ns / NS,
            uncertainty_s=uncertainty_ns / NS, cause=cause, evidence=evidence, quality=quality,
            clocksource=self._background.clocksource())))

    def _new_id(self, at: Moment) -> str:
        """Two pauses told of one moment get two ids."""
        self._newest_id_ms = max(self._newest_id_ms + 1, int(at.raw_s * 1000))
        return f"pause-{at.utc:%Y%m%dT%H%M%S}{at.utc.microsecond // 1000:03d}-{self._newest_id_ms}"


def gap_sentence(gap: Gap) -> str:
    """Given a visible gap, return it in words."""
    return f"the raw monotonic clock ran {gap.elapsed_ns / NS:.3f} s over a wait of at most {gap.period_ns / NS:.3f} s"


def step_sentence(stepped_ns: int) -> str:
    """Given a step of the wall clock, return it in words."""
    return f"the wall clock was set {'forward' if stepped_ns > 0 else 'back'} by {abs(stepped_ns) / NS:.3f} s"


def _moment(reading: Reading) -> Moment:
    return Moment(utc(reading.wall_ns / NS), reading.raw_ns / NS)
