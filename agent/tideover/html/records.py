"""One event's record, read into typed values for the pages. Pure; it adds nothing to the record."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

ASLEEP = frozenset({"vm-pause", "suspend", "restart"})
"""Causes that mean the machine was away, not only the agent's process."""

FAILURES = frozenset({"failed", "timed-out"})
OVER = frozenset({"closed", "recovered"})
"""Statuses in which all is recovered; in the second the platform still lists the event."""

_ROUNDING_S = 0.05          # times of the record are in milliseconds, and processes are started one after the other
_EXPLAINED_S = 2.0          # a reading that is off by so much more than the pauses is no matter of their uncertainty


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of one hook."""

    name: str
    phase: str                      # prepare | recover
    attempt: int
    outcome: str
    exit_status: int | None
    began: datetime
    duration_s: float | None        # None: nobody saw its end
    limit_s: float | None           # None: an older record does not say
    output: str
    note: str

    @property
    def ended(self) -> datetime | None:
        return None if self.duration_s is None else self.began + timedelta(seconds=self.duration_s)

    @property
    def has_failed(self) -> bool:
        return self.outcome in FAILURES


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """One pause of the machine or of the agent's process, or one step of the clock."""

    ended: datetime
    length_s: float | None
    uncertainty_s: float | None
    cause: str
    quality: str
    evidence: tuple[str, ...]
    clocksource: tuple[str, str] | None
    host: tuple[str, str] | None

    @property
    def is_pause(self) -> bool:
        return self.cause != "clock-step"


@dataclass(frozen=True, slots=True)
class OffsetSample:
    """One answer of one source of outside time. offset_s > 0: this machine is ahead."""

    at: datetime
    server: str
    offset_s: float
    delay_s: float
    error_bound_s: float | None


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """The last verdict, and every reading."""

    verdict: str
    offset_s: float | None
    error_bound_s: float | None
    checked_at: datetime | None     # None: it was never judged
    good_after_s: float | None
    tolerance_s: float | None
    reason: str
    readings: tuple[OffsetSample, ...]
    followed: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One row of the record."""

    at: datetime
    what: str
    note: str


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event. Moments are aware; None is what the record does not know."""

    event_id: str
    source: str | None
    kind: str
    status: str
    outcome: str | None
    event_source: str | None
    description: str
    resources: tuple[str, ...]
    expected_pause_s: float | None
    noticed: datetime
    not_before: datetime | None
    acknowledged: datetime | None
    started: datetime | None
    ended: datetime | None
    closed: datetime | None
    measured_notice_s: float | None
    runs: tuple[RunRecord, ...]
    stops: tuple[PauseRecord, ...]
    clock: ClockRecord
    moves: tuple[TimelineEntry, ...]
    extra: Mapping[str, str]

    @property
    def pauses(self) -> tuple[PauseRecord, ...]:
        return tuple(stop for stop in self.stops if stop.is_pause)

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def is_announced(self) -> bool:
        return self.kind not in ("unannounced", "live-migration")

    @property
    def was_only_watched(self) -> bool:
        """It concerned other machines, or a kind that the owner leaves alone."""
        return any(move.what == "observed" for move in self.moves) and not self.runs

    def of_phase(self, phase: str) -> tuple[RunRecord, ...]:
        return tuple(run for run in self.runs if run.phase == phase)

    def first(self, what: str) -> datetime | None:
        return next((move.at for move in self.moves if move.what == what), None)

    @property
    def notice_s(self) -> float | None:
        """From when it was noticed to its NotBefore, as measured then; 0 where it was first seen Started, None: not
        known."""
        return 0.0 if self.started is not None and self.started == self.noticed else self.measured_notice_s

    @property
    def preparation_s(self) -> float | None:
        """From the beginning of the first prepare to the end of the last one before any recover; None: not known, also
        where the wall clock was set meanwhile."""
        recovers = self.of_phase("recover")
        prepares = [run for run in self.of_phase("prepare") if not recovers or run.began <= recovers[0].began]
        ends = [run.ended for run in prepares if run.ended is not None]
        newest = {run.name: run for run in prepares}
        if not ends or any(run.ended is None for run in newest.values()) or self._was_clock_set_early():
            return None
        if any((later - earlier).total_seconds() < -_ROUNDING_S for earlier, later in pairwise(ends)):
            return None             # runs are recorded as they end: the clock was set back meanwhile
        return (max(ends) - min(run.began for run in prepares)).total_seconds()

    @property
    def held_back_s(self) -> float | None:
        """From the beginning of the first prepare to the end of the last recover that worked; None: not known, also
        where the wall clock was not right at both ends."""
        prepares, recovers = self.of_phase("prepare"), [run for run in self.of_phase("recover") if not run.has_failed]
        ends = [run.ended for run in recovers if run.ended is not None]
        if not prepares or not ends or self._was_clock_set_early() or self._was_clock_wrong():
            return None
        took_s = (max(ends) - min(run.began for run in prepares)).total_seconds()
        return took_s if took_s >= sum(stop.length_s or 0.0 for stop in self.pauses) - _ROUNDING_S else None

    def _was_clock_set_early(self) -> bool:
        """Whether the wall clock was set before the first pause: what it showed before is of another scale."""
        first = next((index for index, stop in enumerate(self.stops) if stop.is_pause), len(self.stops))
        return first > 0

    def _was_clock_wrong(self) -> bool:
        """Whether time servers found the wall clock off by more than a clock that stood still in the pauses is."""
        explained_s = sum(stop.length_s or 0.0 for stop in self.pauses) + _EXPLAINED_S
        return any(abs(reading.offset_s) > explained_s for reading in self.clock.readings)


def read_event_record(record: Mapping[str, Any]) -> EventRecord:
    """Given a record as `record_of` makes it, return the same as values."""
    return EventRecord(
        event_id=record["event_id"], source=record["source"], kind=record["kind"] or "unknown",
        status=record["status"], outcome=record["outcome"], event_source=record["event_source"],
        description=record["description"] or "", resources=tuple(record["resources"]),
        expected_pause_s=record["expected_pause_s"], noticed=_must(record["noticed_at"]),
        not_before=_at(record["not_before"]), acknowledged=_at(record["acknowledged_at"]),
        started=_at(record["started_at"]), ended=_at(record["ended_at"]), closed=_at(record["closed_at"]),
        runs=tuple(_run(run) for run in record["hooks"]), stops=tuple(_stop(stop) for stop in record["pauses"]),
        measured_notice_s=record.get("notice_s"),
        clock=_clock(record["clock"]), moves=tuple(_move(row) for row in record["timeline"]), extra=record["extra"])


def _run(run: Mapping[str, Any]) -> RunRecord:
    return RunRecord(run["name"], run["phase"], run["attempt"], run["outcome"], run["exit_status"],
               _must(run["started_at"]), run["duration_s"], run["limit_s"], run["output"], run["note"])


def _stop(stop: Mapping[str, Any]) -> PauseRecord:
    return PauseRecord(_must(stop["resumed_at"]), stop["length_s"], stop["uncertainty_s"], stop["cause"],
                       stop["quality"],
                tuple(stop["evidence"]), _pair(stop["clocksource"]), _pair(stop["host"]))


def _clock(clock: Mapping[str, Any]) -> ClockRecord:
    readings = [OffsetSample(_must(one["at"]), one["server"], one["offset_s"], one["delay_s"], one["error_bound_s"])
                for one in clock["samples"]]
    followed = [TimelineEntry(_must(one["at"]), "clock convergence", one["what"]) for one in clock["followed"]]
    return ClockRecord(clock["verdict"], clock["offset_s"], clock["error_bound_s"], _at(clock["checked_at"]),
                        clock["good_after_s"], clock["tolerance_s"], clock["reason"],
                        tuple(sorted(readings, key=lambda one: one.at)), tuple(followed))


def _move(row: Mapping[str, Any]) -> TimelineEntry:
    return TimelineEntry(_must(row["at"]), row["what"], row["note"])


def _pair(pair: Mapping[str, str] | None) -> tuple[str, str] | None:
    return None if pair is None else (pair["before"], pair["after"])


def _at(text: str | None) -> datetime | None:
    return None if text is None else _must(text)


def _must(text: str) -> datetime:
    return datetime.fromisoformat(text)
