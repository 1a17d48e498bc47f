"""What a drill prints line by line while it follows the record, and how long it waits for each condition."""
from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tideover.api.protocol import read_status
from tideover.drill.environment import DrillEnvironment
from tideover.errors import TideoverError, UnreachableError
from tideover.humanize import bounded_text, offset_text, round_length_text
from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Phase
from tideover.model import ClockCheck, EntryKind, HookOutcome, HookRun, Pause
from tideover.record import Row
from tideover.text_safety import drop_controls

# --- Follows the record while it is written

class RecordFollower:
    """Given the agent's state directory and an event, what stands in the record, and what is new."""

    def __init__(self, state: Path, event_id: str) -> None:
        self._path, self._event_id = state / FILE, event_id
        self._rows: list[Row] = []

    def news(self, before: float) -> list[Row]:
        """Return the rows since the last time, up to a time since the epoch; none where it cannot be read just now."""
        rows = [row for row in self._read() if row.at.timestamp() <= before]
        fresh = rows[len(self._rows):]
        self._rows.extend(fresh)
        return fresh

    def has_seen(self, *whats: EntryKind | Phase) -> bool:
        """Whether a row of one of these names has come."""
        return any(row.what in whats for row in self._rows)

    def rows(self) -> tuple[Row, ...]:
        """All rows that have come."""
        return tuple(self._rows)

    def _read(self) -> list[Row]:
        try:
            journal = Journal.reading(self._path)
        except (JournalUnreadable, JournalUnwritable):
            return []
        try:
            rows = journal.rows(self._event_id)
            if not rows:            # a platform that gives its events no id: the agent has made one
                made = next((row.event_id for row in journal.rows() if row.what is EntryKind.NOTICED), None)
                rows = journal.rows(made) if made is not None else rows
                self._event_id = made or self._event_id
            return rows
        except (sqlite3.Error, ValueError):
            return []                       # damaged, or locked for longer than a reader waits: the next look will tell
        finally:
            journal.close()


# --- Timeline: a line for each row of the record that matters to a newcomer

LONGEST_QUOTE = 200         # characters of a hook's output


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line of the timeline. `at_s`: seconds since the drill's start. `who`: platform | machine | agent | hook."""

    at_s: float
    who: str
    what: str


def timeline_line(row: Row) -> tuple[str, str] | None:
    """Given a row of the record, return who and what; None for one that says nothing new to a reader."""
    match row.subject:
        case HookRun():
            return "hook", _hook(row.subject)
        case Pause() if row.what is EntryKind.PAUSE_EVIDENCE:
            return "agent", f"more evidence of that pause: {row.note}"
        case Pause():
            return "agent", _pause(row.subject)
        case ClockCheck():
            again = "watches on: " if row.what is EntryKind.CLOCK_CONVERGENCE else ""
            return "agent", again + _clock(row.subject)
    words = WORDS.get(row.what)
    quote = words(row.note) if words else ""
    return ("agent", quote) if quote else None


def _always(quote: str) -> Callable[[str], str]:
    return lambda note: quote


WORDS: Mapping[EntryKind | Phase, Callable[[str], str]] = MappingProxyType({
    EntryKind.NOTICED: lambda note: "event detected" + (f"; {note}" if note else ""),
    EntryKind.CHANGED: lambda note: note,
    Phase.SCHEDULED: _always("waits for the time to prepare"),
    Phase.WAITING_FOR_SLOT: _always("waits for a slot of its group"),
    EntryKind.SLOT_TAKEN: _always("has a slot of its group"),
    EntryKind.SLOT_NOT_GRANTED: _always("goes on without a slot, and does not acknowledge"),
    EntryKind.SLOT_GIVEN_BACK: _always("gives its slot back"),
    EntryKind.SLOT_TAKEN_OVER: lambda note: f"takes a slot over: {note}",
    Phase.PREPARING: _always("runs the prepare hooks"),
    Phase.WAITING_FOR_PEERS: _always("is ready, and waits for the other machines"),
    EntryKind.CLAIMED: _always("all machines are ready; this one acknowledges the event"),
    EntryKind.ACK_BY_PEER: lambda note: f"acknowledged by {note}",
    Phase.ACKNOWLEDGING: _always("acknowledges the event"),
    Phase.UNCONFIRMED: lambda note: f"acknowledgement unconfirmed ({note}); waits for the next document",
    EntryKind.ACK_ACCEPTED: _always("acknowledgement accepted"),
    EntryKind.ACK_REFUSED: lambda note: f"acknowledgement refused: {note}",
    Phase.HELD: lambda note: f"acknowledgement withheld: {note}",
    EntryKind.STARTED: _always("the event has started"),
    Phase.CHECKING_CLOCK: _always("checks the clock before recovery"),
    Phase.SETTLING: _always("settling: waits for a further pause"),
    Phase.RECOVERING: _always("runs the recover hooks, in reverse order"),
    Phase.RECOVERED: _always("all recovered; waits for the event to be removed"),
    EntryKind.REMOVED: _always("the event was removed"),
    EntryKind.RECOVER_FAILED: lambda note: f"recovery failed: {note}",
    Phase.CLOSED: _always("closes the record"),
})


def _hook(run: HookRun) -> str:
    report = run.report
    how = {HookOutcome.NOTHING: "nothing to do", HookOutcome.NOT_YET: "not yet",
           HookOutcome.TIMED_OUT: "timed out"}.get(report.outcome, report.outcome.value)
    if report.outcome is HookOutcome.FAILED and report.exit_status is not None:
        how += f" with status {report.exit_status}"
    lines = [line for line in report.output.splitlines() if line.strip()]
    quote = drop_controls((lines[-1] if lines else report.note).strip(), LONGEST_QUOTE)
    again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    took = "" if report.duration_s is None else f" in {round_length_text(report.duration_s)}"
    return f"{run.name} {run.phase.value}{again}: {how}{took}" + (f", “{quote}”" if quote else "")


def _pause(pause: Pause) -> str:
    if pause.length_s is None or pause.uncertainty_s is None:
        return f"detects a pause of unknown length ({pause.cause.value})"
    return f"detects a pause of {bounded_text(pause.length_s, pause.uncertainty_s)} ({pause.cause.value})"


def _clock(check: ClockCheck) -> str:
    if check.offset_s is None or check.error_bound_s is None:
        return f"the clock is {check.verdict.value}: {check.reason}"
    return f"the clock is {check.verdict.value}: {offset_text(check.offset_s, check.error_bound_s)}"


# --- The observer

CHECK_INTERVAL_S = 0.03               # between two looks at the record
SILENCE_BEFORE_HINT_S = 5.0  # after so long without news, say what is waited for; then after twice that, and so on
SLACK_S = 5.0               # beyond a plain wait, before time itself is doubted


class DrillFailed(TideoverError):
    """The drill cannot go on; the verdict says what was seen up to here."""

    def __init__(self, cause: str) -> None:
        super().__init__("the drill ended early", cause, "See agent.log in the drill's directory")


class DrillObserver:
    """Given an environment and what takes each line of the timeline."""

    def __init__(self, stage: DrillEnvironment, show: Callable[[TimelineLine], None]) -> None:
        self._stage, self._show = stage, show
        self._began_at = self._news_at = time.time()
        self._follower: RecordFollower | None = None
        self._timeout_s = SILENCE_BEFORE_HINT_S
        self.lines: list[TimelineLine] = []

    def follow(self, event_id: str) -> None:
        """From now on tell what becomes of this event."""
        self._follower = RecordFollower(self._stage.folder.state, event_id)

    def note(self, who: str, what: str, at: float | None = None) -> None:
        """Tell what the drill does itself, now or at a time (since the epoch) just gone."""
        at = time.time() if at is None else at
        self.look(before=at)
        self._add(TimelineLine(at - self._began_at, who, what))

    def look(self, before: float = math.inf) -> None:
        """Tell what is new in the record, up to a time (since the epoch)."""
        for row in self._follower.news(before) if self._follower else ():
            self._timeout_s = SILENCE_BEFORE_HINT_S
            line = timeline_line(row)
            if line is not None:
                self._add(TimelineLine(row.at.timestamp() - self._began_at, *line))

    def has_seen(self, *whats: EntryKind | Phase) -> bool:
        """Whether the record has a row of one of these names."""
        return self._follower is not None and self._follower.has_seen(*whats)

    def rows(self) -> tuple[Row, ...]:
        """All rows of the record so far."""
        return self._follower.rows() if self._follower else ()

    def until(self, question: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Look until the answer is yes. Raise Broken when that takes too long, or the agent is gone."""
        agent, until = self._stage.agent, time.monotonic() + limit_s
        while True:
            gone = agent.exit_status
            self.look()
            if question():
                return
            if gone is not None:
                raise DrillFailed(agent.how_it_ended())
            if time.monotonic() > until:
                raise DrillFailed(f"{otherwise} within {limit_s:.0f} s")
            self._break_silence()
            time.sleep(CHECK_INTERVAL_S)

    def wait(self, for_s: float) -> None:
        """Go on looking for so long. Raise Broken if the agent is gone."""
        until = time.monotonic() + for_s
        self.until(lambda: time.monotonic() >= until, for_s + SLACK_S, "the clock did not advance")

    def _break_silence(self) -> None:
        if time.time() - self._news_at < self._timeout_s:
            return
        self._timeout_s *= 2
        try:
            status = read_status(self._stage.folder.socket, self._stage.folder.state)
            waits = "; ".join(event["waiting_for"] for event in status["events"])
            self._add(TimelineLine(time.time() - self._began_at, "agent",
                                   f"waiting for {waits or 'the next document'}"))
        except UnreachableError:
            self._news_at = time.time()

    def _add(self, line: TimelineLine) -> None:
        self._news_at = time.time()
        self.lines.append(line)
        self._show(line)
