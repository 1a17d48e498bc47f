"""Clock readings and push signals to reported pauses: what is examined at each tick. Starts no thread, never waits."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tideover.model import Cause, Moment, Pause, utc
from tideover.observations import Observation, PauseProved, Resumed
from tideover.pause.counters import ActivityBaseline, CounterSource
from tideover.pause.incidents import ConcludedIncident, IncidentTracker, SourceSamples
from tideover.pause.types import (
    CarrierChanged,
    ClockSet,
    DisruptionAnnounced,
    HostChanged,
    MarkerMoved,
    MoveProved,
    NetworkAnnounced,
    PauseWatchSettings,
    PushSignal,
)
from tideover.system.clocks import WALL_IS_SLEWED_ALONE, Clocks, read_all
from tideover.timekeeping.gaps import (
    ClockReading,
    ClockShift,
    Gap,
    StallVerdict,
    are_together,
    gap_between,
    judge_stall,
    shift_between,
    wake_after_ns,
    wake_latency_ns,
)
from tideover.timekeeping.intervals import NS
from tideover.timekeeping.pause_fusion import Incident, judge

# Waits remembered for the usual wake latency: 30 s of them when calm, 6 s when watching closely.
WAITS_KEPT = 120
# A beat that is later than this is looked at; it is less than any gap that counts for anything.
ORDINARY_NS = NS // 10


def post_nowhere(*_: object) -> None:
    """The default listener: it ignores everything."""
    return


@dataclass(frozen=True, slots=True)
class PauseCallbacks:
    """What is called beside the pauses themselves. On the watch's thread: they must not block.

    `clock_was_set`: by a millisecond or more. `outside_wanted`: a sample of outside time would be welcome now.
    `host_changed`: name before, after. `disruption_announced`: True within about an hour, False within about a day."""

    clock_was_set: Callable[[], None] = post_nowhere
    outside_wanted: Callable[[], None] = post_nowhere
    host_changed: Callable[[str, str], None] = post_nowhere
    disruption_announced: Callable[[bool], None] = post_nowhere


class PauseDetector:
    """Given `post` and the machine's clocks and counters, tells each pause and each step of the wall clock once."""

    def __init__(self, post: Callable[[Observation], None], settings: PauseWatchSettings, clocks: Clocks,
                 counters: CounterSource, *, outside: SourceSamples, listeners: PauseCallbacks) -> None:
        self._post, self._settings, self._clocks, self._listeners = post, settings, clocks, listeners
        self._incidents = IncidentTracker(outside, settings, listeners.outside_wanted)
        self._last = self._anchor = read_all(clocks)
        self._wall_drifts = WALL_IS_SLEWED_ALONE
        self._background = ActivityBaseline(counters)
        self._lateness: deque[int] = deque(maxlen=WAITS_KEPT)
        self._newest_id_ms = 0
        self._newest: Pause | None = None

    def begin(self) -> None:
        """Take now as the start of the first wait. On the thread that will call `beat`."""
        self._last = self._anchor = read_all(self._clocks)
        self._background.begin(self._last.raw_ns)

    @property
    def is_waiting(self) -> bool:
        """Whether an incident waits for outside time, so that beats should come faster."""
        return self._incidents.is_open

    def expect_event(self) -> None:
        """An event is near or has started. Any thread."""
        self._incidents.expect_event()

    def expect_nothing(self) -> None:
        """No event is near. Any thread."""
        self._incidents.expect_nothing()

    def tick(self, period_ns: int, signals: Sequence[PushSignal] = ()) -> None:
        """Given that a wait of at most `period_ns` is over, and what ended it, read the clocks and tell what shows."""
        before, self._last = self._last, read_all(self._clocks)
        late_ns = self._last.raw_ns - before.raw_ns - period_ns
        if 0 <= late_ns < self._settings.threshold_ns:
            self._lateness.append(late_ns)
        # Nearly every beat ends here: the rest is code that would have to be brought into the cache each time.
        if (signals or self._incidents.has_work or late_ns >= min(ORDINARY_NS, self._settings.threshold_ns)
                or not are_together(self._anchor, self._last)):
            self._examine(before, period_ns, signals)
        else:
            if self._wall_drifts:
                self._anchor = self._last       # else a slew would in the end look like a step
            self._background.learn(self._last.raw_ns, self._incidents.event_is_near)

    def close(self) -> None:
        self._background.close()

    def _examine(self, before: ClockReading, period_ns: int, signals: Sequence[PushSignal]) -> None:
        now = self._last
        gap, shift = gap_between(before, now, period_ns), shift_between(self._anchor, now)
        for signal in signals:
            self._take(signal, now.raw_ns)
        if gap.visible_ns >= self._settings.threshold_ns:
            self._report_gap(now, gap, shift)
        else:
            self._incidents.small_gap(now.raw_ns, gap)
            self._background.learn(now.raw_ns, self._incidents.event_is_near)
        if shift.is_suspend or shift.is_step:
            self._anchor = now
            self._shifted(now, shift)
        for concluded in self._incidents.conclude(now.raw_ns, period_ns):
            self._report_pause(now, concluded)

    def _take(self, signal: PushSignal, raw_ns: int) -> None:
        match signal:
            case ClockSet():
                pass                        # the reading just taken shows by how much
            case NetworkAnnounced(interface):
                self._incidents.hint(raw_ns, f"{interface} announced itself to the network")
            case CarrierChanged(interface, what):
                self._incidents.hint(raw_ns, f"{interface}: {what}")
            case MarkerMoved(before, after):
                self._take_marker(raw_ns, f"the hypervisor's disruption marker moved from {before} to {after}")
            case HostChanged(before, after):
                self._listeners.host_changed(before, after)
                self._take_marker(raw_ns, f"the physical host changed from {before} to {after}", (before, after))
            case MoveProved(words):
                self._take_marker(raw_ns, words)
            case DisruptionAnnounced(imminent):
                self._listeners.disruption_announced(imminent)

    def _take_marker(self, raw_ns: int, words: str, host: tuple[str, str] | None = None) -> None:
        """A pause is reported at once; what proves it may come after that, and is reported as its evidence."""
        if self._incidents.marker(raw_ns, words, host) or self._newest is None or words in self._newest.evidence:
            return
        self._newest = replace(self._newest, evidence=(*self._newest.evidence, words), host=host or self._newest.host)
        self._post(PauseProved(self._newest))

    def _report_gap(self, now: ClockReading, gap: Gap, shift: ClockShift) -> None:
        """At once: outside time can add to a visible gap, but not take from it."""
        stall = self._background.around(now.raw_ns, gap.length.middle_ns, shift.suspended_ns)
        judged = judge_stall(stall)
        finding = judge(replace(
            self._incidents.signs(), visible=gap.length, period_ns=gap.period_ns,
            visible_slack_ns=wake_after_ns(wake_latency_ns(self._lateness), stall),
            stall=StallVerdict(judged.cause, judged.quality, (gap_sentence(gap), *judged.evidence))))
        if finding is not None:
            self._incidents.pause_reported(now.raw_ns, finding.cause)
            self._report_pause(now, ConcludedIncident(finding, now.raw_ns))

    def _shifted(self, now: ClockReading, shift: ClockShift) -> None:
        if shift.is_suspend:
            self._incidents.suspended(now.raw_ns)
            finding = judge(Incident(suspended_ns=shift.suspended_ns, suspended_slack_ns=shift.slack_ns))
            if finding is not None and shift.suspended_ns >= self._settings.threshold_ns:
                self._report_pause(now, ConcludedIncident(finding, now.raw_ns))
        if shift.is_step:
            self._incidents.step(now.raw_ns, shift.stepped_ns)
            self._listeners.clock_was_set()

    def _report_pause(self, now: ClockReading, concluded: ConcludedIncident) -> None:
        finding, at = concluded.finding, _moment(now, concluded.resumed_ns)
        pause = Pause(
            id=self._new_id(at), resumed_at=at.utc, resumed_raw_s=at.raw_s, length_s=_seconds(finding.length_ns),
            uncertainty_s=_seconds(finding.uncertainty_ns), cause=finding.cause, evidence=finding.evidence,
            quality=finding.quality, clocksource=self._background.clocksource(), host=concluded.host)
        if pause.cause is not Cause.CLOCK_STEP:
            self._newest = pause
        self._post(Resumed(pause))

    def _new_id(self, at: Moment) -> str:
        """Two pauses at one time get two ids; no id is reported twice."""
        self._newest_id_ms = max(self._newest_id_ms + 1, int(at.raw_s * 1000))
        return f"pause-{at.utc:%Y%m%dT%H%M%S}{at.utc.microsecond // 1000:03d}-{self._newest_id_ms}"


def gap_sentence(gap: Gap) -> str:
    """Given a visible gap, return it in words."""
    return f"the raw monotonic clock ran {gap.elapsed_ns / NS:.3f} s over a wait of at most {gap.period_ns / NS:.3f} s"


def _seconds(length_ns: int | None) -> float | None:
    return None if length_ns is None else length_ns / NS


def _moment(reading: ClockReading, raw_ns: int) -> Moment:
    """The moment of a raw time, by the wall clock as it is now."""
    return Moment(utc((reading.wall_ns - (reading.raw_ns - raw_ns)) / NS), raw_ns / NS)
