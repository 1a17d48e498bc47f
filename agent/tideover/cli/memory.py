"""Reads the journal for the commands that report: with or without an agent running."""
from __future__ import annotations

from pathlib import Path

from tideover.errors import WrongUseError
from tideover.journal import FILE, Journal
from tideover.lifecycle import State
from tideover.record import Row
from tideover.settings import Settings


def read_memory(settings: Settings) -> tuple[State, list[Row]]:
    """Given the settings, return the state and all rows of the journal; nothing yet where there is none.

    Raise JournalUnreadable if it is damaged, WrongUseError if this user may not read it.
    """
    path = Path(settings.paths.state) / FILE
    try:
        if not path.exists():
            return State(), []
        with path.open("rb"):
            pass
    except PermissionError as trouble:
        raise WrongUseError(f"cannot read the journal {path}", "this user may not",
                            "Run as root, or as the user the agent runs as.") from trouble
    journal = Journal.reading(path)
    try:
        return journal.load(), journal.rows()
    finally:
        journal.close()
