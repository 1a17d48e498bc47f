"""An incident from its first sign to its conclusion: how long samples of time sources are awaited, what belongs
together.

It reports nothing, reads no clock and asks no server itself: `outside_wanted` requests a sample soon.
"""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tideover.model import Cause
from tideover.pause.types import PauseWatchSettings
from tideover.timekeeping.gaps import Gap
from tideover.timekeeping.intervals import NS, Interval
from tideover.timekeeping.pause_fusion import (
    PRIOR_OFFSET_NS,
    Frozen,
    FusionResult,
    Incident,
    SourceSample,
    agreed,
    as_one_stop,
    frozen_by,
    intersect,
    judge,
    may_vote,
    repaired,
)

# --- Samples of time sources: a ring for each, filled from any thread
# It sends no query. One lock guards the rings; nothing is done under it but arithmetic.

# Answers kept of one source, the oldest standing for all before it: enough for the whole seconds of a Date header to
# narrow down on both sides of a stop, few enough to compare in a tenth of a millisecond.
KEPT = 32


@dataclass(slots=True)
class _SampleRing:
    """The newest samples of one source, the oldest of them as one."""

    samples: list[SourceSample] = field(default_factory=list)
    agreed: SourceSample | None = None      # what all of them say together; None: they contradict each other

    def add(self, sample: SourceSample) -> None:
        self.agreed = intersect(self.agreed, sample) if self.agreed is not None else None if self.samples else sample
        self.samples.append(sample)
        if len(self.samples) > KEPT:
            at = self._find_dispensable()
            older, newer = self.samples[at:at + 2]
            self.samples[at:at + 2] = [intersect(older, newer) or newer]

    def _find_dispensable(self) -> int:
        """Return the place of two samples that may become one: the oldest, but for those on the two sides of a stop
        that is not reported yet. A source that is polled every 50 ms fills the ring while another is waited for."""
        stop = frozen_by(self.samples) if self.agreed is None else None
        places = [at for at, (older, newer) in enumerate(pairwise(self.samples))
                  if stop is not None and (newer.raw_ns <= stop.before_ns or older.raw_ns > stop.after_ns)]
        return places[0] if places else 0


class SourceSamples:
    """Given samples of outside time by source, says by how much it moved against the raw clock."""

    def __init__(self) -> None:
        self._rings: dict[str, _SampleRing] = {}
        self._lock = threading.Lock()
        self.is_torn = False         # whether any source contradicts itself

    def add(self, source: str, sample: SourceSample) -> bool:
        """Given a new sample, keep it and return whether it is the first to contradict its source's earlier samples."""
        with self._lock:
            ring = self._rings.setdefault(source, _SampleRing())
            was_whole = not ring.samples or ring.agreed is not None
            ring.add(sample)
            self.is_torn = self.is_torn or ring.agreed is None
            return was_whole and ring.agreed is None

    def inconsistent(self) -> dict[str, Frozen | None]:
        """Return, for each source whose answers contradict each other, by how much; None: no stop explains them."""
        with self._lock:
            return {source: frozen_by(ring.samples) for source, ring in self._rings.items() if ring.agreed is None}

    def frozen(self, since_ns: int) -> dict[str, Frozen]:
        """Given when something happened, return what each source that answered before and after it says.

        A stop that one of them proves may have come later than that: who has not spoken since has not denied it."""
        with self._lock:
            found = {source: frozen_by(ring.samples, since_ns) for source, ring in self._rings.items()}
            stopped_ns = min((one.after_ns for one in found.values() if one is not None and one.is_proven),
                             default=since_ns)
            if stopped_ns > since_ns:
                found |= {source: frozen_by(self._rings[source].samples, stopped_ns)
                          for source, one in found.items() if one is None or not one.is_proven}
        return {source: frozen for source, frozen in found.items() if frozen is not None}

    def newest(self) -> dict[str, SourceSample]:
        """Return each source's newest sample."""
        with self._lock:
            return {source: ring.samples[-1] for source, ring in self._rings.items()}

    def newest_before(self, raw_ns: int) -> dict[str, int]:
        """Given a raw time, return when each source that had spoken by then was asked last before it."""
        with self._lock:
            return {source: before for source, ring in self._rings.items()
                    if (before := max((one.raw_ns for one in ring.samples if one.raw_ns < raw_ns), default=None))}

    def forget_before(self, raw_ns: int, source: str | None = None) -> None:
        """Given a raw time, drop the samples before it, of one source or of all: the raw clock stopped since, or
        the source was set."""
        self._restart(source, lambda samples: [sample for sample in samples if sample.raw_ns >= raw_ns])

    def repair(self, source: str) -> None:
        """Drop what cannot be right of a source that contradicts itself more than once."""
        self._restart(source, repaired)

    def join_stops(self, source: str) -> None:
        """This machine was stopped again before the first stop was reported: take what a source says as one stop."""
        self._restart(source, as_one_stop)

    def _restart(self, source: str | None, kept: Callable[[Sequence[SourceSample]], list[SourceSample]]) -> None:
        with self._lock:
            for name in [name for name in self._rings if source in (None, name)]:
                old = self._rings.pop(name)
                for sample in kept(old.samples):
                    self._rings.setdefault(name, _SampleRing()).add(sample)
            self.is_torn = any(ring.agreed is None for ring in self._rings.values())


# --- Incidents

LONGEST_NS = 10 * NS         # that an incident waits for outside time
# From the first proof of a stop to its telling: for a second answer, calm and while an event is near …
WAIT_NS, CLOSE_WAIT_NS = 10 * NS, 1 * NS
# … and for a finer source, near an event. A time server is not asked twice within 2.1 s and has a second to answer.
# It delays no recover: that needs the same answer, as the verdict about the clock.
FINER_WAIT_NS = 7 * NS // 2
# A source that has not spoken for so long is not waited for (calm sampling is once a minute).
USABLE_NS = 120 * NS
# A marker that follows a reported pause so soon belongs to it; jumps too small to report wait as long for a marker.
SAME_INCIDENT_NS = 30 * NS
# Signs that prove nothing are heard again only after this: a migrated NIC announces itself five times in a second.
HINT_REST_NS = 5 * NS
# A gap below the threshold that is worth adding to frozen time.
NOTABLE_GAP_NS = NS // 4
ENOUGH_ANSWERS = 2           # to believe in a stop: one answer alone may be a server's error
SET_BACK_ANSWERS = 3         # to believe that a source was set back


@dataclass(slots=True)
class _OpenIncident:
    """A pause that may not be over."""

    opened_ns: int
    resumed_ns: int              # from the last stop in it, as far as is known
    shows_stop: bool = False     # long enough to be reported
    steps: list[tuple[int, int]] = field(default_factory=list)     # raw time, by how much
    markers: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    host: tuple[str, str] | None = None
    proven_ns: int | None = None
    has_asked: bool = False      # for outside time


@dataclass(frozen=True, slots=True)
class ConcludedIncident:
    """One finding worth telling, when it was over on the raw clock, and the host before and after where known."""

    finding: FusionResult
    resumed_ns: int
    host: tuple[str, str] | None = None


class IncidentTracker:
    """Given the signs as they come, concludes what they were. On the watch's thread, but for the outside samples."""

    def __init__(self, outside: SourceSamples, settings: PauseWatchSettings,
                 outside_wanted: Callable[[], None]) -> None:
        self._outside, self._settings, self._outside_wanted = outside, settings, outside_wanted
        self._open: _OpenIncident | None = None
        self._gaps: deque[tuple[int, Gap]] = deque(maxlen=8)
        self._steps: deque[tuple[int, int]] = deque(maxlen=16)
        self._reported_ns = self._hinted_ns = -SAME_INCIDENT_NS
        self.event_is_near = False   # or has started
        self._is_due = False         # … and its stop has not been seen yet
        self._expected_ns = 0            # by which the wall clock was left behind, and not yet put right

    def expect_event(self) -> None:
        """An event is near or has started: a stop is due."""
        self.event_is_near = self._is_due = True

    def expect_nothing(self) -> None:
        """No event is near."""
        self.event_is_near = self._is_due = False

    @property
    def is_open(self) -> bool:
        """Whether an incident waits for its answers."""
        return self._open is not None

    @property
    def has_work(self) -> bool:
        """Whether there is anything to conclude, or a source that contradicts itself."""
        return self._open is not None or self._outside.is_torn

    def step(self, raw_ns: int, stepped_ns: int) -> None:
        """The wall clock was set. A host does that after a stop of this machine, and so does a time daemon."""
        self._steps.append((raw_ns, stepped_ns))
        self._opened(raw_ns, is_urgent=self._is_of_a_stop(stepped_ns)).steps.append((raw_ns, stepped_ns))

    def marker(self, raw_ns: int, words: str, host: tuple[str, str] | None = None) -> bool:
        """Take a sign that proves a move; return whether it is one of the open incident. One that follows a pause
        reported just now belongs to that."""
        if self._open is None and raw_ns - self._reported_ns < SAME_INCIDENT_NS:
            return False
        incident = self._opened(raw_ns)
        incident.markers.append(words)
        incident.host = host or incident.host
        return True

    def hint(self, raw_ns: int, words: str) -> None:
        """A sign that goes with a move, and with much else: a reason to look, never to claim."""
        if self._open is None and raw_ns - max(self._reported_ns, self._hinted_ns) < HINT_REST_NS:
            return
        self._hinted_ns = raw_ns
        incident = self._opened(raw_ns)
        if words not in incident.hints:
            incident.hints.append(words)

    def small_gap(self, raw_ns: int, gap: Gap) -> None:
        """A visible gap below the threshold: part of a stop, if outside time shows one."""
        if gap.visible_ns >= NOTABLE_GAP_NS:
            self._gaps.append((raw_ns, gap))

    def signs(self) -> Incident:
        """Return the signs of the open incident, for a gap that is reported at once."""
        incident = self._open or _OpenIncident(0, 0)
        return Incident(markers=tuple(incident.markers), hints=tuple(incident.hints), event_open=self._is_due)

    def pause_reported(self, raw_ns: int, cause: Cause) -> None:
        """A gap that ended then has been reported with this cause: its signs need no report of their own."""
        self._reported_ns = raw_ns
        self._is_due = self._is_due and cause is not Cause.VM_PAUSE
        if self._open is not None:
            self._open.markers.clear()

    def suspended(self, raw_ns: int) -> None:
        """The raw clock stopped in a suspend, known exactly: nothing from before can be compared any more."""
        self._outside.forget_before(raw_ns)

    def conclude(self, raw_ns: int, period_ns: int) -> tuple[ConcludedIncident, ...]:
        """Given the time and the heartbeat's period, return what became clear since the last beat."""
        self._look_outside(raw_ns)
        if self._open is None:
            return ()
        votes = self._votes(self._open)
        if not self._is_ripe(self._open, votes, raw_ns):
            return ()
        incident, self._open = self._open, None
        return self._closed(incident, votes, period_ns)

    def _opened(self, raw_ns: int, *, is_urgent: bool = True) -> _OpenIncident:
        if self._open is None:
            self._open = _OpenIncident(raw_ns, raw_ns)
            if is_urgent:
                self._ask_outside(self._open)
        return self._open

    def _ask_outside(self, incident: _OpenIncident) -> None:
        incident.has_asked = True
        self._outside_wanted()

    def _is_of_a_stop(self, stepped_ns: int) -> bool:
        """Whether a step may put right what a new stop has left behind: by more than is due since the last one."""
        return stepped_ns > self._expected_ns + PRIOR_OFFSET_NS

    def _look_outside(self, raw_ns: int) -> None:
        """Sources that contradict themselves: a stop long enough opens an incident, an error is forgotten."""
        for source, frozen in self._outside.inconsistent().items():
            if frozen is None and self._open is not None and self._open.shows_stop:
                self._stopped_again(self._open, source)
            elif frozen is None:
                self._outside.repair(source)
            elif frozen.length.high_ns < 0:
                if frozen.answers_after >= SET_BACK_ANSWERS:
                    self._outside.forget_before(frozen.after_ns, source)
            elif self._open is None and frozen.length.high_ns >= self._settings.threshold_ns:
                self._opened(frozen.after_ns)
            elif self._open is None and raw_ns - frozen.after_ns >= SAME_INCIDENT_NS:
                self._outside.forget_before(frozen.after_ns, source)

    def _stopped_again(self, incident: _OpenIncident, source: str) -> None:
        """While the first stop was measured: both are reported as one, and only later answers count."""
        self._outside.join_stops(source)
        whole = self._outside.inconsistent().get(source)
        if whole is not None and whole.after_ns > incident.resumed_ns:
            incident.resumed_ns = whole.after_ns
            self._ask_outside(incident)

    def _votes(self, incident: _OpenIncident) -> dict[str, Frozen]:
        return {source: frozen for source, frozen in self._outside.frozen(incident.resumed_ns).items()
                if may_vote(source, frozen)}

    def _is_ripe(self, incident: _OpenIncident, votes: dict[str, Frozen], raw_ns: int) -> bool:
        """Whether all have spoken that are worth waiting for, or the time for it is over."""
        common = agreed([vote.length for vote in votes.values()])
        if common is None or common.low_ns <= 0:
            return self._comparable(incident.resumed_ns) <= votes.keys() or raw_ns - incident.opened_ns >= LONGEST_NS
        incident.shows_stop = incident.shows_stop or common.high_ns >= self._settings.threshold_ns
        is_first_proof = incident.proven_ns is None
        incident.proven_ns = incident.proven_ns or raw_ns
        waited_ns = raw_ns - incident.proven_ns
        if self._is_finer_to_come(incident, votes):
            if not incident.has_asked:
                self._ask_outside(incident)
            return waited_ns >= (FINER_WAIT_NS if self.event_is_near else WAIT_NS)
        answers = sum(vote.answers_after for vote in votes.values() if vote.is_proven)
        if answers + len(incident.markers) + len(incident.hints) >= ENOUGH_ANSWERS:
            return True
        if is_first_proof:
            self._ask_outside(incident)
        return waited_ns >= (CLOSE_WAIT_NS if self.event_is_near else WAIT_NS)

    def _is_finer_to_come(self, incident: _OpenIncident, votes: dict[str, Frozen]) -> bool:
        """Whether a source can still measure the stop to half of the best bound so far."""
        proven_ns = [vote.after_ns for vote in votes.values() if vote.is_proven]
        bounds_ns = {source: sample.bound_ns for source, sample in self._outside.newest().items()}
        finest_ns = min(bounds_ns[source] for source in votes)
        to_come = self._comparable(max(incident.resumed_ns, min(proven_ns, default=0))) - votes.keys()
        return any(2 * bounds_ns[source] < finest_ns for source in to_come)

    def _comparable(self, stopped_ns: int) -> set[str]:
        """Given a raw time, return the sources that spoke shortly before it: an answer after it measures what lies
        between."""
        return {source for source, at_ns in self._outside.newest_before(stopped_ns).items()
                if stopped_ns - at_ns < USABLE_NS}

    def _closed(self, incident: _OpenIncident, votes: dict[str, Frozen], period_ns: int) -> tuple[ConcludedIncident,
                                                                                                  ...]:
        proven = [vote for vote in votes.values() if vote.is_proven]
        since_ns = max((vote.before_ns for vote in proven), default=incident.resumed_ns - 1)
        after_ns = min((vote.after_ns for vote in proven), default=incident.resumed_ns)
        resumed_ns = incident.resumed_ns if since_ns < incident.resumed_ns <= after_ns else after_ns
        steps = [step for step in self._steps if step[0] > since_ns]
        stepped_ns = sum(by for _, by in steps)
        known = Incident(
            frozen=tuple(vote.length for vote in votes.values()), stepped_ns=stepped_ns, period_ns=period_ns,
            visible=self._small_gaps(since_ns), markers=tuple(incident.markers), hints=tuple(incident.hints),
            event_open=self.event_is_near and self._is_of_a_stop(stepped_ns))
        finding = judge(known)
        self._settle(finding, votes, resumed_ns, stepped_ns)
        if finding is None or finding.cause is Cause.CLOCK_STEP:
            return tuple(ConcludedIncident(one, at) for at, by in incident.steps
                         if abs(by) >= self._settings.threshold_ns
                         and (one := judge(replace(known, stepped_ns=by, event_open=False))) is not None)
        if not self._is_worth_telling(finding, incident):
            return ()
        return (ConcludedIncident(finding, resumed_ns, incident.host),)

    def _settle(self, finding: FusionResult | None, votes: dict[str, Frozen], resumed_ns: int, stepped_ns: int) -> None:
        """What is judged is over: nothing of it may be found again."""
        self._expected_ns = max(0, self._expected_ns - stepped_ns)
        if finding is not None and finding.cause is Cause.VM_PAUSE:
            self._expected_ns = max(0, (finding.length_ns or 0) - stepped_ns)
            self._reported_ns, self._is_due = resumed_ns, False
            self._gaps.clear()
            self._outside.forget_before(resumed_ns)
        for source, vote in votes.items():
            if vote.is_proven:
                self._outside.forget_before(vote.after_ns, source)

    def _small_gaps(self, since_ns: int) -> Interval | None:
        gaps = [gap.length for at_ns, gap in self._gaps if at_ns > since_ns]
        return Interval(sum(one.low_ns for one in gaps), sum(one.high_ns for one in gaps)) if gaps else None

    def _is_worth_telling(self, finding: FusionResult, incident: _OpenIncident) -> bool:
        return (bool(incident.markers) or finding.length_ns is None
                or finding.length_ns >= self._settings.threshold_ns)
