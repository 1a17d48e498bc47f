"""The recording for `replay`: which observations are kept, in how many rows, and how they are read again.

It is kept in segments. A segment begins with the whole state, and its rows have no gap between them: after a start of
the agent, a failed write or a change by a command without the agent, a new segment begins. A stretch is the segments
from one rest (no event of this VM is open) to the next, so all of an event. Of a stretch the newest rows are kept, by
whole segments, and of the stretches the newest.

What hooks printed is left out: it stands in the record, and nothing is decided by it.
"""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from tideover.effects import Effect
from tideover.journal.codec import from_plain, plain_to_json, to_plain
from tideover.lifecycle import Phase, State
from tideover.lifecycle.replay import Decision, Recording
from tideover.model import Moment
from tideover.observations import HookSettled, Observation
from tideover.policy import Policy

RECORDING_TABLE = """
CREATE TABLE IF NOT EXISTS inputs (n INTEGER PRIMARY KEY, stretch INTEGER NOT NULL, segment INTEGER NOT NULL,
                                   body TEXT NOT NULL) STRICT;
"""
SEGMENT_ROWS, SEGMENT_CHARACTERS = 250, 512 * 1024      # of one segment, without the state it begins with
STRETCH_ROWS, STRETCH_CHARACTERS = 1000, 2 * 1024 * 1024
STRETCHES, RECORDED_CHARACTERS = 10, 8 * 1024 * 1024    # of the whole recording
OBSERVATIONS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in get_args(Observation)}
EFFECTS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in get_args(Effect)}


@dataclass(slots=True)
class _Segment:
    """The segment that is written to now."""

    stretch: int
    number: int
    rows: int = 0
    characters: int = 0
    policy: Policy | None = None
    effects: Mapping[str, Any] | None = None        # as written last; None: nothing is written yet

    @property
    def is_full(self) -> bool:
        return self.rows >= SEGMENT_ROWS or self.characters >= SEGMENT_CHARACTERS


class InputLog:
    """Writes the recording within the journal's transactions. Used by one thread."""

    def __init__(self) -> None:
        self._segment: _Segment | None = None
        self._after: State | None = None        # the state after the newest row

    def interrupt(self) -> None:
        """A write failed, or the state changed without a decision: the next row begins a new segment."""
        self._segment = self._after = None

    def add(self, db: sqlite3.Connection, before: State, after: State, decision: Decision) -> None:
        """Write one decision that led from `before` to `after`. Raise sqlite3.Error."""
        begins_event = is_at_rest(before) and not is_at_rest(after)
        segment = self._segment
        if segment is None or before is not self._after or begins_event or segment.is_full:
            segment = self._begin(db, before, decision.now, goes_on=not is_at_rest(before))
        text = plain_to_json(_row_of(decision, segment))
        _insert(db, segment, text)
        segment.rows, segment.characters = segment.rows + 1, segment.characters + len(text)
        segment.policy, segment.effects = decision.policy, dict(decision.effects)
        self._segment, self._after = segment, after

    def _begin(self, db: sqlite3.Connection, state: State, now: Moment, *, goes_on: bool) -> _Segment:
        """A segment, of the newest stretch where its event goes on. Old ones go."""
        newest = db.execute("SELECT max(n), max(stretch) FROM inputs").fetchone()
        number = (newest[0] or 0) + 1
        segment = _Segment(newest[1] if goes_on and newest[1] else number, number)
        text = plain_to_json({"state": to_plain(state), "now": to_plain(now)})
        _insert(db, segment, text)
        _remove_old(db, segment.stretch)
        return segment


def _insert(db: sqlite3.Connection, segment: _Segment, text: str) -> None:
    db.execute("INSERT INTO inputs (stretch, segment, body) VALUES (?, ?, ?)", (segment.stretch, segment.number, text))


def _remove_old(db: sqlite3.Connection, stretch: int) -> None:
    """By whole segments, the oldest first, so that the newest one, which is still short, may become full. It stays."""
    segments = db.execute("SELECT stretch, segment, count(*), sum(length(body)) FROM inputs "
                          "GROUP BY segment ORDER BY segment DESC").fetchall()
    stretches: set[int] = set()
    rows = characters = whole = 0
    for place, (of, number, its_rows, its_characters) in enumerate(segments):
        stretches.add(of)
        whole += its_characters
        if of == stretch:
            rows, characters = rows + its_rows, characters + its_characters
        is_beyond = (len(stretches) > STRETCHES or whole > RECORDED_CHARACTERS or (
            of == stretch and (rows > STRETCH_ROWS - SEGMENT_ROWS
                               or characters > STRETCH_CHARACTERS - SEGMENT_CHARACTERS)))
        if place and is_beyond:
            db.execute("DELETE FROM inputs WHERE segment = ?", (number,))


def is_at_rest(state: State) -> bool:
    """Whether no event of this VM is open and nothing is prepared."""
    return not state.hooks and all(case.phase is Phase.OBSERVED for case in state.cases.values())


def _row_of(decision: Decision, segment: _Segment) -> dict[str, Any]:
    """What has not changed since the row before is not written again."""
    seen, before = decision.seen, segment.effects or {}
    if isinstance(seen, HookSettled):
        seen = replace(seen, report=replace(seen.report, output=""))
    row = {"now": to_plain(decision.now), "seen": type(seen).__name__, "value": to_plain(seen),
           "entries": [list(line) for line in decision.entries],
           "effects": {key: {"effect": type(effect).__name__, "value": to_plain(effect)}
                       for key, effect in decision.effects.items() if before.get(key) != effect},
           "ended": [key for key in before if key not in decision.effects]}
    if decision.policy != segment.policy:
        row["policy"] = to_plain(decision.policy)
    return row


# --- Reading

def recorded_rows(db: sqlite3.Connection) -> Iterator[tuple[int, int, str]]:
    """Yield the rows of a recording in order: stretch, segment, text. Raise sqlite3.Error."""
    yield from db.execute("SELECT stretch, segment, body FROM inputs ORDER BY n")


def recordings_of(rows: Iterable[tuple[int, int, str]]) -> list[list[Recording]]:
    """Given rows in order, return their segments by stretches. Raise ValueError, KeyError, TypeError or AttributeError
    if they are none, or a newer version's."""
    stretches: dict[int, dict[int, _Reading]] = {}
    for stretch, segment, text in rows:
        plain = json.loads(text)
        segments = stretches.setdefault(stretch, {})
        if segment not in segments:
            segments[segment] = _Reading(from_plain(State, plain["state"]))
        else:
            segments[segment].take(plain)
    return [[reading.recording for reading in segments.values()] for segments in stretches.values()]


class _Reading:
    """One segment, row by row."""

    def __init__(self, state: State) -> None:
        self._state, self._decisions = state, list[Decision]()
        self._policy, self._effects = Policy(), dict[str, Effect]()

    def take(self, plain: Mapping[str, Any]) -> None:
        if "policy" in plain:
            self._policy = from_plain(Policy, plain["policy"])
        self._effects = {key: effect for key, effect in self._effects.items() if key not in plain["ended"]} | {
            key: _noun(EFFECTS, one["effect"], one["value"]) for key, one in plain["effects"].items()}
        self._decisions.append(Decision(
            from_plain(Moment, plain["now"]), _noun(OBSERVATIONS, plain["seen"], plain["value"]), self._policy,
            tuple((event_id, what, note) for event_id, what, note in plain["entries"]), self._effects))

    @property
    def recording(self) -> Recording:
        return Recording(self._state, tuple(self._decisions))


def _noun(kinds: Mapping[str, type[Any]], name: str, plain: Any) -> Any:
    if name not in kinds:
        raise ValueError(f"{name} is unknown to this version")
    return from_plain(kinds[name], plain)


