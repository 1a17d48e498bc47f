"""What the drill saw with its own eyes: what the hooks and the counter wrote down, and how long the agent was away.

Reads the drill's own files; the record is asked only where the hooks are the owner's and write nothing down for us.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tideover.drill.plan import Plan
from tideover.drill.processes import Stretch
from tideover.model import ClockCheck, HookPhase
from tideover.record import Row

NOTHING_CHANGED = frozenset({3, 4})         # exit statuses after which no recover is owed (contract)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one hook. Times are seconds since the epoch; `ended_at` None: it did not come to its own end."""

    hook: str
    order: int
    phase: HookPhase
    began_at: float
    ended_at: float | None
    worked: bool
    clock: str = ""                         # what it was told of the clock
    owes: bool = True                       # whether, as a prepare, it has to be recovered


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the verdict is made of."""

    plan: Plan
    runs: tuple[Run, ...]
    seen_by: str                            # who says so: the hooks themselves, or the record
    record: Mapping[str, Any] | None
    check: ClockCheck | None = None         # what the agent judged the clock by, before it let anyone carry on
    posts: tuple[float, ...] = ()           # when a POST came in, as the service saw it
    told: tuple[str, ...] = ()              # ids of what was acknowledged
    event_id: str = ""
    withdrawn_at: float | None = None
    stop: Stretch | None = None             # the agent's process stood still
    away: Stretch | None = None             # … or was gone, and started again
    numbers: tuple[tuple[float, int], ...] | None = None    # the counter's; None: it was not there
    time_asked: int = 0                     # questions to the time server since the machine was back
    broken: str | None = None               # why the drill did not come to its end


def runs_from_notes(notes: Path) -> tuple[Run, ...]:
    """Given what the sample hooks wrote down (time, file, phase, begun or done, clock), return their runs in order."""
    runs: list[Run] = []
    for line in _lines(notes):
        words = line.split()
        if len(words) != 5 or not _is_number(words[0]):
            continue
        at, file, phase, mark, clock = float(words[0]), words[1], HookPhase(words[2]), words[3], words[4]
        if mark == "begun":
            runs.append(Run(file[3:], int(file[:2]), phase, at, None, worked=False, clock=clock))
            continue
        newest = max((place for place, run in enumerate(runs) if run.hook == file[3:]), default=None)
        if newest is not None:
            begun = runs[newest]
            runs[newest] = Run(begun.hook, begun.order, phase, begun.began_at, at, worked=True, clock=clock)
    return tuple(runs)


def last_check(rows: Sequence[Row]) -> ClockCheck | None:
    """Given the record's rows, return the last check that was waited for; what is followed later decides nothing."""
    return next((row.subject for row in reversed(rows) if row.what == "clock" and isinstance(row.subject, ClockCheck)),
                None)


def runs_from_record(record: Mapping[str, Any] | None, plan: Plan) -> tuple[Run, ...]:
    """Given the record, return the runs it tells of."""
    orders = {spec.name: spec.order for spec in plan.own.specs} if plan.own else {}
    refused = {spec.name for spec in plan.own.specs if spec.refused} if plan.own else set()
    clock = str(record["clock"]["verdict"]) if record else ""
    runs: list[Run] = []
    for hook in record["hooks"] if record else ():
        began = datetime.fromisoformat(hook["started_at"]).timestamp()
        owes = hook["name"] not in refused and hook["exit_status"] not in NOTHING_CHANGED
        ended = None if hook["duration_s"] is None else began + hook["duration_s"]
        runs.append(Run(hook["name"], orders.get(hook["name"], 0), HookPhase(hook["phase"]), began, ended,
                        hook["outcome"] == "done", clock, owes))
    return tuple(runs)


def read_numbers(file: Path) -> tuple[tuple[float, int], ...]:
    """Given what the counter wrote down, return its numbers with their times."""
    pairs = (line.split() for line in _lines(file))
    return tuple((float(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2)


def prepares(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.phase is HookPhase.PREPARE]


def recovers(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.phase is HookPhase.RECOVER]


def _lines(file: Path) -> list[str]:
    """Whole lines only: the last may be in the making."""
    try:
        return file.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
    except OSError:
        return []


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdecimal()
