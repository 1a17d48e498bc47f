"""The agent's own journal: one that outlives its file.

A disk that is full or read-only at the start, a file that somebody removes or that gets damaged while the agent works:
the agent goes on from memory and puts the journal down again as soon as it can. Until then each commit raises, so that
nobody takes for remembered what is not.
"""
from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from tideover.journal.database import copy_into_memory, open_in_memory
from tideover.journal.errors import JournalDamaged, JournalUnreadable, JournalUnwritable, unwritable
from tideover.journal.files import Identity, files_of, identify, set_aside
from tideover.journal.store import Journal
from tideover.lifecycle import Entry, State
from tideover.model import Moment


class LastingJournal(Journal):
    """A journal whose file may come and go. Used by one thread, the engine's."""

    def __init__(self, path: Path, tell: Callable[[str, Path | None], None],
                 hold: Callable[[], None] = lambda: None) -> None:
        """Given its path, open it, or read it into memory where it cannot be written, or begin without it.

        `tell` is told why a file could not be used, and the name it was given (None: it could not be renamed).
        `hold` is called before a file is put down anew: it raises JournalUnwritable if the directory is another's now.
        Raise JournalUnwritable only where a journal lies that there is no way to read.
        """
        self._tell, self._hold = tell, hold
        self._opened: dict[Path, Identity] = {}  # the files in use; none: memory alone
        self._has_forgotten = False  # what was written before is not in memory: all is to be written anew
        self._is_stranger = ""  # why what lies at the path is not to be gone on with; "": it may be
        try:
            self._open(path)
        except JournalUnreadable as trouble:
            self._begin_without(trouble)
        except JournalUnwritable:
            self._read_into_memory(path)

    def commit(self, now: Moment, before: State, after: State, entries: Iterable[Entry]) -> None:
        """Write what changed between two states, and what the record says of it. Raise JournalUnwritable."""
        entries = tuple(entries)
        if not self._is_in_place():
            self._put_down("it was removed or replaced")
        try:
            super().commit(now, State() if self._has_forgotten else before, after, entries)
        except JournalDamaged as trouble:
            self._begin_anew("unreadable", trouble.cause)
            super().commit(now, State(), after, entries)
        self._has_forgotten = False

    def remember_vm(self, vm_id: str) -> None:
        super().remember_vm(vm_id)
        if not self._is_in_place():
            raise JournalUnwritable(f"cannot write the journal {self.path}", "there is no file to write to",
                                    "Make room on the disk and make its directory writable.")

    def begin_anew_for(self, why: str, reason: str) -> None:
        """What is written belongs to another VM: set it aside and begin with nothing."""
        with contextlib.suppress(JournalUnwritable):
            self._begin_anew(why, reason)

    # --- the file ---------------------------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        """Raise JournalUnreadable, JournalUnwritable."""
        super().__init__(path)
        self._prove_readable()
        self._opened = identify(path)

    def _read_into_memory(self, path: Path) -> None:
        try:
            super().__init__(path, copy_into_memory)
            self._prove_readable()
        except JournalUnreadable as trouble:
            self._begin_without(trouble)

    def _begin_without(self, trouble: JournalUnreadable) -> None:
        """What lies at the path cannot be gone on with. It is set aside, now or when that can be done."""
        super().__init__(self.path, open_in_memory)
        self._is_stranger = "unreadable"
        try:
            self._put_down(trouble.cause)
        except JournalUnwritable:
            self._tell(trouble.cause, None)

    def _prove_readable(self) -> None:
        try:
            self.load(), self.vm_id(), self.last_at()
        except JournalUnreadable:
            self.close()
            raise

    def _is_in_place(self) -> bool:
        """SQLite goes on writing to a file that has no name any more, and calls that a success."""
        return bool(self._opened) and identify(self.path) == self._opened

    def _put_down(self, reason: str) -> None:
        """Write all that is in memory into a file at the path. Raise JournalUnwritable."""
        held = self._db
        self._kept.clear()
        self._hold()
        self._is_stranger = self._is_stranger or ("replaced" if self._opened else "")
        self._opened = {}
        try:
            self._make_room(reason)
            super().__init__(self.path)
            held.backup(self._db)
            self._opened = identify(self.path)
        except JournalUnwritable:
            self._db = held
            raise
        except (OSError, sqlite3.Error, JournalUnreadable) as trouble:
            self._db = held
            self._is_stranger = "unreadable" if isinstance(trouble, JournalUnreadable) else self._is_stranger
            raise unwritable(self.path, trouble) from trouble
        held.close()

    def _make_room(self, reason: str) -> None:
        """Nothing of somebody else's that lies at the path is ever written over. Raise OSError."""
        self.path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self._is_stranger and any(file.exists() for file in files_of(self.path)):
            self._tell(reason, set_aside(self.path, self._is_stranger))
        self._is_stranger = ""

    def _begin_anew(self, why: str, reason: str) -> None:
        """Raise JournalUnwritable if there is only memory to begin in."""
        self.close()
        super().__init__(self.path, open_in_memory)
        self._opened, self._is_stranger, self._has_forgotten = {}, why, True
        self._put_down(reason)
