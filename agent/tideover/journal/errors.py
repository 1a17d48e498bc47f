"""What can be wrong with a journal, in words for people; and which of it is the disk's doing, which the file's."""
from __future__ import annotations

import sqlite3
from pathlib import Path

from tideover.errors import TideoverError


class JournalUnwritable(TideoverError):
    """The journal could not take what was to be remembered: disk full, read-only, gone, locked."""


class JournalDamaged(JournalUnwritable):
    """The open file contradicts itself: somebody or something has written into it. What is in memory is whole."""


class JournalUnreadable(TideoverError):
    """The journal's file is damaged, or a newer version's."""


DAMAGE = (sqlite3.DatabaseError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged file raises: SQLite where a page is wrong, the rest where the page is right, its text not."""

STORAGE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
                     sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM})
"""Result codes (sqlite.org/rescode.html) that speak of the file system or of another process, not of the file."""

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_of_storage(trouble: Exception) -> bool:
    """Return whether it is the file system or another process that is in the way, not what the file says."""
    return isinstance(trouble, OSError) or _says(trouble, STORAGE)


def unopenable(path: Path, trouble: Exception) -> JournalUnwritable | JournalUnreadable:
    """Given a journal's path and why it could not be opened, return it as an error for people."""
    if is_of_storage(trouble):
        return JournalUnwritable(f"cannot open the journal {path}", _cause(trouble),
                                 "Check that its directory exists, is writable and has room.")
    return unreadable(path, trouble)


def unwritable(path: Path, trouble: Exception) -> JournalUnwritable:
    """Given a journal's path and what went wrong, return it as an error for people."""
    kind = JournalDamaged if _says(trouble, DAMAGED) else JournalUnwritable
    return kind(f"cannot write the journal {path}", _cause(trouble),
                "Make room on the disk and make its directory writable.")


def unreadable(path: Path, trouble: Exception) -> JournalUnreadable:
    """Given a journal's path and what reading it raised, return it as an error for people."""
    return JournalUnreadable(f"cannot read the journal {path}", str(trouble),
                             "It is damaged, or a newer version's; keep the file for a look.")


def _says(trouble: Exception, codes: frozenset[int]) -> bool:
    code = getattr(trouble, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in codes       # the low byte is the primary code


def _cause(trouble: Exception) -> str:
    if isinstance(trouble, TideoverError):
        return trouble.cause
    return (trouble.strerror or str(trouble)).lower() if isinstance(trouble, OSError) else str(trouble)
