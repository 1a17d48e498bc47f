"""Records of real agents against the built-in platform, kept as files, and variations of them."""
from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from tideover.html import HistoryStatistics, event_page, history_statistics
from tideover.humanize import Times
from tideover.lifecycle import Phase
from tideover.model import (
    Cause,
    ClockCheck,
    ClockSample,
    EntryKind,
    HookOutcome,
    HookPhase,
    HookReport,
    HookRun,
    Kind,
    Outcome,
    Pause,
    Quality,
    Verdict,
)
from tideover.record import ClockRecord, EventRecord, Row

FOLDER = Path(__file__).parent / "records"
NAMES = ("cancelled", "failed", "freeze", "reboot")
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
MAY_BE_NULL = {"not_before", "acknowledged_at", "started_at", "ended_at", "closed_at", "checked_at", "good_after_s",
               "length_s", "uncertainty_s", "error_bound_s", "expected_pause_s", "limit_s", "tolerance_s",
               "exit_status", "notice_s", "duration_s", "host", "clocksource"}
HOSTILE = ('</title></style></svg><script>document.title="owned"</script><img src=x onerror="document.title=1">'
           "&lt;b&gt; \"' \u202egnp.exe\u2066 \x1b[31mred\x00 \ud800 \u0645\u0631\u062d\u0628\u0627 ")


@cache
def _text(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text()


def kept(name: str, **changes: Any) -> dict[str, Any]:
    """The kept record of this name, with some fields changed."""
    record: dict[str, Any] = json.loads(_text(name))
    return record | changes


def times(offset_h: float = 1.0, name: str = "CET") -> Times:
    return Times(NOW, zone=timezone(timedelta(hours=offset_h), name))


def moved(record: dict[str, Any], by: timedelta) -> dict[str, Any]:
    """The same record, some time earlier or later."""
    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(item) for key, item in value.items()}
        if isinstance(value, list):
            return [move(item) for item in value]
        if isinstance(value, str) and len(value) == 24 and value.endswith("Z"):
            later = datetime.fromisoformat(value) + by
            return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return value
    return dict(move(record))


def hostile(record: dict[str, Any]) -> dict[str, Any]:
    """The same record with untrusted text in every field that others can fill."""
    said = copy.deepcopy(record)
    long = HOSTILE + "A" * 9000
    said |= {"event_id": HOSTILE, "description": long, "resources": [long, HOSTILE], "event_source": HOSTILE,
             "extra": {HOSTILE: long}}
    for run in said["hooks"]:
        run |= {"output": f"{long}\n]]>--></pre></details>\n{HOSTILE}\n" * 2 + "row\n" * 90, "note": long}
    for pause in said["pauses"]:
        pause |= {"evidence": [long], "host": {"before": HOSTILE, "after": long}}
    for row in said["timeline"]:
        row["note"] = row["note"] + long
    said["clock"]["reason"] = long
    for sample in said["clock"]["samples"]:
        sample["server"] = long
    return said


def stood_still(lost_s: float = 7.0) -> dict[str, Any]:
    """A freeze over which this machine's clock stopped and was stepped two seconds later."""
    begin = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)

    def at(seconds: float) -> str:
        return (begin + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def sample(seconds: float, offset_s: float) -> dict[str, Any]:
        return {"at": at(seconds), "server": "time.example", "offset_s": offset_s, "delay_s": 0.001,
                "error_bound_s": 0.002}

    record = kept("freeze", noticed_at=at(0), not_before=None, acknowledged_at=at(1), started_at=at(2),
                  ended_at=at(40), closed_at=at(40), hooks=[])
    record["pauses"] = [record["pauses"][0] | {"resumed_at": at(3), "length_s": lost_s, "uncertainty_s": 0.05,
                                               "cause": "vm-pause", "quality": "measured"}]
    record["clock"] |= {"checked_at": at(lost_s + 5.1), "samples": [
        sample(3.1, -lost_s), sample(4.1, -lost_s), sample(lost_s + 5.1, 0.0)]}
    rows = [(0, "noticed"), (1, "acknowledgement accepted"), (2, "event started"), (3, "pause"), (lost_s + 5.1, "clock"), (40, "closed")]
    record["timeline"] = [{"at": at(seconds), "what": what, "note": ""} for seconds, what in rows]
    return record


def disordered(record: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The same record by a clock that was set while it was written, with holes where nothing was known."""
    def change(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: change(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [change(item) for item in value if chance.random() > 0.1]
        if isinstance(value, str) and len(value) == 24 and value.endswith("Z") and chance.random() < 0.3:
            later = datetime.fromisoformat(value) + timedelta(seconds=chance.choice([-1, 1]) * 10 ** chance.uniform(-3, 6))
            return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if key in MAY_BE_NULL and chance.random() < 0.2:
            return None
        if key.endswith("_s") and isinstance(value, float) and chance.random() < 0.3:
            return round(value * 10 ** chance.uniform(-4, 4), 3)
        return value
    said = change(record)
    for run in said["hooks"]:
        run["started_at"] = run["started_at"] or record["noticed_at"]
    said["timeline"] = said["timeline"] or record["timeline"][:1]
    said["status"] = chance.choice([record["status"], "held", "checking-clock", "recovered", "acknowledged"])
    said["kind"] = chance.choice(["freeze", "reboot", "unannounced", "live-migration", "preempt", "unknown", None])
    return dict(said)


def page_of(record: dict[str, Any], told_in: Times, version: str) -> str:
    return event_page(read_record(record), told_in, version)


def statistics_of(records: Iterable[dict[str, Any]], told_in: Times, since: datetime | None = None) -> HistoryStatistics:
    return history_statistics([read_record(record) for record in records], told_in, since)


def read_record(record: dict[str, Any]) -> EventRecord:
    """Given a record as `show --json` prints it, return it as the values it was printed from, as far as it has them."""
    clock = record["clock"]
    return EventRecord(
        event_id=record["event_id"], noticed_at=at_of(record["noticed_at"]) or NOW, kind=Kind(record["kind"] or "unknown"),
        phase=next((phase for phase in Phase if phase.value == record["status"]), None),
        outcome=Outcome(record["outcome"]) if record["outcome"] else None, source=record["source"],
        event_source=record["event_source"], description=record["description"], resources=tuple(record["resources"]),
        expected_pause_s=record["expected_pause_s"], extra=record["extra"], not_before=at_of(record["not_before"]),
        measured_notice_s=record["notice_s"], acknowledged_at=at_of(record["acknowledged_at"]),
        started_at=at_of(record["started_at"]), ended_at=at_of(record["ended_at"]), closed_at=at_of(record["closed_at"]),
        hooks=tuple(_run(run) for run in record["hooks"]), pauses=tuple(_pause(pause) for pause in record["pauses"]),
        clock=ClockRecord(
            ClockCheck(Verdict(clock["verdict"]), clock["offset_s"], clock["error_bound_s"], at_of(clock["checked_at"]),
                       clock["good_after_s"], reason=clock["reason"], tolerance_s=clock["tolerance_s"]),
            tuple(sorted((ClockSample(at_of(one["at"]), one["server"], one["offset_s"], one["delay_s"], one["error_bound_s"])
                          for one in clock["samples"]), key=lambda one: one.at)),
            tuple(Row(at_of(one["at"]), "", EntryKind.CLOCK_CONVERGENCE, one["what"]) for one in clock["followed"])),
        timeline=tuple(_row(row) for row in record["timeline"]))


def at_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _run(run: dict[str, Any]) -> HookRun:
    report = HookReport(HookOutcome(run["outcome"]), run["exit_status"], at_of(run["started_at"]), run["duration_s"],
                        run["output"], run["note"])
    return HookRun(run["name"], HookPhase(run["phase"]), run["attempt"], report, run["limit_s"])


def _pause(pause: dict[str, Any]) -> Pause:
    def pair(of: dict[str, str] | None) -> tuple[str, str] | None:
        return of and (of["before"], of["after"])
    return Pause(pause["id"], at_of(pause["resumed_at"]), 0.0, pause["length_s"], pause["uncertainty_s"],
                 Cause(pause["cause"]), tuple(pause["evidence"]), Quality(pause["quality"]), pair(pause["clocksource"]),
                 pair(pause["host"]))


def _row(row: dict[str, Any]) -> Row:
    """A check and a pause say in their note what they were."""
    phases, said = {phase.value: phase for phase in Phase}, row["what"]
    what = phases.get(said) or EntryKind(said)
    first = row["note"].split(":")[0].split(" ")[0].split(",")[0]
    subject = None
    if what is EntryKind.CLOCK_CHECKED and first in {verdict.value for verdict in Verdict}:
        subject = ClockCheck(Verdict(first))
    elif what is EntryKind.PAUSE and first == Cause.CLOCK_STEP.value:
        subject = Pause("", at_of(row["at"]), 0.0, None, None, Cause.CLOCK_STEP)
    return Row(at_of(row["at"]), "", what, row["note"], subject)
