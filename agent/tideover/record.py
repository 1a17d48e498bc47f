"""The record of one event: the journal's rows in order, told in the contract's words. Pure; it adds nothing."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tideover.lifecycle.state import Phase, Subject
from tideover.model import ClockCheck, EntryKind, Event, HookOutcome, HookRun, Outcome, Pause, utc_text

OUTCOME_WORDS = {HookOutcome.NOTHING: "done", HookOutcome.REFUSED: "failed"}
"""The record knows five outcomes of a hook; exit_status and output tell these two apart from them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the journal, as it was written."""

    at: datetime
    event_id: str
    what: EntryKind | Phase
    note: str = ""
    subject: Subject = None


def records_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Given the journal's rows in order, return one record for each event, oldest first."""
    by_event: dict[str, list[Row]] = {}
    for row in rows:
        if row.event_id:
            by_event.setdefault(row.event_id, []).append(row)
    return [record_of(event_rows) for event_rows in by_event.values()]


def record_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Given the rows of one event, return its record (the contract's RECORD). Unknown values are None, never 0."""
    event = next((row.subject for row in reversed(rows) if isinstance(row.subject, Event)), None)
    first = next((row.subject for row in rows if isinstance(row.subject, Event)), event)
    phase = next((row.what for row in reversed(rows) if isinstance(row.what, Phase)), None)
    closed = _last(rows, Phase.CLOSED) if phase is Phase.CLOSED else None
    record = _about(rows[0].event_id, event, first)
    record["trace_id"] = trace_id(record["event_id"])
    record |= {
        "status": phase.value if phase else Phase.OBSERVED.value,
        "outcome": closed.subject.value if closed and isinstance(closed.subject, Outcome) else None,
        "noticed_at": utc_text(rows[0].at),
        "notice_s": _rounded(first.notice_s) if first else None,
        "acknowledged_at": _at(_last(rows, EntryKind.ACK_ACCEPTED)),
        "started_at": _at(_last(rows, EntryKind.STARTED) or _started_at_sight(rows)),
        "ended_at": _at(_last(rows, EntryKind.REMOVED)),
        "closed_at": _at(closed),
        "hooks": [_hook(row.subject) for row in rows if isinstance(row.subject, HookRun)],
        "pauses": [pause_of(row.subject) for row in rows if isinstance(row.subject, Pause)],
        "clock": _clock(rows),
        "timeline": [{"at": utc_text(row.at), "what": row.what.value, "note": row.note} for row in rows],
    }
    return record


def trace_id(event_id: str) -> str:
    """Given an event, return the id that its record, its log lines and its hooks share: 32 hexadecimal digits, the same
    after a restart."""
    return hashlib.sha256(event_id.encode(errors="surrogatepass")).hexdigest()[:32]


def pauses_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Given rows, return every pause noticed, oldest first, each once, with the event it belongs to (None: to none)."""
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if isinstance(row.subject, Pause):
            told = seen.setdefault(row.subject.id, pause_of(row.subject) | {"event_ids": []})
            if row.event_id:
                told["event_ids"].append(row.event_id)
    return list(seen.values())


def pause_of(pause: Pause) -> dict[str, Any]:
    """Given a pause, return it as the record shows it; lengths in seconds."""
    return {
        "id": pause.id, "resumed_at": utc_text(pause.resumed_at), "length_s": _rounded(pause.length_s),
        "uncertainty_s": pause.told_uncertainty_s, "cause": pause.cause.value, "evidence": list(pause.evidence),
        "quality": pause.quality.value,
        "clocksource": {"before": pause.clocksource[0], "after": pause.clocksource[1]} if pause.clocksource else None,
        "host": {"before": pause.host[0], "after": pause.host[1]} if pause.host else None,
    }


def _about(event_id: str, event: Event | None, first: Event | None) -> dict[str, Any]:
    return {
        "event_id": event.id if event else event_id,
        "source": event.source if event else None,
        "kind": event.kind.value if event else None,
        "event_source": event.event_source if event else None,
        "description": event.description if event else None,
        "resources": list(event.resources) if event else [],
        "expected_pause_s": event.expected_pause_s if event else None,
        "not_before": utc_text((event.not_before if event else None) or (first.not_before if first else None)),
        "extra": dict(event.extra) if event else {},
    }


def _hook(run: HookRun) -> dict[str, Any]:
    report = run.report
    return {
        "name": run.name, "phase": run.phase.value, "attempt": run.attempt,
        "outcome": OUTCOME_WORDS.get(report.outcome, report.outcome.value), "exit_status": report.exit_status,
        "started_at": utc_text(report.started_at), "duration_s": _rounded(report.duration_s),
        "limit_s": _rounded(run.limit_s), "output": report.output, "note": report.note,
    }


def _clock(rows: Sequence[Row]) -> dict[str, Any]:
    """The last verdict, with the samples of all checks: the curve from wrong to right. What was seen when the clock was
    watched on stands beside the verdict, and does not change what was known when recover began."""
    checks = [row.subject for row in rows if isinstance(row.subject, ClockCheck)]
    last = next((row.subject for row in reversed(rows)
                 if row.what is EntryKind.CLOCK_CHECKED and isinstance(row.subject, ClockCheck)), None)
    return {
        "verdict": last.verdict.value if last else "unknown",
        "offset_s": _rounded(last.offset_s, 6) if last else None,
        "error_bound_s": _rounded(last.error_bound_s, 6) if last else None,
        "checked_at": utc_text(last.checked_at) if last else None,
        "good_after_s": _rounded(last.good_after_s) if last else None,
        "reason": last.reason if last else "", "tolerance_s": _rounded(last.tolerance_s, 6) if last else None,
        "followed": [{"at": utc_text(row.at), "what": row.note, "offset_s": _rounded(row.subject.offset_s, 6)}
                     for row in rows
                     if row.what is EntryKind.CLOCK_CONVERGENCE and isinstance(row.subject, ClockCheck)],
        "samples": [{"at": utc_text(sample.at), "server": sample.server, "offset_s": _rounded(sample.offset_s, 6),
                     "delay_s": _rounded(sample.delay_s, 6), "error_bound_s": _rounded(sample.error_bound_s, 6)}
                    for check in checks for sample in check.samples],
    }


def _last(rows: Sequence[Row], what: EntryKind | Phase) -> Row | None:
    return next((row for row in reversed(rows) if row.what is what), None)


def _started_at_sight(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if isinstance(row.subject, Event) and row.subject.started
                 and row.subject.source != "none"), None)


def _at(row: Row | None) -> str | None:
    return utc_text(row.at) if row else None


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
