"""What the commands print, as paragraphs, key-value pairs and tables with a style but without layout. Pure."""
from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tideover.humanize import NOT_KNOWN, Times, bounded_text, countdown_text, distance_text, length_text, offset_text
from tideover.model import (
    ANNOUNCED,
    ClockCheck,
    HookOutcome,
    HookRun,
    HookSpec,
    Kind,
    Outcome,
    Pause,
    Verdict,
)
from tideover.record import EventRecord, PauseRecord, Row, trace_id
from tideover.status import is_observing, read_finding

if TYPE_CHECKING:
    from tideover.documents import (
        AgentDocument,
        CatalogueDocument,
        ClockStatusDocument,
        EventStatusDocument,
        HookStatusDocument,
        ListedPauseDocument,
        ShownStatusDocument,
        SourceStatusDocument,
        StoreStatusDocument,
    )
    from tideover.hooks.description import HookDescription

# --- The parts. A text may hold foreign text: `terminal` makes it safe

class Style(enum.Enum):
    """How a text is meant, for a terminal with colours. The words alone must say it as well."""

    PLAIN = "plain"
    HEAD = "head"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class StyledText:
    text: str
    tone: Style = Style.PLAIN


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of its own."""

    value: StyledText


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A label and what stands behind it; `more` stands below it, in lines of their own."""

    label: str
    value: StyledText
    more: tuple[StyledText, ...] = ()


@dataclass(frozen=True, slots=True)
class TableRow:
    """As many cells as the table has heads; `below` stands under them, across the table."""

    cells: tuple[StyledText, ...]
    below: tuple[StyledText, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    heads: tuple[str, ...]
    rows: tuple[TableRow, ...]


Part = Paragraph | KeyValue | Table


def key_value(label: str, text: str, tone: Style = Style.PLAIN, *more: StyledText) -> KeyValue:
    """Given a label and its text, return the fact."""
    return KeyValue(label, StyledText(text, tone), more)


def table_row(*cells: str | StyledText, below: tuple[StyledText, ...] = ()) -> TableRow:
    """Given cells as text or with a tone, return the row."""
    return TableRow(tuple(StyledText(cell) if isinstance(cell, str) else cell for cell in cells), below)


# --- `status`: one sentence first, then the facts

NAMED_AT_MOST = 3           # machines of one event; --json has all
START_IT = "start it with tideover service start"
STAGES = {
    "queued": "queued", "preparing": "preparing", "prepare-retry": "not yet; prepare is retried",
    "prepared": "prepared", "stopping": "prepare is being stopped", "recover-pending": "recovery pending",
    "recovering": "recovering", "recover-not-yet": "not yet; recover is retried",
    "recover-retry": "recover is retried", "recover-failed": "recovery failed",
}
VERDICT_TONES = {Verdict.GOOD: Style.GOOD, Verdict.BAD: Style.BAD}         # any other leaves a doubt


def status_parts(status: ShownStatusDocument, times: Times) -> list[Part]:
    """Given a status, return its output; the first part is the summary."""
    parts: list[Part] = [Paragraph(_status_sentence(status))]
    journal = status["journal"]
    if journal is not None and not journal["writable"]:
        parts.append(Paragraph(StyledText("The journal cannot be written, so nothing is acknowledged: "
                                          f"{journal['reason']}",
                                   Style.BAD)))
    own = [event for event in status["events"] if event["ours"]]
    for event in own:
        parts += _event_parts(event, times)
    if status["events_of_others"]:
        parts.append(key_value("Not ours", f"{_times(status['events_of_others'], 'event')} of other machines "
                                           "(tideover status --all)", Style.FAINT))
    if status["applications"]:
        parts.append(key_value("Applications", f"connected: {', '.join(status['applications'])}"))
    if status["applications_never_connected"]:
        parts.append(key_value("Not connected", f"since the agent's start: "
                                                f"{', '.join(status['applications_never_connected'])}"))
    if status["hooks"]:
        parts.append(_hooks(status))
    if status["events_left_out"]:
        parts.append(key_value("Left out", f"{status['events_left_out']} events: more are listed than are handled at "
                                           "once",
                               Style.WARN))
    if status["recover_pending"]:
        parts.append(key_value("Pending", f"recovery of {', '.join(status['recover_pending'])}", _pending_tone(status)))
    parts.append(_pause_fact(status["last_pause"], times))
    parts.append(_clock_facts(status["clock"], times))
    parts.append(_catalogue_facts(status["catalogue"]))
    if status["source"]:
        parts.append(_source_fact(status["source"], times))
    fleet = status.get("fleet")
    if fleet is not None:
        parts.append(_fleet_fact(fleet, times))
    parts.append(_agent_facts(status["agent"], times))
    others = [event for event in status["events"] if not event["ours"]]
    return [*parts, _others(others, times)] if others else parts


def _status_sentence(status: ShownStatusDocument) -> StyledText:
    agent, waits, pending = status["agent"], status["waiting_for"], status["recover_pending"]
    if agent["alive"] and agent["why"]:
        return StyledText(f"The agent (process {agent['pid'] or 'unknown'}) does not answer: {agent['why']}. By its "
                          f"journal, it waits for {waits}.", Style.BAD)
    if agent["alive"]:
        failed = any(hook["stage"] == "recover-failed" for hook in status["hooks"])
        silence = status["source"]["silence"] if status["source"] else None
        why = f" No events can be received: {silence}." if silence else ""
        observes = ("The agent only observes ([policy] mode): it prepares nothing and acknowledges nothing. It"
                    if is_observing(status) else "The agent")
        return StyledText(f"{observes} waits for {waits}.{why}",
                          Style.BAD if failed else Style.WARN if silence or is_observing(status) else Style.HEAD)
    if pending:
        return StyledText(f"No agent is running, and recovery of {', '.join(pending)} is pending: {START_IT}, or run "
                          "tideover "
                          f"recover. "
                    f"The last agent waited for {waits}.", Style.BAD)
    before = f"The last agent waited for {waits}." if status["events"] else "No event is open."
    return StyledText(f"No agent is running: {START_IT}. {before}", Style.BAD)


def _event_parts(event: EventStatusDocument, times: Times) -> list[Part]:
    about = StyledText(event["description"], Style.FAINT)
    return [key_value("Event", f"{event['kind']} {event['event_id']}", Style.HEAD, *([about] if about.text else [])),
            key_value("NotBefore", _due(event, times), _due_tone(event)), key_value("Phase", _phase_text(event))]


def _others(events: Sequence[EventStatusDocument], times: Times) -> Table:
    """Other machines' events: a row for each."""
    return Table(("NOT-OURS", "KIND", "NOTBEFORE", "MACHINES"), tuple(
        table_row(event["event_id"], event["kind"], _due(event, times), names_text(event["resources"]))
        for event in events))


def names_text(names: Sequence[str]) -> str:
    """Given names of machines, return the first few, and how many more there are."""
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


PAST_START = frozenset({"checking-clock", "settling", "recovering", "recovered", "closed"})
"""The phases in which the start of the event is no longer waited for."""


def _due(event: EventStatusDocument, times: Times) -> str:
    left = event["seconds_left"]
    if event["started"]:
        return f"{times.local(event['not_before'])}; it has started"
    if left is None or event["phase"] in PAST_START:
        return times.moment(event["not_before"])
    if left <= 0:
        return f"{times.local(event['not_before'])}, passed {countdown_text(-left)} ago: it may start at any time"
    return f"{times.local(event['not_before'])}, {countdown_text(left)} left"


def _due_tone(event: EventStatusDocument) -> Style:
    left = event["seconds_left"]
    may_start = left is not None and left <= 0 and not event["started"] and event["phase"] not in PAST_START
    return Style.WARN if may_start else Style.PLAIN


def _phase_text(event: EventStatusDocument) -> str:
    parts = [event["phase"]]
    if event["wakes_in_s"] is not None:
        what = "prepare begins" if event["phase"] == "scheduled" else "recover begins at the latest"
        parts[0] += f" ({what} {distance_text(-event['wakes_in_s'])})"
    if event["why"]:
        parts[0] += f" ({event['why']})"
    if event["phase"] != "acknowledged":
        parts.append("acknowledged" if event["acknowledged"] else "not acknowledged")
    if event["expected_pause_s"] is not None:
        parts.append(f"expected pause {length_text(event['expected_pause_s'])}")
    return "; ".join(parts)


def _hooks(status: ShownStatusDocument) -> Table:
    runs = status["agent"]["alive"] and not status["agent"]["why"]
    hooks = sorted(status["hooks"], key=lambda hook: (hook["order"], hook["name"]))
    return Table(("HOOK", "STATE", "RUNNING", "BUDGET"), tuple(_hook_fact(hook, runs) for hook in hooks))


def _hook_fact(hook: HookStatusDocument, agent_answers: bool) -> TableRow:
    running, limit, tone = hook["running_s"], hook["limit_s"], Style.PLAIN
    state = STAGES.get(hook["stage"], hook["stage"])
    if hook["refused"]:
        state, tone = "refused: withholds the acknowledgement", Style.WARN       # required or not
    elif hook["worked"] is False:
        state, tone = "prepare failed" if hook["required"] else "prepare failed (not required)", Style.WARN
    elif hook["failures"]:
        state, tone = f"{state}, failed {_times(hook['failures'])}", Style.WARN
    if hook["connected"] is False:
        state += ", not connected"
    if hook["again_in_s"] is not None and agent_answers:
        state += f", next try {distance_text(-hook['again_in_s'])}"
    if hook["stage"] == "recover-failed":
        tone = Style.BAD
    if running is not None and not agent_answers:
        running = None                  # it is not known whether it still runs
    late = running is not None and limit is not None and running > limit
    shown = StyledText(countdown_text(running), Style.WARN if late else Style.PLAIN) if running is not None else "-"
    return table_row(hook["file"], StyledText(state, tone), shown, _budget(hook))


def _budget(hook: HookStatusDocument) -> str:
    if hook["phase"] is None:
        return length_text(hook["timeout_s"])
    return countdown_text(hook["limit_s"]) if hook["limit_s"] is not None else "-"


def _pending_tone(status: ShownStatusDocument) -> Style:
    """While an event is open it is only to be expected."""
    return Style.PLAIN if status["events"] and status["agent"]["alive"] else Style.BAD


def _pause_fact(pause: ListedPauseDocument | None, times: Times) -> KeyValue:
    if pause is None:
        return key_value("Last pause", "none detected")
    length = pause_length_text(pause["length_s"], pause["uncertainty_s"])
    return key_value("Last pause", f"{length}, {pause['cause']}, {times.moment(pause['resumed_at'])}")


def pause_length_text(length_s: float | None, uncertainty_s: float | None) -> str:
    """Given a pause's length, return it with its bounds, as a fact: "5.003 s ± 31 ms"."""
    return f"length {NOT_KNOWN}" if length_s is None else bounded_text(length_s, uncertainty_s)


def _clock_facts(clock: ClockStatusDocument | None, times: Times) -> KeyValue:
    if clock is None:
        return key_value("Clock", "not checked yet (checked after each pause; check now with tideover clock)")
    check = read_finding(clock)
    return clock_fact(check, times.moment(check.checked_at))


def clock_fact(check: ClockCheck, checked: str) -> KeyValue:
    """Given a check and its time in words, return it as a fact."""
    parts = [check.verdict.value + (f" ({check.reason})" if check.reason else "")]
    if check.offset_s is not None:
        parts.append(offset_text(check.offset_s, check.error_bound_s))
    if check.good_after_s is not None:
        parts.append(f"good after {length_text(check.good_after_s)}")
    if check.checked_at is not None:
        parts.append(checked)
    return key_value("Clock", ", ".join(parts), VERDICT_TONES.get(check.verdict, Style.WARN))


def _catalogue_facts(catalogue: CatalogueDocument) -> KeyValue:
    refused = catalogue["refused"]
    text = f"{catalogue['ready']} ready"
    if catalogue["disabled"]:
        text += f", {len(catalogue['disabled'])} disabled"
    if refused:
        return key_value("Hooks", f"{text}, {len(refused)} refused: {', '.join(refused)} (see tideover hooks list)",
                    Style.BAD)
    return key_value("Hooks", text)


def _source_fact(source: SourceStatusDocument, times: Times) -> KeyValue:
    if source["silence"]:
        return key_value("Source", f"{source['kind']} ({source['platform']}); no events can be received", Style.WARN)
    last = source["last_answer_at"]
    text = f"{source['kind']}, last answer {times.moment(last)}" if last else f"{source['kind']}, no answer yet"
    if not source["takes_acknowledgement"]:
        text += "; takes no acknowledgement"
    if not source["failures"]:
        return key_value("Source", text)
    return key_value("Source", f"{text}; {_times(source['failures'], 'failure')} since", Style.BAD,
                     StyledText(source["reason"]))


def _fleet_fact(fleet: StoreStatusDocument, times: Times) -> KeyValue:
    text = f"group {fleet['group']}, store {fleet['store']}"
    if fleet["failing_since"]:
        return key_value("Fleet", f"{text}, cannot be used since {times.moment(fleet['failing_since'])}", Style.BAD,
                         StyledText(fleet["reason"]))
    last = fleet["last_answer_at"]
    return key_value("Fleet", f"{text}, last answer {times.moment(last)}" if last else f"{text}, no answer yet")


def _agent_facts(agent: AgentDocument, times: Times) -> KeyValue:
    if not agent["alive"]:
        return key_value("Agent", "not running", Style.BAD)
    version = f", version {agent['version']}" if agent["version"] else ""
    since = f", since {times.moment(agent['started_at'])}" if agent["started_at"] else ""
    return key_value("Agent", f"process {agent['pid']}{version}{since}")


def _times(count: int, what: str = "time") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


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


# --- `history`, `pauses`, `hooks list`: a row each

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


def hooks_table(hooks: Iterable[HookSpec], disabled: Iterable[str], missing: Mapping[str, str]) -> Table:
    """Given what lies in the hooks directory, and by its path which required settings a hook lacks, return a row for
    each file that is or could be a hook, in the order of their names; below it why it cannot run."""
    rows = [(spec.order, spec.name, _hooks_row(spec, missing.get(spec.path))) for spec in hooks]
    rows += [(int(file[:2]), file[3:], table_row(file[:2], file[3:], "-", "-", StyledText("disabled", Style.FAINT), "-",
                                           below=(StyledText("no run bit: chmod +x enables it", Style.FAINT),)))
             for file in disabled]
    return Table(("NN", "NAME", "TIMEOUT", "FAILURE", "STATE", "KINDS"),
                 tuple(made for _, _, made in sorted(rows, key=lambda known: known[:2])))


def library_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Given the hooks of the library, as `hooks list --available --json` has them, return a row for each."""
    return Table(("STAGE", "NAME", "ENABLED", "WHAT IT DOES"), tuple(
        table_row("-" if row["stage"] is None else f"{row['stage']:02d}", row["name"],
                  StyledText("yes", Style.GOOD) if row["enabled"] else "no", row["summary"]) for row in rows))


DOES_LABELS = {"freeze": "Before a freeze", "restart": "Before a restart", "unannounced": "Unannounced",
               "recover": "Recover"}


def description_parts(about: HookDescription, file: str, *, enabled: bool) -> list[Part]:
    """Given what a hook says of itself, its file, and whether it is in the hooks directory, return it for a person."""
    parts: list[Part] = [Paragraph(StyledText(f"{about.name}: {about.summary}", Style.HEAD))]
    parts += [key_value(DOES_LABELS.get(what, what), text) for what, text in about.does.items()]
    parts.append(key_value("Needs", "; ".join(about.needs) or "-"))
    if about.proved_against:
        parts.append(key_value("Proved against", about.proved_against))
    parts += [key_value("Stage", f"{about.stage:02d}"),
              key_value("File", f"{file} ({'in the hooks directory' if enabled else 'not enabled'})")]
    if about.settings:
        parts.append(Table(("SETTING", "DEFAULT", "MEANING"), tuple(
            table_row(one.name, StyledText("required", Style.WARN) if one.required else one.default or "-", one.meaning)
            for one in about.settings)))
        named = next((one for one in about.settings if one.required), about.settings[0]).name
        parts.append(key_value("Configuration", f"[hook.{about.name}]", Style.PLAIN,
                               StyledText(f'environment = {{ {named} = "…" }}')))
    return parts


def kinds_text(kinds: frozenset[Kind]) -> str:
    """Given the kinds a hook is run for, return them in words."""
    if kinds >= ANNOUNCED:
        return ", ".join(["all announced", *sorted(kind.value for kind in kinds - ANNOUNCED)])
    return ", ".join(kind.value for kind in Kind if kind in kinds)


def _history_row(record: EventRecord, times: Times, me: str) -> TableRow:
    several = f" (of {len(record.pauses)})" if len(record.pauses) > 1 else ""
    failed = _failures(record)
    runs = _times(len(record.hooks), "run")
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


def _hooks_row(spec: HookSpec, missing: str | None) -> TableRow:
    failure = "holds" if spec.required or spec.refused else "may fail"
    why = spec.refused or missing
    state = "refused" if spec.refused else "incomplete" if missing else "ready"
    return table_row(f"{spec.order:02d}", spec.name, length_text(spec.timeout_s), failure,
                     StyledText(state, Style.BAD if why else Style.GOOD), kinds_text(spec.kinds),
                     below=(StyledText(why, Style.BAD),) if why else ())


def _when_heads(what: str, times: Times) -> tuple[str, ...]:
    return (what,) if times.utc else (what, "")


def _when(at: datetime, times: Times) -> tuple[str, ...]:
    return (times.local(at),) if times.utc else (times.local(at), times.ago(at))
