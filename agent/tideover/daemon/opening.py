"""Opens the state directory: its lock, its journal; what cannot be read is set aside and said so."""
from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tideover.errors import WrongUseError
from tideover.hooks.parts import find_unsafe_step
from tideover.journal import FILE, LastingJournal, Lock, unwritable
from tideover.logs import Log
from tideover.system.directories import make_base_directory

STATE_MODE = 0o711      # hooks that run as other users reach their own directories below it, and list nothing


@dataclass(frozen=True, slots=True)
class Memory:
    """The state directory as this process holds it."""

    directory: Path
    lock: Lock
    journal: LastingJournal

    def close(self) -> None:
        self.journal.close()
        self.lock.release()


def require_safe(file: Path | None) -> None:
    """Given the configuration's file (None: there is none), raise WrongUseError if somebody else could change it: it
    says what is run, as whom and with which environment."""
    if file is None:
        return
    with suppress(OSError):         # a pipe that this command was given cannot be walked to, and is nobody else's
        reason = find_unsafe_step(str(file.absolute()))
        if reason is not None:
            raise WrongUseError(f"cannot use the configuration {file}", reason, "Then try again.")


def _require_safe_directory(directory: Path) -> None:
    """What stands in the journal is run at recover, whoever wrote it."""
    try:
        reason = find_unsafe_step(str(directory.absolute()))
    except OSError as trouble:
        reason = trouble.strerror or str(trouble)
    if reason is not None:
        raise WrongUseError(f"cannot use the state directory {directory}", reason,
                            "Or name another one under [paths] state.")


def open_memory(directory: Path, log: Log) -> Memory:
    """Given the state directory, make it, lock it and open its journal.

    Raise WrongUseError if it cannot be used or is not safe, JournalUnwritable if its journal cannot be read at all.
    """
    make_directory(directory, STATE_MODE)
    _require_safe_directory(directory)
    lock = Lock(directory)

    def hold() -> None:
        """Before the journal is put down anew: the directory may have been removed, and another agent be in it."""
        try:
            make_directory(directory, STATE_MODE)
            _require_safe_directory(directory)
            lock.renew()
        except (OSError, WrongUseError) as trouble:
            raise unwritable(directory / FILE, trouble) from trouble

    def tell(reason: str, kept_as: Path | None) -> None:
        log.error("journal.set-aside", reason=reason, kept_as=kept_as or "it cannot be renamed; it is left as it is",
                  consequence="what only it knew is not known here; look into it with tideover history --config")

    return Memory(directory, lock, LastingJournal(directory / FILE, tell, hold))


def renew_journal(journal: LastingJournal) -> None:
    """Given the journal of another VM (a cloned disk), set its file aside and begin it anew."""
    journal.begin_anew_for("other-vm", "it is another VM's: this disk is a copy, or was given to a new VM; "
                                        "what it says is prepared stays pending")


def make_directory(directory: Path, mode: int) -> None:
    """Given a directory, make it if it is not there. Raise WrongUseError if that cannot be done."""
    try:
        make_base_directory(directory, mode)
    except OSError as trouble:
        raise WrongUseError(f"cannot make the directory {directory}", (trouble.strerror or str(trouble)).lower(),
                            "Run as root, or name another one under [paths].") from trouble
