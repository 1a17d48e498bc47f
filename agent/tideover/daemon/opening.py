"""Opens the state directory: its lock, its journal; what cannot be read is set aside and said so."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tideover.errors import WrongUseError
from tideover.journal import FILE, Journal, JournalUnreadable, Lock, set_aside
from tideover.lifecycle import State
from tideover.logs import Log
from tideover.system.directories import make_base_directory

STATE_MODE = 0o711      # hooks that run as other users reach their own directories below it, and list nothing


@dataclass(frozen=True, slots=True)
class Memory:
    """The state directory as this process holds it."""

    directory: Path
    lock: Lock
    journal: Journal

    def close(self) -> None:
        self.journal.close()
        self.lock.release()


def open_memory(directory: Path, log: Log) -> Memory:
    """Given the state directory, make it, lock it and open its journal. Raise WrongUseError if it cannot be used."""
    make_directory(directory, STATE_MODE)
    lock = Lock(directory)
    return Memory(directory, lock, open_journal(directory, log))


def open_journal(directory: Path, log: Log) -> Journal:
    """Given the directory, return its journal; one that is damaged or a newer version's is set aside first."""
    path = directory / FILE
    try:
        return _loadable(path)
    except JournalUnreadable as trouble:
        aside = _set_aside(path, "unreadable")
        log.error("journal.set-aside", reason=trouble.cause, kept_as=aside,
                  consequence="what it owed is not known here; look into it with tideover history --config")
        return _loadable(path)


def renew_journal(journal: Journal, log: Log) -> Journal:
    """Given the journal of another VM (a cloned disk), set it aside and return a new one."""
    journal.close()
    aside = _set_aside(journal.path, "other-vm")
    log.warning("journal.set-aside", reason="it is another VM's; this disk is a copy", kept_as=aside)
    return _loadable(journal.path)


def make_directory(directory: Path, mode: int) -> None:
    """Given a directory, make it if it is not there. Raise WrongUseError if that cannot be done."""
    try:
        make_base_directory(directory, mode)
    except OSError as trouble:
        raise WrongUseError(f"cannot make the directory {directory}", (trouble.strerror or str(trouble)).lower(),
                            "Run as root, or name another one under [paths].") from trouble


def _loadable(path: Path) -> Journal:
    journal = Journal(path)
    try:
        state: State = journal.load()
    except JournalUnreadable:
        journal.close()
        raise
    del state
    return journal


def _set_aside(path: Path, why: str) -> Path:
    try:
        return set_aside(path, why)
    except OSError as trouble:
        raise WrongUseError(f"cannot set the journal {path} aside", (trouble.strerror or str(trouble)).lower(),
                            "Move it away by hand, then start again.") from trouble
