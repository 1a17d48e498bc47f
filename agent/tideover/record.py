"""The record of one event, made from the journal's rows: its values and its JSON. Pure; it adds nothing."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from tideover.lifecycle.state import Phase, Subject
from tideover.model import (
    Cause,
    ClockCheck,
    ClockSample,
    EntryKind,
    Event,
    HookPhase,
    HookRun,
    Kind,
    Outcome,
    Pause,
    Verdict,
    fold_case,
    utc_text,
)

if TYPE_CHECKING:
    from tideover.documents import ClockDocument, HookRunDocument, ListedPauseDocument, PauseDocument, RecordDocument

ASLEEP = frozenset({Cause.VM_PAUSE, Cause.SUSPEND, Cause.RESTART})
"""Causes that mean the machine was away, not only the agent's process."""

OVER = frozenset({Phase.CLOSED, Phase.RECOVERED})
"""Phases in which all is recovered; in the second the platform still lists the event."""

THIS_MACHINE = "this machine"
NOT_CHECKED = ClockCheck(Verdict.UNKNOWN)

_LATE_START_S = 0.05        # processes are started one after the other
_EXPLAINED_S = 2.0          # a sample that is off by so much more than the pauses is no matter of their uncertainty


# --- Values

@dataclass(frozen=True, slots=True)
class Row:
    """One row of the journal, as it was written; also one entry of a record's timeline."""

    at: datetime
    event_id: str
    what: EntryKind | Phase
    note: str = ""
    subject: Subject = None


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """What an event's record says of the clock. `check`: the last one that recovery waited for, unknown and without a
    time if there was none. What was seen afterwards, while the clock converged, stands in `followed` and does not
    change what was known when recover began."""

    check: ClockCheck = NOT_CHECKED
    samples: tuple[ClockSample, ...] = ()           # of all checks, by time
    followed: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event. Timestamps are aware; None is what the record does not know."""

    event_id: str
    noticed_at: datetime
    kind: Kind = Kind.UNKNOWN
    phase: Phase | None = None              # None: no row says it
    outcome: Outcome | None = None
    source: str | None = None               # None: no row describes the event
    event_source: str | None = None
    description: str | None = None
    resources: tuple[str, ...] = ()
    expected_pause_s: float | None = None
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    not_before: datetime | None = None
    measured_notice_s: float | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None      # "this machine", or the name of another one of its fleet
    started_at: datetime | None = None
    ended_at: datetime | None = None
    closed_at: datetime | None = None
    hooks: tuple[HookRun, ...] = ()
    pauses: tuple[Pause, ...] = ()          # steps of the clock among them
    clock: ClockRecord = field(default_factory=ClockRecord)
    timeline: tuple[Row, ...] = ()

    @property
    def status(self) -> str:
        return (self.phase or Phase.OBSERVED).value

    @property
    def interruptions(self) -> tuple[Pause, ...]:
        """The pauses of the machine or of the agent's process: without steps of the clock."""
        return tuple(pause for pause in self.pauses if pause.cause is not Cause.CLOCK_STEP)

    @property
    def longest_pause(self) -> Pause | None:
        """The longest of the interruptions whose length is known."""
        known = [pause for pause in self.interruptions if pause.length_s is not None]
        return max(known, key=lambda pause: pause.length_s or 0.0, default=None)

    @property
    def is_over(self) -> bool:
        return self.phase in OVER

    @property
    def is_announced(self) -> bool:
        return self.kind.info.is_announced

    @property
    def was_only_observed(self) -> bool:
        """It concerned other machines, or a kind that the owner leaves alone."""
        return any(row.what is Phase.OBSERVED for row in self.timeline) and not self.hooks

    def concerns(self, me: str) -> bool:
        """Given this VM's name ("": not known), return whether it is an event of this VM; what became of it counts for
        more than the name."""
        if self.outcome is Outcome.NOT_OURS:
            return False
        return self.phase is not Phase.OBSERVED or not me or any(fold_case(name) == fold_case(me)
                                                                 for name in self.resources)

    def runs_of(self, phase: HookPhase) -> tuple[HookRun, ...]:
        return tuple(run for run in self.hooks if run.phase is phase)

    @property
    def notice_s(self) -> float | None:
        """From when it was noticed to its NotBefore, as measured then; 0 where it was first seen Started, None: not
        known."""
        return 0.0 if self.started_at is not None and self.started_at == self.noticed_at else self.measured_notice_s

    @property
    def preparation_s(self) -> float | None:
        """From the beginning of the first prepare to the end of the last one before any recover; None: not known, also
        where the wall clock was set meanwhile."""
        recovers = self.runs_of(HookPhase.RECOVER)
        prepares = [run for run in self.runs_of(HookPhase.PREPARE)
                    if not recovers or run.started_at <= recovers[0].started_at]
        ends = [run.ended_at for run in prepares if run.ended_at is not None]
        newest = {run.name: run for run in prepares}
        if not ends or any(run.ended_at is None for run in newest.values()) or self._was_clock_set_early():
            return None
        if any((later - earlier).total_seconds() < -_LATE_START_S for earlier, later in pairwise(ends)):
            return None             # runs are recorded as they end: the clock was set back meanwhile
        return (max(ends) - min(run.started_at for run in prepares)).total_seconds()

    @property
    def held_back_s(self) -> float | None:
        """From the beginning of the first prepare to the end of the last recover that worked; None: not known, also
        where the wall clock was not right at both ends."""
        prepares = self.runs_of(HookPhase.PREPARE)
        recovers = [run for run in self.runs_of(HookPhase.RECOVER) if not run.has_failed]
        ends = [run.ended_at for run in recovers if run.ended_at is not None]
        if not prepares or not ends or self._was_clock_set_early() or self._was_clock_wrong():
            return None
        took_s = (max(ends) - min(run.started_at for run in prepares)).total_seconds()
        return took_s if took_s >= sum(pause.length_s or 0.0 for pause in self.interruptions) - _LATE_START_S else None

    def _was_clock_set_early(self) -> bool:
        """Whether the wall clock was set before the first pause: what it showed before is of another scale."""
        return bool(self.pauses) and self.pauses[0].cause is Cause.CLOCK_STEP

    def _was_clock_wrong(self) -> bool:
        """Whether time servers found the wall clock off by more than a clock that stopped in the pauses is."""
        explained_s = sum(pause.length_s or 0.0 for pause in self.interruptions) + _EXPLAINED_S
        return any(abs(sample.offset_s) > explained_s for sample in self.clock.samples)

    def as_json(self) -> RecordDocument:
        """The contract's RECORD. Unknown values are None, never 0."""
        return {
            "event_id": self.event_id, "source": self.source, "kind": self.kind.value if self.source else None,
            "event_source": self.event_source, "description": self.description, "resources": list(self.resources),
            "expected_pause_s": self.expected_pause_s, "not_before": utc_text(self.not_before),
            "extra": dict(self.extra), "trace_id": trace_id(self.event_id), "status": self.status,
            "outcome": self.outcome.value if self.outcome else None, "noticed_at": utc_text(self.noticed_at),
            "notice_s": _rounded(self.measured_notice_s), "acknowledged_at": utc_text(self.acknowledged_at),
            "acknowledged_by": self.acknowledged_by,
            "started_at": utc_text(self.started_at), "ended_at": utc_text(self.ended_at),
            "closed_at": utc_text(self.closed_at), "hooks": [_run_json(run) for run in self.hooks],
            "pauses": [pause_json(pause) for pause in self.pauses], "clock": _clock_json(self.clock),
            "timeline": [{"at": utc_text(row.at), "what": row.what.value, "note": row.note} for row in self.timeline],
        }


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """One pause with the events whose record it stands in; none: it belongs to no event."""

    pause: Pause
    event_ids: tuple[str, ...] = ()

    def as_json(self) -> ListedPauseDocument:
        return {**pause_json(self.pause), "event_ids": list(self.event_ids)}


# --- From the journal's rows

def records_of(rows: Iterable[Row]) -> list[EventRecord]:
    """Given the journal's rows in order, return one record for each event, oldest first."""
    by_event: dict[str, list[Row]] = {}
    for row in rows:
        if row.event_id:
            by_event.setdefault(row.event_id, []).append(row)
    return [record_of(event_rows) for event_rows in by_event.values()]


def record_of(rows: Sequence[Row]) -> EventRecord:
    """Given the rows of one event, at least one, return its record."""
    event = next((row.subject for row in reversed(rows) if isinstance(row.subject, Event)), None)
    first = next((row.subject for row in rows if isinstance(row.subject, Event)), event)
    phase = next((row.what for row in reversed(rows) if isinstance(row.what, Phase)), None)
    closed = _last(rows, Phase.CLOSED) if phase is Phase.CLOSED else None
    started = _last(rows, EntryKind.STARTED) or _started_at_sight(rows)
    acknowledged = _last(rows, EntryKind.ACK_ACCEPTED) or _last(rows, EntryKind.ACK_BY_PEER)
    return EventRecord(
        event_id=event.id if event else rows[0].event_id,
        noticed_at=rows[0].at,
        kind=event.kind if event else Kind.UNKNOWN,
        phase=phase,
        outcome=closed.subject if closed and isinstance(closed.subject, Outcome) else None,
        source=event.source if event else None,
        event_source=event.event_source if event else None,
        description=event.description if event else None,
        resources=event.resources if event else (),
        expected_pause_s=event.expected_pause_s if event else None,
        extra=event.extra if event else MappingProxyType({}),
        not_before=(event.not_before if event else None) or (first.not_before if first else None),
        measured_notice_s=first.notice_s if first else None,
        acknowledged_at=_at(acknowledged),
        acknowledged_by=_acknowledged_by(acknowledged),
        started_at=_at(started),
        ended_at=_at(_last(rows, EntryKind.REMOVED)),
        closed_at=_at(closed),
        hooks=tuple(row.subject for row in rows if isinstance(row.subject, HookRun)),
        pauses=tuple({row.subject.id: row.subject for row in rows if isinstance(row.subject, Pause)}.values()),
        clock=_clock_record(rows),
        timeline=tuple(rows),
    )


def pauses_of(rows: Sequence[Row]) -> list[PauseRecord]:
    """Given rows, return every pause noticed, oldest first, each once."""
    return list(each_pause(rows, events_of_pauses(rows), evidence_of_pauses(rows)))


def events_of_pauses(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Given rows, return for each pause that belongs to an event, by its id, the events."""
    events: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if row.event_id and isinstance(row.subject, Pause) and row.event_id not in events.get(row.subject.id, ()):
            events[row.subject.id] = (*events.get(row.subject.id, ()), row.event_id)
    return events


def evidence_of_pauses(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Given rows, return for each pause of which more became known after it was recorded, by its id, all evidence."""
    return {row.subject.id: row.subject.evidence for row in rows
            if row.what is EntryKind.PAUSE_EVIDENCE and isinstance(row.subject, Pause)}


def each_pause(rows: Iterable[Row], events: Mapping[str, tuple[str, ...]],
               evidence: Mapping[str, tuple[str, ...]]) -> Iterator[PauseRecord]:
    """Given rows, the events of pauses and what became known later, yield every pause noticed, oldest first, each once.
    Of those before only the ids are kept: there may be a hundred thousand."""
    seen = set()
    for row in rows:
        if isinstance(row.subject, Pause) and row.subject.id not in seen:
            seen.add(row.subject.id)
            known = replace(row.subject, evidence=evidence.get(row.subject.id, row.subject.evidence))
            yield PauseRecord(known, events.get(row.subject.id, ()))


def last_check(rows: Sequence[Row]) -> ClockCheck | None:
    """Given an event's rows, return the last check that recovery waited for; None: there was none."""
    return next((row.subject for row in reversed(rows)
                 if row.what is EntryKind.CLOCK_CHECKED and isinstance(row.subject, ClockCheck)), None)


def trace_id(event_id: str) -> str:
    """Given an event, return the id that its record, its log lines and its hooks share: 32 hexadecimal digits, the same
    after a restart."""
    return hashlib.sha256(event_id.encode(errors="surrogatepass")).hexdigest()[:32]


def _clock_record(rows: Sequence[Row]) -> ClockRecord:
    samples = [sample for row in rows if isinstance(row.subject, ClockCheck) for sample in row.subject.samples]
    followed = tuple(row for row in rows if row.what is EntryKind.CLOCK_CONVERGENCE)
    return ClockRecord(last_check(rows) or NOT_CHECKED,
                       tuple(sorted(samples, key=lambda sample: sample.at)), followed)


def _last(rows: Sequence[Row], what: EntryKind | Phase) -> Row | None:
    return next((row for row in reversed(rows) if row.what is what), None)


def _acknowledged_by(row: Row | None) -> str | None:
    if row is None:
        return None
    return row.note if row.what is EntryKind.ACK_BY_PEER else THIS_MACHINE


def _started_at_sight(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if isinstance(row.subject, Event) and row.subject.started
                 and row.subject.source != "none"), None)


def _at(row: Row | None) -> datetime | None:
    return row.at if row else None


# --- To JSON

def pause_json(pause: Pause) -> PauseDocument:
    """Given a pause, return it as the record shows it; lengths in seconds."""
    return {
        "id": pause.id, "resumed_at": utc_text(pause.resumed_at), "length_s": _rounded(pause.length_s),
        "uncertainty_s": pause.shown_uncertainty_s, "cause": pause.cause.value, "evidence": list(pause.evidence),
        "quality": pause.quality.value,
        "clocksource": {"before": pause.clocksource[0], "after": pause.clocksource[1]} if pause.clocksource else None,
        "host": {"before": pause.host[0], "after": pause.host[1]} if pause.host else None,
    }


def _run_json(run: HookRun) -> HookRunDocument:
    report = run.report
    return {
        "name": run.name, "kind": "application" if run.is_application else "hook", "phase": run.phase.value,
        "attempt": run.attempt,
        "outcome": report.outcome.value, "exit_status": report.exit_status,
        "started_at": utc_text(report.started_at), "duration_s": _rounded(report.duration_s),
        "limit_s": _rounded(run.limit_s), "output": report.output, "note": report.note,
    }


def _clock_json(clock: ClockRecord) -> ClockDocument:
    check = clock.check
    return {
        "verdict": check.verdict.value, "offset_s": _rounded(check.offset_s, 6),
        "error_bound_s": _rounded(check.error_bound_s, 6), "checked_at": utc_text(check.checked_at),
        "good_after_s": _rounded(check.good_after_s), "reason": check.reason,
        "tolerance_s": _rounded(check.tolerance_s, 6),
        "followed": [{"at": utc_text(row.at), "what": row.note, "offset_s": _rounded(row.subject.offset_s, 6)}
                     for row in clock.followed if isinstance(row.subject, ClockCheck)],
        "samples": [{"at": utc_text(sample.at), "server": sample.server, "offset_s": _rounded(sample.offset_s, 6),
                     "delay_s": _rounded(sample.delay_s, 6), "error_bound_s": _rounded(sample.error_bound_s, 6)}
                    for sample in clock.samples],
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
