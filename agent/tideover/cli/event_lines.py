"""What `tideover show`, `history` and `pauses` print: sentences, facts and columns, without layout. Pure."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tideover.cli.render import (
    VERDICT_TONES,
    KeyValue,
    Paragraph,
    Part,
    Style,
    StyledText,
    Table,
    TableRow,
    clock_fact,
    count_text,
    key_value,
    pause_length_text,
    table_row,
)
from tideover.humanize import NOT_KNOWN, Times, bounded_text, length_text
from tideover.model import ClockCheck, HookOutcome, HookRun, Outcome, Pause
from tideover.record import EventRecord, PauseRecord, Row, trace_id

# --- `show`: one event's record in its own order

OUTCOME_TONES = {HookOutcome.DONE: Style.PLAIN, HookOutcome.NOTHING: Style.PLAIN, HookOutcome.NOT_YET: Style.WARN,
                 HookOutcome.STOPPED: Style.WARN, HookOutcome.FORGOTTEN: Style.WARN}      # all others have failed
LAST_LINES = 3              # of a failed hook's output; --json has it whole


def event_parts(record: EventRecord, times: Times) -> list[Part]:
    """Given a record, return its output; the first part is the summary."""
    parts: list[Part] = [Paragraph(_event_sentence(record)), *_event_facts(record, times)]
    if record.hooks:
        parts.append(Table(("HOOK", "PHASE", "TRY", "OUTCOME", "TOOK"),
                           tuple(_event_hook(run) for run in record.hooks)))
    return [*parts, _timeline(record.timeline, times)]


def _event_sentence(record: EventRecord) -> StyledText:
    went = record.outcome.value if record.outcome else f"{record.status}, not over yet"
    longest = _longest(record.pauses)
    if record.pauses:
        went += f"; pause {_length_text(longest)}" if longest else "; a pause of unknown length"
    went += f"; clock {record.clock.check.verdict.value}" if record.clock.check.checked_at else ""
    failures = _failures(record)
    tone = Style.WARN if record.outcome is Outcome.MISSED or failures else Style.HEAD
    failed = f" {failures} of {len(record.hooks)} hook runs failed." if failures else ""
    return StyledText(f"{_kind_text(record, 'event')} {record.event_id}: {went}.{failed}", tone)


def _kind_text(record: EventRecord, otherwise: str) -> str:
    return record.kind.value if record.source else otherwise


def _failures(record: EventRecord) -> int:
    return sum(run.has_failed for run in record.hooks)


def _longest(pauses: Sequence[Pause]) -> Pause | None:
    known = [pause for pause in pauses if pause.length_s is not None]
    return max(known, key=lambda pause: (pause.length_s or 0.0, pause.shown_uncertainty_s or 0.0), default=None)


def _length_text(pause: Pause) -> str:
    return pause_length_text(pause.length_s, pause.shown_uncertainty_s)


def _event_facts(record: EventRecord, times: Times) -> list[KeyValue]:
    whence = ", ".join(filter(None, (record.source, record.event_source)))
    facts = [key_value("Description", record.description)] if record.description else []
    facts += [
        key_value("Noticed", times.moment(record.noticed_at)),
        key_value("NotBefore", times.moment(record.not_before)),
        key_value("Acknowledged", times.moment(record.acknowledged_at)),
        key_value("Started", times.moment(record.started_at)),
        key_value("Closed", times.moment(record.closed_at)),
        key_value("Concerns", ", ".join(record.resources) or "-"),
        key_value("Announced by", whence or "-"),
    ]
    return [*facts, *_event_pauses(record), _event_clock(record.clock.check, times),
            key_value("Trace", trace_id(record.event_id))]


def _event_pauses(record: EventRecord) -> list[KeyValue]:
    announced = f"; announced: {length_text(record.expected_pause_s)}"
    if not record.pauses:
        return [key_value("Pause", f"none detected{announced}")]
    return [key_value("Pause" if index == 0 else "Further pause",
                 f"{_length_text(pause)}, {pause.cause.value}, {pause.quality.value}{announced if index == 0 else ''}",
                 Style.PLAIN, *(StyledText(evidence, Style.FAINT) for evidence in pause.evidence))
            for index, pause in enumerate(record.pauses)]


def _event_clock(check: ClockCheck, times: Times) -> KeyValue:
    if check.checked_at is None and not check.reason:
        return key_value("Clock", "not checked")
    return clock_fact(check, times.local(check.checked_at))


def _event_hook(run: HookRun) -> TableRow:
    report = run.report
    tone = OUTCOME_TONES.get(report.outcome, Style.BAD)
    outcome = report.outcome.value + (f", exit status {report.exit_status}" if report.exit_status else "")
    below = [StyledText(report.note, Style.PLAIN)] if report.note else []
    if tone is Style.BAD:
        below += [StyledText(line, Style.FAINT) for line in report.output.splitlines()[-LAST_LINES:]]
    return table_row(run.name, run.phase.value, str(run.attempt), StyledText(outcome, tone),
                     length_text(report.duration_s), below=tuple(below))


def _timeline(timeline: Sequence[Row], times: Times) -> Table:
    head, moments = times.clock_times([row.at for row in timeline])
    return Table((head, "TIMELINE"), tuple(
        table_row(at, row.what.value + (f": {row.note}" if row.note else ""))
        for at, row in zip(moments, timeline, strict=True)))


# --- `history`, `pauses`: a row each

def history_table(records: Iterable[EventRecord], times: Times, me: str = "") -> Table:
    """Given records, oldest first, and this VM's name ("": not known), return a row for each."""
    heads = (*_when_heads("NOTICED", times), "KIND", "OUTCOME", "PAUSE", "CLOCK", "HOOKS", "EVENT")
    return Table(heads, tuple(_history_row(record, times, me) for record in records))


def pauses_table(pauses: Iterable[PauseRecord], times: Times) -> Table:
    """Given pauses, oldest first, return a row for each."""
    heads = (*_when_heads("RESUMED", times), "LENGTH", "CAUSE", "QUALITY", "EVENT", "EVIDENCE")
    return Table(heads, tuple(_pauses_row(known.pause, known.event_ids, times) for known in pauses))


def _pauses_row(pause: Pause, event_ids: Sequence[str], times: Times) -> TableRow:
    return table_row(*_when(pause.resumed_at, times), bounded_text(pause.length_s, pause.shown_uncertainty_s),
                     pause.cause.value, pause.quality.value, ", ".join(event_ids) or "-", "; ".join(pause.evidence))


def _history_row(record: EventRecord, times: Times, me: str) -> TableRow:
    several = f" (of {len(record.pauses)})" if len(record.pauses) > 1 else ""
    failed = _failures(record)
    runs = count_text(len(record.hooks), "run")
    hooks = StyledText(f"{runs}, {failed} failed", Style.BAD) if failed else \
        StyledText(runs if record.hooks else "-")
    check = record.clock.check
    checked = check.checked_at is not None or check.reason
    verdict = StyledText(check.verdict.value, VERDICT_TONES.get(check.verdict, Style.WARN)) if checked else \
        StyledText("-")
    tone = Style.WARN if record.outcome is Outcome.MISSED else Style.PLAIN
    return table_row(*_when(record.noticed_at, times), _kind_text(record, "?"),
                     StyledText(_outcome_text(record, me), tone),
                     f"{_longest_text(record.pauses)}{several}", verdict, hooks, record.event_id)


def _outcome_text(record: EventRecord, me: str) -> str:
    if record.outcome is None and record.concerns(me):
        return record.status
    return (record.outcome or Outcome.NOT_OURS).value


def _longest_text(pauses: Sequence[Pause]) -> str:
    """Without its bound, for which a list has no room, unless the bound is all that is known."""
    longest = _longest(pauses)
    if longest is None or longest.length_s is None:
        return NOT_KNOWN if pauses else "-"
    doubt_s = longest.shown_uncertainty_s
    return bounded_text(longest.length_s, doubt_s if doubt_s is not None and doubt_s >= longest.length_s else None)


def _when_heads(what: str, times: Times) -> tuple[str, ...]:
    return (what,) if times.utc else (what, "")


def _when(at: datetime, times: Times) -> tuple[str, ...]:
    return (times.local(at),) if times.utc else (times.local(at), times.ago(at))
