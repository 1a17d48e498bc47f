"""Follows the agent's record while it is being written. Reads only; the agent does not notice."""
from __future__ import annotations

import sqlite3
from pathlib import Path

from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.record import Row


class Follower:
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

    def has_seen(self, *whats: str) -> bool:
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
            return journal.rows(self._event_id)
        except (sqlite3.Error, ValueError):
            return []                       # damaged, or locked for longer than a reader waits: the next look will tell
        finally:
            journal.close()
