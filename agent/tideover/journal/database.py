"""The journal's SQLite file: tables, version, ways to open it; what is reported when it is damaged, full or read-only.

Each way to open it returns a connection, or raises OSError or what SQLite raises.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from tideover.errors import TideoverError, system_reason
from tideover.journal.migrations import MIGRATIONS
from tideover.journal.recording import RECORDING_TABLE

# --- Errors: which of them are the disk's, which the file's

class JournalUnwritable(TideoverError):
    """The journal could not take what was to be remembered: disk full, read-only, gone, locked."""


class JournalDamaged(JournalUnwritable):
    """The open file contradicts itself: another program has written into it. What is in memory is whole."""


class JournalUnreadable(TideoverError):
    """The journal's file is damaged, or a newer version's."""


DAMAGE = (sqlite3.DatabaseError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a damaged file raises: SQLite where a page is wrong, the rest where the page is right, its text not."""

STORAGE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
                     sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM})
"""Result codes (sqlite.org/rescode.html) that speak of the file system or of another process, not of the file."""

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_of_storage(trouble: Exception) -> bool:
    """Return whether it is the file system or another process that is in the way, not what the file says."""
    return isinstance(trouble, OSError) or _has_code(trouble, STORAGE)


def unopenable(path: Path, trouble: Exception) -> JournalUnwritable | JournalUnreadable:
    """Given a journal's path and why it could not be opened, return it as an error for people."""
    if is_of_storage(trouble):
        return JournalUnwritable(f"cannot open the journal {path}", _cause(trouble),
                                 "Check that its directory exists, is writable and has free space.")
    return unreadable(path, trouble)


def unwritable(path: Path, trouble: Exception) -> JournalUnwritable:
    """Given a journal's path and what went wrong, return it as an error for people."""
    kind = JournalDamaged if _has_code(trouble, DAMAGED) else JournalUnwritable
    return kind(f"cannot write the journal {path}", _cause(trouble),
                "Free disk space and make its directory writable.")


def unreadable(path: Path, trouble: Exception) -> JournalUnreadable:
    """Given a journal's path and what reading it raised, return it as an error for people."""
    return JournalUnreadable(f"cannot read the journal {path}", str(trouble),
                             "It is damaged or from a newer version; keep the file for analysis.")


def _has_code(trouble: Exception, codes: frozenset[int]) -> bool:
    code = getattr(trouble, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in codes       # the low byte is the primary code


def _cause(trouble: Exception) -> str:
    if isinstance(trouble, TideoverError):
        return trouble.cause
    return system_reason(trouble) if isinstance(trouble, OSError) else str(trouble)


# --- Files: names, identity, quarantine

FILE = "journal.db"
COMPANIONS = ("-wal", "-shm")

FileIdentity = tuple[int, int]      # device and number: a name can be given to another file, these cannot


def files_of(path: Path) -> list[Path]:
    """Given a journal's path, return where it and its companions lie, if they do: itself, its log, its index."""
    return [path, *(path.with_name(path.name + suffix) for suffix in COMPANIONS)]


def files_with_content(path: Path) -> list[Path]:
    """Given a journal's path, return where the files lie that hold what it says: itself and its log."""
    return files_of(path)[:2]


def identify(path: Path) -> dict[Path, FileIdentity]:
    """Given a journal's path, return which files it consists of now: itself and the log beside it."""
    found = {}
    for file in files_with_content(path):
        with contextlib.suppress(OSError):
            status = file.lstat()
            found[file] = (status.st_dev, status.st_ino)
    return found


def set_aside(path: Path, why: str) -> Path:
    """Given a journal that cannot be used, rename it and its companions; return the new name. Nothing is lost."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    for suffix in (*COMPANIONS, ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside


# --- The database

VERSION = 3
"""The format of what the rows say. Where a release renames a phase or a field, this goes up by one and `MIGRATIONS`
says how an older file is changed; fields that are only added need nothing (see `codec`)."""
BUSY_S = 2.0
"""A reader (status, history) may hold the file for a moment; longer than this, another program blocks it."""
SCRATCH = ("/dev/shm", "/run", "")
"""Where a copy may lie for a moment while it is read: in memory, if that can be; "": where temporary files lie."""

INCREMENTAL = 2             # as PRAGMA auto_vacuum reports it
VACUUM_ON_DEMAND = "PRAGMA auto_vacuum = INCREMENTAL"
"""Of a new file, or before it is rewritten: only then can free pages be given back later (`return_free_pages`)."""
PAGES_AT_ONCE = 1000
"""So many pages of 4 KiB are given back in one go: the engine's thread does it, in some milliseconds."""

TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hooks (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS entries (n INTEGER PRIMARY KEY, at TEXT NOT NULL, event_id TEXT NOT NULL,
                                    what TEXT NOT NULL, note TEXT NOT NULL, type TEXT, subject TEXT) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_event ON entries (event_id, n);
CREATE INDEX IF NOT EXISTS entries_by_type ON entries (type, n) WHERE type IS NOT NULL;
""" + RECORDING_TABLE


def open_to_write(path: Path) -> sqlite3.Connection:
    """Given its path, open or create it."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))     # SQLite opens what it may not write, and finds out late
    with _closed_unless_good(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
        _refuse_newer(db)
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages contradict each other")
        if db.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:      # it writes, also where nothing changes
            db.execute(VACUUM_ON_DEMAND)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-256")       # a quarter of a megabyte: the state is small and memory counts
        _bring_up_to_date(db)
        return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """Given the path of one that an agent may be writing, open it to read only."""
    name = quote(path.as_posix())
    with _closed_unless_good(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=BUSY_S,
                                             isolation_level=None)) as db:
        _refuse_newer(db)
        if db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return db
        copy = sqlite3.connect(":memory:", isolation_level=None)    # of an older format: changed in memory alone
        db.backup(copy)
        _bring_up_to_date(copy)
        db.close()
        return copy


def open_in_memory(path: Path) -> sqlite3.Connection:
    """Return a new one that has no file: whatever lies at the path is left alone."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(VACUUM_ON_DEMAND)
    db.executescript(TABLES)
    db.execute(f"PRAGMA user_version = {VERSION}")
    return db


def copy_into_memory(path: Path) -> sqlite3.Connection:
    """Given the path of one that cannot be opened where it lies, return what it says, its log included. Raise
    JournalUnwritable if there is no room to look.

    SQLite needs to make files beside a journal even to read it (sqlite.org/wal.html, read-only databases).
    """
    import tempfile

    memory = open_in_memory(path)
    if not path.exists():
        return memory
    for place in SCRATCH:
        try:
            with tempfile.TemporaryDirectory(prefix="tideover-", dir=place or None) as scratch:
                with closing(open_to_write(_copy(path, Path(scratch)))) as copy:
                    copy.backup(memory)
            return memory
        except (OSError, sqlite3.Error) as trouble:
            if not is_of_storage(trouble):
                raise
    raise JournalUnwritable(f"cannot read the journal {path}", "no space for a temporary copy",
                            "Free disk space.")


def _copy(path: Path, directory: Path) -> Path:
    for file in files_with_content(path):
        if file.exists():
            shutil.copyfile(file, directory / file.name)
    return directory / path.name


@contextmanager
def _closed_unless_good(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A damaged file is let go at once: as long as it is open, it cannot be renamed on Windows."""
    with ExitStack() as on_trouble:
        on_trouble.callback(db.close)
        yield db
        on_trouble.pop_all()


def checkpoint(db: sqlite3.Connection) -> bool:
    """Move what the write-ahead log holds into the file and empty the log, so that damage to the log loses nothing;
    return whether that could be done now. A reader in the way is not waited for. Raise sqlite3.Error."""
    timeout_ms = db.execute("PRAGMA busy_timeout").fetchone()[0]
    db.execute("PRAGMA busy_timeout = 0")
    try:
        return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
    finally:
        db.execute(f"PRAGMA busy_timeout = {timeout_ms}")


def return_free_pages(db: sqlite3.Connection) -> None:
    """Take free pages out of the file: after rows were removed, it would stay as large as it ever was. The file itself
    becomes smaller with the next checkpoint. Raise sqlite3.Error."""
    db.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE});")      # `execute` ends after the first page


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """Make what tables are missing, and of an older format this one. An empty file has no format yet."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.executescript(TABLES)
    if version == VERSION:          # each write of it is one to the disk
        return
    with Transaction(db):
        for older in range(version or VERSION, VERSION):
            MIGRATIONS[older](db)
        db.execute(f"PRAGMA user_version = {VERSION}")
    if version:
        _rewrite(db)


def _rewrite(db: sqlite3.Connection) -> None:
    """Rewrite the whole file, so that nothing of the older format is left in its free pages and in the log. Where
    there is no room for that, the journal is used as it is."""
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("VACUUM")
        checkpoint(db)


def _refuse_newer(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise sqlite3.DatabaseError(f"a newer version of tideover wrote it (format {version}, ours is {VERSION})")


class NotSynchronous:
    """Around a transaction that need not be on the disk when it ends: it is with the next one that must be."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("PRAGMA synchronous = NORMAL")

    def __exit__(self, *raised: object) -> None:
        self._db.execute("PRAGMA synchronous = FULL")


class Transaction:
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
