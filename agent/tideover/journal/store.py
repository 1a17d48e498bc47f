"""The journal's file: SQLite, written before anything is done, read after anything has happened.

One transaction holds the rows of the record and the state they led to. It decides nothing, and it never overwrites
what it cannot read: such a file is set aside under another name and said so.
"""
from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from tideover.errors import TideoverError
from tideover.journal.codec import from_json, read_moment, to_json
from tideover.lifecycle import Case, Entry, HookState, State
from tideover.model import ClockCheck, Event, HookRun, Moment, Pause
from tideover.record import Row

FILE = "journal.db"
VERSION = 1
BUSY_S = 2.0
"""A reader (status, history) may hold the file for a moment; longer than this somebody sits on it."""
STILL_BUSY_MS = 50
"""… and then each further try waits no longer than this: news of hooks and polls must not queue behind the journal."""
COMPANIONS = ("-wal", "-shm")

SUBJECTS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Event, HookRun, Pause, ClockCheck)}

TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hooks (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS entries (n INTEGER PRIMARY KEY, at TEXT NOT NULL, event_id TEXT NOT NULL,
                                    what TEXT NOT NULL, note TEXT NOT NULL, type TEXT, subject TEXT) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_event ON entries (event_id, n);
"""


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


def _says(trouble: Exception, codes: frozenset[int]) -> bool:
    code = getattr(trouble, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in codes       # the low byte is the primary code


def unwritable(path: Path, trouble: Exception) -> JournalUnwritable:
    """Given a journal's path and what went wrong, return it as an error for people."""
    kind = JournalDamaged if _says(trouble, DAMAGED) else JournalUnwritable
    return kind(f"cannot write the journal {path}", _cause(trouble),
                "Make room on the disk and make its directory writable.")


def _cause(trouble: Exception) -> str:
    if isinstance(trouble, TideoverError):
        return trouble.cause
    return (trouble.strerror or str(trouble)).lower() if isinstance(trouble, OSError) else str(trouble)


def _unreadable(path: Path, trouble: Exception) -> JournalUnreadable:
    return JournalUnreadable(f"cannot read the journal {path}", str(trouble),
                             "It is damaged, or a newer version's; keep the file for a look.")


class Journal:
    """An open journal. Used by one thread."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection] | None = None) -> None:
        """Given its path, open or create it. Raise JournalUnreadable if it holds something we cannot read, and
        JournalUnwritable if the file system does not let us."""
        self.path = path
        self._patience_ms = round(BUSY_S * 1000)
        try:
            self._db = (connect or _connect)(path)
        except (OSError, *DAMAGE) as trouble:
            if isinstance(trouble, OSError) or _says(trouble, STORAGE):
                raise JournalUnwritable(f"cannot open the journal {path}", _cause(trouble),
                                        "Check that its directory exists, is writable and has room.") from trouble
            raise _unreadable(path, trouble) from trouble

    @classmethod
    def reading(cls, path: Path) -> Journal:
        """Given the path of a journal that an agent may be writing, open it to read only. Raise the same errors."""
        return cls(path, _connect_to_read)

    def close(self) -> None:
        self._db.close()

    # --- writing ------------------------------------------------------------------------------------------------

    def commit(self, now: Moment, before: State, after: State, entries: Iterable[Entry]) -> None:
        """Write what changed between two states, and what the record says of it, in one transaction."""
        try:
            self._commit(now, before, after, entries)
        except sqlite3.Error as trouble:
            self._be_patient(STILL_BUSY_MS)
            raise unwritable(self.path, trouble) from trouble
        self._be_patient(round(BUSY_S * 1000))

    def _commit(self, now: Moment, before: State, after: State, entries: Iterable[Entry]) -> None:
        with _transaction(self._db):
            self._db.executemany(
                "INSERT INTO entries (at, event_id, what, note, type, subject) VALUES (?, ?, ?, ?, ?, ?)",
                [_entry_row(now.utc, entry) for entry in entries])
            self._write_changes("cases", "id", before.cases, after.cases)
            self._write_changes("hooks", "name", before.hooks, after.hooks)
            self._set("state", to_json(replace(after, cases={}, hooks={})))
            self._set("last_at", now.utc.isoformat())

    def _be_patient(self, milliseconds: int) -> None:
        if milliseconds != self._patience_ms:
            self._patience_ms = milliseconds
            self._db.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _write_changes(self, table: str, key: str, before: Any, after: Any) -> None:
        gone = [(name,) for name in before if name not in after]
        changed = [(name, to_json(value)) for name, value in after.items() if before.get(name) != value]
        self._db.executemany(f"DELETE FROM {table} WHERE {key} = ?", gone)
        self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", changed)

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    def remember_vm(self, vm_id: str) -> None:
        """Write down whose journal this is."""
        try:
            self._set("vm_id", vm_id)
        except sqlite3.Error as trouble:
            raise unwritable(self.path, trouble) from trouble

    def forget_before(self, now: Moment, keep_s: float) -> int:
        """Remove the rows of events that ended longer ago than `keep_s`; return how many rows went."""
        limit = (now.utc - timedelta(seconds=keep_s)).isoformat()
        try:
            return self._db.execute(
                "DELETE FROM entries WHERE event_id NOT IN (SELECT id FROM cases) AND n IN ("
                "SELECT n FROM entries WHERE event_id = '' AND at < :limit "
                "UNION SELECT n FROM entries WHERE event_id IN ("
                "SELECT event_id FROM entries WHERE event_id <> '' GROUP BY event_id HAVING max(at) < :limit))",
                {"limit": limit}).rowcount
        except sqlite3.Error as trouble:
            raise unwritable(self.path, trouble) from trouble

    # --- reading ------------------------------------------------------------------------------------------------

    def load(self) -> State:
        """Return the state as it was last written. Raise JournalUnreadable if its rows make no state."""
        try:
            text = self._about("state")
            state: State = from_json(State, text) if text else State()
            cases = self._read("SELECT id, body FROM cases ORDER BY rowid", Case)
            hooks = self._read("SELECT name, body FROM hooks ORDER BY rowid", HookState)
            if any(key != case.id for key, case in cases.items()):
                raise ValueError("a case has another event's name")
            if any(key != hook.spec.name for key, hook in hooks.items()):
                raise ValueError("a hook has another one's name")
        except DAMAGE as trouble:
            raise _unreadable(self.path, trouble) from trouble
        return replace(state, cases=MappingProxyType(cases), hooks=MappingProxyType(hooks))

    def vm_id(self) -> str:
        """Return whose journal this is, "" for nobody's. Raise JournalUnreadable."""
        try:
            return self._about("vm_id")
        except DAMAGE as trouble:
            raise _unreadable(self.path, trouble) from trouble

    def last_at(self) -> datetime | None:
        """When the newest transaction was written, by the wall clock; None for a new journal. Raise
        JournalUnreadable."""
        try:
            text = self._about("last_at")
            return read_moment(text) if text else None
        except DAMAGE as trouble:
            raise _unreadable(self.path, trouble) from trouble

    def rows(self, event_id: str | None = None) -> list[Row]:
        """Return the record's rows in order, of one event or of all. Raise JournalUnreadable if they are damaged."""
        if event_id is None:
            return self._rows("ORDER BY n", ())
        return self._rows("WHERE event_id = ? ORDER BY n", (event_id,))

    def newest_rows(self, limit: int = 500) -> list[Row]:
        """Return the newest rows, oldest first: enough for what was noticed last."""
        return self._rows("ORDER BY n DESC LIMIT ?", (limit,))[::-1]

    def _rows(self, which: str, values: tuple[object, ...]) -> list[Row]:
        try:
            found = self._db.execute(f"SELECT at, event_id, what, note, type, subject FROM entries {which}", values)
            return [_row(*columns) for columns in found]
        except DAMAGE as trouble:
            raise _unreadable(self.path, trouble) from trouble

    def _read(self, query: str, kind: type[Any]) -> dict[str, Any]:
        return {key: from_json(kind, body) for key, body in self._db.execute(query)}

    def _about(self, key: str) -> str:
        found = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else ""


def set_aside(path: Path, why: str) -> Path:
    """Given a journal that cannot be used, rename it and its companions; return the new name. Nothing is lost."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    for suffix in (*COMPANIONS, ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))     # SQLite opens what it may not write, and finds out late
    with _closed_unless_good(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
        _refuse_newer(db)
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages contradict each other")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-256")       # a quarter of a megabyte: the state is small and memory counts
        db.executescript(TABLES)
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:     # each write of it is one to the disk
            db.execute(f"PRAGMA user_version = {VERSION}")
        return db


def _connect_to_read(path: Path) -> sqlite3.Connection:
    name = quote(path.as_posix())
    with _closed_unless_good(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=BUSY_S,
                                             isolation_level=None)) as db:
        _refuse_newer(db)
        return db


@contextmanager
def _closed_unless_good(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A damaged file is let go at once: as long as it is open, Windows lets nobody set it aside."""
    with ExitStack() as on_trouble:
        on_trouble.callback(db.close)
        yield db
        on_trouble.pop_all()


def _refuse_newer(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise sqlite3.DatabaseError(f"a newer version of tideover wrote it (format {version}, ours is {VERSION})")


class _transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when anything goes wrong."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _entry_row(at: datetime, entry: Entry) -> tuple[str, str, str, str, str | None, str | None]:
    subject = entry.subject
    kind = None if subject is None else type(subject).__name__
    return (at.isoformat(), entry.event_id, entry.what, entry.note, kind, None if kind is None else to_json(subject))


def _row(at: str, event_id: str, what: str, note: str, kind: str | None, subject: str | None) -> Row:
    noun = from_json(SUBJECTS.get(kind, str), subject) if kind and subject else None
    return Row(read_moment(at), event_id, what, note, noun)
