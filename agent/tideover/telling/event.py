"""What `show` tells a person of one event: its record, in its own order. Pure."""
from __future__ import annotations

from typing import Any

from tideover.telling.parts import Fact, Part, Row, Sentence, Table, Text, Tone, fact, row
from tideover.telling.status import clock_fact, pause_text
from tideover.wording import Times, length_text

OUTCOME_TONES = {"done": Tone.PLAIN, "not-yet": Tone.WARN, "failed": Tone.BAD, "timed-out": Tone.BAD,
                 "stopped": Tone.WARN, "forgotten": Tone.WARN}
LAST_LINES = 3              # of a failed hook's output; --json has it whole


def event_parts(record: dict[str, Any], times: Times) -> list[Part]:
    """Given a record, return what a person is told; the first part says how it went."""
    parts: list[Part] = [Sentence(_first(record)), *_facts(record, times)]
    if record["hooks"]:
        parts.append(Table(("HOOK", "PHASE", "TRY", "OUTCOME", "TOOK"), tuple(_hook(run) for run in record["hooks"])))
    return [*parts, _timeline(record["timeline"], times)]


def _first(record: dict[str, Any]) -> Text:
    went = record["outcome"] or f"{record['status']}, not over yet"
    known = [pause for pause in record["pauses"] if pause["length_s"] is not None]
    longest = max(known, key=lambda pause: pause["length_s"], default=None)
    if record["pauses"]:
        went += f"; pause {pause_text(longest)}" if longest else "; a pause of a length that is not known"
    went += f"; clock {record['clock']['verdict']}" if record["clock"]["checked_at"] else ""
    tone = Tone.WARN if record["outcome"] == "missed" or _failures(record) else Tone.HEAD
    failed = f" {_failures(record)} of {len(record['hooks'])} hook runs failed." if _failures(record) else ""
    return Text(f"{record['kind'] or 'event'} {record['event_id']}: {went}.{failed}", tone)


def _failures(record: dict[str, Any]) -> int:
    return sum(run["outcome"] in ("failed", "timed-out") for run in record["hooks"])


def _facts(record: dict[str, Any], times: Times) -> list[Fact]:
    whence = ", ".join(filter(None, (record["source"], record["event_source"])))
    facts = [fact("Description", record["description"])] if record["description"] else []
    facts += [
        fact("Noticed", times.moment(record["noticed_at"])),
        fact("NotBefore", times.moment(record["not_before"])),
        fact("Acknowledged", times.moment(record["acknowledged_at"])),
        fact("Started", times.moment(record["started_at"])),
        fact("Closed", times.moment(record["closed_at"])),
        fact("Concerns", ", ".join(record["resources"]) or "-"),
        fact("Announced by", whence or "-"),
    ]
    return [*facts, *_pauses(record), _clock(record["clock"], times), fact("Trace", record["trace_id"])]


def _pauses(record: dict[str, Any]) -> list[Fact]:
    announced = f"; announced: {length_text(record['expected_pause_s'])}"
    if not record["pauses"]:
        return [fact("Pause", f"none noticed{announced}")]
    return [fact("Pause" if index == 0 else "Further pause",
                 f"{pause_text(pause)}, {pause['cause']}, {pause['quality']}{announced if index == 0 else ''}",
                 Tone.PLAIN, *(Text(evidence, Tone.FAINT) for evidence in pause["evidence"]))
            for index, pause in enumerate(record["pauses"])]


def _clock(clock: dict[str, Any], times: Times) -> Fact:
    if clock["checked_at"] is None and not clock["reason"]:
        return fact("Clock", "not checked")
    return clock_fact(clock, times.local(clock["checked_at"]))


def _hook(run: dict[str, Any]) -> Row:
    tone = OUTCOME_TONES.get(run["outcome"], Tone.PLAIN)
    outcome = run["outcome"] + (f", exit status {run['exit_status']}" if run["exit_status"] else "")
    below = [Text(run["note"], Tone.PLAIN)] if run["note"] else []
    if tone is Tone.BAD:
        below += [Text(line, Tone.FAINT) for line in run["output"].splitlines()[-LAST_LINES:]]
    return row(run["name"], run["phase"], str(run["attempt"]), Text(outcome, tone), length_text(run["duration_s"]),
               below=tuple(below))


def _timeline(timeline: list[dict[str, Any]], times: Times) -> Table:
    head, moments = times.clock_times([entry["at"] for entry in timeline])
    return Table((head, "TIMELINE"), tuple(
        row(at, entry["what"] + (f": {entry['note']}" if entry["note"] else ""))
        for at, entry in zip(moments, timeline, strict=True)))
