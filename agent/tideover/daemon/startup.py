"""Opens the state directory: its lock, its journal; what cannot be read is set aside and said so."""
from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tideover.configuration import Loaded, platform_paths
from tideover.errors import BusyError, WrongUseError
from tideover.hooks.parts import find_unsafe_step
from tideover.journal import FILE, LastingJournal, Lock, unwritable
from tideover.logs import Log
from tideover.settings import default_settings
from tideover.system.directories import make_base_directory

PASSING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Of the disk or of a moment: a later start may find it well."""

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


def require_safe(file: Path | None, *, is_secret: bool = False) -> None:
    """Given a file of the configuration (None: there is none), raise WrongUseError if another user could change it, or
    read it where it is secret: it says what is run, as whom and with which environment."""
    if file is None:
        return
    with suppress(OSError):         # a pipe that this command was given cannot be walked to, and is nobody else's
        reason = find_unsafe_step(str(file.absolute()), is_secret=is_secret)
        if reason is not None:
            raise WrongUseError(f"cannot use the configuration {file}", reason, "Then try again.")


def trusted(loaded: Loaded) -> Loaded:
    """Given a configuration, return it; or, where another user could change its file, the defaults.

    Nothing of such a file is used. Raise WrongUseError if it names other directories than the defaults: they would be
    the wrong ones.
    """
    try:
        require_safe(loaded.file)
    except WrongUseError as trouble:
        defaults = default_settings(platform_paths())
        if loaded.settings.paths != defaults.paths:
            raise
        return Loaded(defaults, None, {}, trouble)
    return loaded


def open_memory(directory: Path, log: Log) -> Memory:
    """Given the state directory, make it, lock it and open its journal.

    Raise WrongUseError if it cannot be used or is not safe, JournalUnwritable if its journal cannot be read at all.
    """
    make_directory(directory, STATE_MODE)
    lock = Lock(directory)

    def hold() -> None:
        """Before the journal is put down anew: the directory may have been removed, and another agent be in it."""
        try:
            make_directory(directory, STATE_MODE)
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
    """Given a directory of [paths], make it if it is not there. Raise WrongUseError if that cannot be done, or if
    another user could change it or the way to it; then nothing has changed.

    What stands in the journal is run at recover, and what answers at the socket is believed, whoever put it there.
    """
    way = directory.absolute()
    _require_safe_way(directory, way if way.is_symlink() else way.parent)   # the mode of our own directory is mended
    try:
        make_base_directory(directory, mode)
    except OSError as trouble:
        kind = BusyError if trouble.errno in PASSING else WrongUseError
        raise kind(f"cannot make the directory {directory}", (trouble.strerror or str(trouble)).lower(),
                   "Run as root, or name another one under [paths].") from trouble
    _require_safe_way(directory, way)


def _require_safe_way(directory: Path, way: Path) -> None:
    """Raise WrongUseError if another user could change the way to the directory, or as much of it as there is."""
    try:
        reason = _find_unsafe(way)
    except OSError as trouble:
        reason = trouble.strerror or str(trouble)
    if reason is not None:
        raise WrongUseError(f"cannot use the directory {directory}", reason, "Or name another one under [paths].")


def _find_unsafe(way: Path) -> str | None:
    for path in (way, *way.parents):
        with suppress(FileNotFoundError):
            return find_unsafe_step(str(path))
    return None
