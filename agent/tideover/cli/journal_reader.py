"""Reads the journal for the commands that report, with or without a running agent."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from tideover.errors import WrongUseError
from tideover.journal import FILE, Journal
from tideover.lifecycle import State
from tideover.record import Row
from tideover.settings import Settings

Found = TypeVar("Found")


def read_memory(settings: Settings, read: Callable[[Journal], Iterable[Row]] = Journal.rows_of_events,
                ) -> tuple[State, list[Row]]:
    """Given the settings and which rows are wanted, return the state and those rows; nothing yet where there is none.

    Raise the errors of `read_through`.
    """
    found = read_through(settings, lambda journal: (journal.load(), list(read(journal))))
    return (State(), []) if found is None else found


def read_through(settings: Settings, read: Callable[[Journal], Found]) -> Found | None:
    """Given the settings, return what `read` makes of the open journal; None where there is none yet.

    Raise JournalUnreadable if it is damaged, WrongUseError if this user may not read it.
    """
    path = Path(settings.paths.state) / FILE
    try:
        if not path.exists():
            return None
        with path.open("rb"):
            pass
    except PermissionError as trouble:
        raise WrongUseError(f"cannot read the journal {path}", "permission denied",
                            "Run as root, or as the user the agent runs as.") from trouble
    journal = Journal.reading(path)
    try:
        return read(journal)
    finally:
        journal.close()
