"""The private directory of each hook (TIDEOVER_STATE_DIR): made, kept until recovery, deleted; the spare place.

Knows nothing of when recovery is.

Where none can be made (a full or read-only disk) there is a spare place, in the runtime directory: it lies in memory,
so that an application can still be prepared, and what recover must restore outlives the agent, if not the machine.

The directory above them is 0711, so that a hook's user reaches its own and sees no other; each one is 0700 and its
user's. A directory that is done with is first renamed away, at once, and deleted later: what a next prepare finds is
empty, however long the deletion takes.
"""
from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tideover.hooks.environment import UserAccount
from tideover.system.private_files import give_to, make_directory, make_own_directory
from tideover.system.process import with_reserve
from tideover.system.removal import empty_directory

ABOVE_MODE, OWN_MODE = 0o711, 0o700
GONE, PROOF, NOTES = ".gone", ".room", ".prepared"
NOTE_AT_MOST = 16 * 1024    # bytes; ours are under 1 KiB
ROOM_BYTES = 4096           # what a hook notes down is a few lines
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class StateDirectories:
    """The state directories under one directory of the agent's."""

    def __init__(self, above: Path, spare: Path | None = None) -> None:
        self._usual, self._spare = above.resolve(), spare.resolve() if spare else None
        self._sweeping = threading.Lock()

    def path(self, name: str) -> str:
        """Given a hook's name, return the path of its state directory, without links, whether it is there or not."""
        return str(self._above(name) / name)

    def open(self, name: str, account: UserAccount, note: str = "") -> str:
        """Given a hook's name, its account and what its recover needs to know, return the path of its state
        directory, made if need be, with the note beside it.

        Raise OSError if it cannot be made or cannot be handed to that user.
        """
        above = self._above(name)
        try:
            return _open(above, name, account, note)
        except OSError as trouble:
            if above is self._spare or self._spare is None or (above / name).exists() or trouble.errno not in NO_ROOM:
                raise
            with suppress(OSError):
                return _open(self._spare, name, account, note)
            raise

    def is_fallback(self, path: str) -> bool:
        """Given a state directory's path, return whether it lies in the spare place."""
        return self._spare is not None and Path(path).parent == self._spare

    def discard(self, name: str) -> None:
        """Given a hook's name, take its state directory away, if there is one. Raise OSError if that fails."""
        above = self._above(name)
        own = above / name
        if own.is_dir():
            make_own_directory(above / GONE, OWN_MODE)
            gone = above / GONE / f"{name}.{os.getpid()}.{time.monotonic_ns()}"
            try:
                own.rename(gone)
            except PermissionError:     # Windows, where some process is at home in it: what lies there goes
                gone.mkdir()
                for entry in own.iterdir():
                    entry.rename(gone / entry.name)
        _note_of(above, name).unlink(missing_ok=True)

    def notes(self) -> dict[str, str]:
        """Return the names of the hooks that have a state directory, each with the note beside it ("": none)."""
        found: dict[str, str] = {}
        for above in (self._usual, self._spare) if self._spare else (self._usual,):
            with suppress(OSError):
                for own in sorted(above.iterdir()):
                    if own.is_dir() and not own.is_symlink() and not own.name.startswith("."):
                        found[own.name] = _read_note(_note_of(above, own.name))
        return found

    def _above(self, name: str) -> Path:
        """Where it was made the last time, it is until its hook is recovered."""
        return self._spare if self._spare and (self._spare / name).is_dir() else self._usual

    def purge(self) -> OSError | None:
        """Delete what was taken away, as far as it can be. Return what came in the way first.

        May take long: never on the engine's thread.
        """
        first: OSError | None = None
        with self._sweeping:
            for above in (self._usual, self._spare) if self._spare else (self._usual,):
                try:
                    trouble = with_reserve(partial(empty_directory, above / GONE))
                except FileNotFoundError:
                    continue            # nothing was taken away yet
                except OSError as error:
                    trouble = error
                first = first or trouble
        return first


def _note_of(above: Path, name: str) -> Path:
    return above / NOTES / f"{name}.json"


def _read_note(file: Path) -> str:
    with suppress(OSError, ValueError), file.open("rb") as opened:
        return opened.read(NOTE_AT_MOST).decode()
    return ""


def _write_note(above: Path, name: str, note: str) -> None:
    """Whole or not at all, and on the disk before the hook is started."""
    make_own_directory(above / NOTES, OWN_MODE)
    file = _note_of(above, name)
    new = file.with_suffix(".new")
    with new.open("w", encoding="utf-8") as opened:
        opened.write(note)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


def _open(above: Path, name: str, account: UserAccount, note: str) -> str:
    make_own_directory(above, ABOVE_MODE)
    own = above / name
    if note:
        _write_note(above, name, note)
    if not own.exists():
        make_directory(own, OWN_MODE)
        _prove_room(own)
    make_directory(own, OWN_MODE)
    give_to(own, account.change_to[:2] if account.change_to else None)
    return str(own)


def _prove_room(own: Path) -> None:
    """A directory can often still be made on a disk on which not a byte can be written."""
    proof = own / PROOF
    try:
        proof.write_bytes(bytes(ROOM_BYTES))
        proof.unlink()
    except OSError:
        with suppress(OSError):
            proof.unlink(missing_ok=True)
            own.rmdir()
        raise
