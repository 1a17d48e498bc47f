"""Writing and reading the journal: transactions, limits of rows, pruning (retention), queries of events
and pauses; a lost file."""
from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tideover.errors import WrongUseError
from tideover.journal.codec import from_json, read_moment, to_json
from tideover.journal.database import (
    BUSY_S,
    DAMAGE,
    FILE,
    FileIdentity,
    JournalDamaged,
    JournalUnreadable,
    JournalUnwritable,
    NotSynchronous,
    Transaction,
    checkpoint,
    copy_into_memory,
    files_of,
    identify,
    open_in_memory,
    open_to_read,
    open_to_write,
    return_free_pages,
    set_aside,
    unopenable,
    unreadable,
    unwritable,
)
from tideover.journal.recording import InputLog, recorded_rows
from tideover.lifecycle import Case, Entry, HookState, Phase, State
from tideover.lifecycle.replay import Decision
from tideover.model import ClockCheck, EntryKind, Event, HookRun, Moment, Outcome, Pause
from tideover.record import Row
from tideover.settings import Settings
from tideover.text_safety import encodable

COUNTED_AT_MOST = 256       # events whose rows are counted in memory
STILL_BUSY_MS = 50
"""Once a transaction has waited in vain, each further try waits no longer than this: news of hooks and polls must not
queue behind the journal."""

ROWS_AT_MOST, TEXT_AT_MOST = 1000, 2 * 1024 * 1024
"""So many rows, and so many characters of them, are kept of one event. A platform that moves NotBefore with each poll,
or a hook that says "not yet" for an hour, writes on: from there on a new row takes the place of the oldest one that
says the like. The first row of an event stays."""

PRUNED_AT_ONCE = 50
"""So many events go at most in one pass: a clock that is wrong all the same loses no history at once."""

PAGE_ROWS = 1000            # of a long list, read at once

SUBJECTS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Event, HookRun, Pause, ClockCheck)}
PHASE_ROW = "Phase"
"""The type of a row about a case's new phase, for some phases and some other entries have the same word. Its subject is
the outcome, where the phase is `closed`."""
PHASE_WORDS = frozenset(phase.value for phase in Phase)


class Journal:
    """An open journal. Used by one thread."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection] | None = None) -> None:
        """Given its path, open or create it. Raise JournalUnreadable if it holds something we cannot read, and
        JournalUnwritable if the file system does not let us."""
        self.path = path
        self._timeout_ms = round(BUSY_S * 1000)
        self._kept: dict[str, tuple[int, int]] = {}     # rows and characters of the events written to lately
        try:
            self._db = (connect or open_to_write)(path)
        except (OSError, *DAMAGE) as trouble:
            raise unopenable(path, trouble) from trouble
        self._recording = InputLog()

    @classmethod
    def reading(cls, path: Path) -> Journal:
        """Given the path of a journal that an agent may be writing, open it to read only. Raise the same errors."""
        return cls(path, open_to_read)

    def close(self) -> None:
        self._db.close()

    # --- writing ------------------------------------------------------------------------------------------------

    def commit(self, now: Moment, before: State, after: State, entries: Iterable[Entry]) -> None:
        """Write what changed between two states, and what the record says of it, in one transaction."""
        try:
            self._commit(now, before, after, entries)
        except sqlite3.Error as trouble:
            self._kept.clear()
            self._recording.interrupt()
            self._be_patient(STILL_BUSY_MS)
            raise unwritable(self.path, trouble) from trouble
        self._be_patient(round(BUSY_S * 1000))

    def _commit(self, now: Moment, before: State, after: State, entries: Iterable[Entry]) -> None:
        with Transaction(self._db):
            for entry in entries:
                self._add(_entry_row(now.utc, entry))
            self._write_changes("cases", "id", before.cases, after.cases)
            self._write_changes("hooks", "name", before.hooks, after.hooks)
            self._set("state", to_json(replace(after, cases={}, hooks={})))
            self._set("last_at", now.utc.isoformat())

    def record_step(self, before: State, after: State, decision: Decision) -> None:
        """Write a step that was committed into the recording. Nothing depends on it, so it comes after what the step
        asks for was begun, and reaches the disk with the next commit. Where that fails, the next commit says why."""
        try:
            with NotSynchronous(self._db), Transaction(self._db):
                self._recording.add(self._db, before, after, decision)
        except sqlite3.Error:
            self._recording.interrupt()

    def _add(self, row: tuple[str, str, str, str, str | None, str | None]) -> None:
        """Write one row, in the place of older ones that say the like where its event has too many."""
        _, event_id, what, note, _, subject = row
        size = len(note) + len(subject or "")
        if event_id:
            rows, text = self._count(event_id)
            while rows >= ROWS_AT_MOST or (rows and text + size > TEXT_AT_MOST):
                removed = self._remove_alike(event_id, what, note)
                if removed is None:
                    break
                rows, text = rows - 1, text - removed
            self._kept[event_id] = (rows + 1, text + size)
        self._db.execute("INSERT INTO entries (at, event_id, what, note, type, subject) VALUES (?, ?, ?, ?, ?, ?)", row)

    def _count(self, event_id: str) -> tuple[int, int]:
        if event_id not in self._kept:
            if len(self._kept) >= COUNTED_AT_MOST:
                self._kept.clear()
            self._kept[event_id] = self._db.execute(
                "SELECT count(*), coalesce(sum(length(note) + coalesce(length(subject), 0)), 0) FROM entries "
                "WHERE event_id = ?", (encodable(event_id),)).fetchone()
        return self._kept[event_id]

    def _remove_alike(self, event_id: str, what: str, note: str) -> int | None:
        """Remove the event's oldest row of these words, or at least of this kind, but not its first of all; return how
        many characters went, None if there is no such row."""
        found = self._db.execute(
            "SELECT n, length(note) + coalesce(length(subject), 0) FROM entries WHERE event_id = :event_id "
            "AND what = :what AND n > (SELECT min(n) FROM entries WHERE event_id = :event_id) "
            "ORDER BY note <> :note, n LIMIT 1", {"event_id": event_id, "what": what, "note": note}).fetchone()
        if found is None:
            return None
        self._db.execute("DELETE FROM entries WHERE n = ?", found[:1])
        return int(found[1])

    def checkpoint(self) -> bool:
        """Move what was written from the write-ahead log into the file; return whether that could be done now."""
        try:
            return checkpoint(self._db)
        except sqlite3.Error:
            return False            # what is wrong, the next commit tells

    def _be_patient(self, milliseconds: int) -> None:
        if milliseconds != self._timeout_ms:
            self._timeout_ms = milliseconds
            self._db.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _write_changes(self, table: str, key: str, before: Any, after: Any) -> None:
        gone = [(encodable(name),) for name in before if name not in after]
        changed = [(encodable(name), to_json(value)) for name, value in after.items() if before.get(name) != value]
        self._db.executemany(f"DELETE FROM {table} WHERE {key} = ?", gone)
        self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", changed)

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, encodable(value)))

    def remember_vm(self, vm_id: str) -> None:
        """Write down whose journal this is."""
        try:
            self._set("vm_id", vm_id)
        except sqlite3.Error as trouble:
            raise unwritable(self.path, trouble) from trouble

    def forget_before(self, now: Moment, keep_s: float) -> int:
        """Remove the rows of the oldest events that ended longer ago than `keep_s`, and never many at once; return how
        many rows went. Only for a clock that time servers have confirmed."""
        limit = (now.utc - timedelta(seconds=keep_s)).isoformat()
        self._kept.clear()
        try:
            removed = self._db.execute(
                "DELETE FROM entries WHERE n IN ("
                "SELECT n FROM (SELECT n FROM entries WHERE event_id = '' AND at < :limit ORDER BY n LIMIT :most) "
                "UNION SELECT n FROM entries WHERE event_id IN ("
                "SELECT event_id FROM entries WHERE event_id <> '' AND event_id NOT IN (SELECT id FROM cases) "
                "GROUP BY event_id HAVING max(at) < :limit ORDER BY max(n) LIMIT :most))",
                {"limit": limit, "most": PRUNED_AT_ONCE}).rowcount
            return_free_pages(self._db)
        except sqlite3.Error as trouble:
            raise unwritable(self.path, trouble) from trouble
        if removed:
            self.checkpoint()
        return removed

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
            raise unreadable(self.path, trouble) from trouble
        return replace(state, cases=MappingProxyType(cases), hooks=MappingProxyType(hooks))

    def vm_id(self) -> str:
        """Return whose journal this is, "" for none. Raise JournalUnreadable."""
        try:
            return self._about("vm_id")
        except DAMAGE as trouble:
            raise unreadable(self.path, trouble) from trouble

    def last_at(self) -> datetime | None:
        """When the newest transaction was written, by the wall clock; None for a new journal. Raise
        JournalUnreadable."""
        try:
            text = self._about("last_at")
            return read_moment(text) if text else None
        except DAMAGE as trouble:
            raise unreadable(self.path, trouble) from trouble

    def rows(self, event_id: str | None = None) -> list[Row]:
        """Return the record's rows in order, of one event or of all. Raise JournalUnreadable if they are damaged."""
        if event_id is None:
            return self._rows("ORDER BY n", ())
        return self._rows("WHERE event_id = ? ORDER BY n", (encodable(event_id),))

    def newest_rows(self, limit: int = 500) -> list[Row]:
        """Return the newest rows, oldest first, and before them what is older of the newest pause, the newest clock
        check and the open events: all that a status is made of, however long the history is."""
        return self._rows(
            "WHERE n IN (SELECT n FROM (SELECT n FROM entries ORDER BY n DESC LIMIT ?) "
            "UNION SELECT max(n) FROM entries WHERE type = 'Pause' "
            "UNION SELECT max(n) FROM entries WHERE type = 'ClockCheck' "
            "UNION SELECT max(n) FROM entries WHERE event_id IN (SELECT id FROM cases) GROUP BY event_id, what"
            ") ORDER BY n", (limit,))

    def rows_of_newest_events(self, limit: int) -> list[Row]:
        """Return the rows of the events that were written to last, in order. Raise JournalUnreadable."""
        return self._rows("WHERE event_id IN (SELECT event_id FROM entries WHERE event_id <> '' GROUP BY event_id "
                          "ORDER BY max(n) DESC LIMIT ?) ORDER BY n", (limit,))

    def rows_of_pauses(self, which: str = "") -> Iterator[Row]:
        """Yield the rows that speak of a pause, in order. They are read a page at a time, so that a reader who takes
        long (a pager) does not keep the agent from shortening its write-ahead log. `which`: a further condition. Raise
        JournalUnreadable."""
        last = 0
        while True:
            try:
                page = self._db.execute("SELECT n, at, event_id, what, note, type, subject FROM entries "
                                        f"WHERE type = 'Pause' AND n > ? {which} ORDER BY n LIMIT ?",
                                        (last, PAGE_ROWS)).fetchall()
                rows = [_row(*columns) for _, *columns in page]
            except DAMAGE as trouble:
                raise unreadable(self.path, trouble) from trouble
            yield from rows
            if len(page) < PAGE_ROWS:
                return
            last = page[-1][0]

    def rows_of_pauses_of_events(self) -> Iterator[Row]:
        """Yield those of them that belong to an event. Raise JournalUnreadable."""
        return self.rows_of_pauses("AND event_id <> ''")

    def rows_of_evidence_of_pauses(self) -> Iterator[Row]:
        """Yield those of them that say what became known of a pause later. Raise JournalUnreadable."""
        return self.rows_of_pauses(f"AND what = '{EntryKind.PAUSE_EVIDENCE.value}'")

    def rows_of_events(self) -> Iterator[Row]:
        """Yield the rows that belong to an event, in order, one at a time. Raise JournalUnreadable."""
        return self._each_row("WHERE event_id <> '' ORDER BY n", ())

    def recording(self) -> list[tuple[int, int, str]]:
        """Return the recording's rows in order (see `recording`). Raise JournalUnreadable."""
        try:
            return list(recorded_rows(self._db))
        except DAMAGE as trouble:
            raise unreadable(self.path, trouble) from trouble

    def _rows(self, which: str, values: tuple[object, ...]) -> list[Row]:
        return list(self._each_row(which, values))

    def _each_row(self, which: str, values: tuple[object, ...]) -> Iterator[Row]:
        try:
            found = self._db.execute(f"SELECT at, event_id, what, note, type, subject FROM entries {which}", values)
            for columns in found:
                yield _row(*columns)
        except DAMAGE as trouble:
            raise unreadable(self.path, trouble) from trouble

    def _read(self, query: str, kind: type[Any]) -> dict[str, Any]:
        return {key: from_json(kind, body) for key, body in self._db.execute(query)}

    def _about(self, key: str) -> str:
        found = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else ""


def _entry_row(at: datetime, entry: Entry) -> tuple[str, str, str, str, str | None, str | None]:
    subject = entry.subject
    is_phase = isinstance(entry.what, Phase)
    kind = PHASE_ROW if is_phase else None if subject is None else type(subject).__name__
    return (at.isoformat(), encodable(entry.event_id), entry.what.value, encodable(entry.note), kind,
            None if subject is None else to_json(subject))


def _row(at: str, event_id: str, what: str, note: str, kind: str | None, subject: str | None) -> Row:
    is_phase = kind == PHASE_ROW or (kind not in SUBJECTS and what in PHASE_WORDS)     # an older row does not say
    what_it_is = Phase(what) if is_phase else EntryKind(what)
    noun = from_json(Outcome if is_phase else SUBJECTS[kind], subject) if kind and subject else None
    return Row(read_moment(at), event_id, what_it_is, note, noun)


# --- The agent's journal: one that outlives its file
# A disk that is full or read-only at the start, a file that is removed or that gets damaged while the agent
# works:
# the agent goes on from memory and puts the journal down again as soon as it can. Until then each commit raises, so
# that
# nothing counts as written that is not.

class LastingJournal(Journal):
    """A journal whose file may come and go. Used by one thread, the engine's."""

    def __init__(self, path: Path, report: Callable[[str, Path | None], None],
                 hold: Callable[[], None] = lambda: None) -> None:
        """Given its path, open it, or read it into memory where it cannot be written, or begin without it.

        `report` is called with the reason why a file could not be used, and its new name (None: it was not renamed).
        `hold` is called before a file is created again: it raises JournalUnwritable if the directory is another's now.
        Raise JournalUnwritable only where a journal lies that there is no way to read.
        """
        self._report, self._hold = report, hold
        self._opened: dict[Path, FileIdentity] = {}  # the files in use; none: memory alone
        self._has_forgotten = False  # what was written before is not in memory: all is to be written again
        self._why_replaced = ""  # why what lies at the path is not to be gone on with; "": it may be
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
            self._start_new("unreadable", trouble.cause)
            super().commit(now, State(), after, entries)
        self._has_forgotten = False

    def remember_vm(self, vm_id: str) -> None:
        super().remember_vm(vm_id)
        if not self._is_in_place():
            raise JournalUnwritable(f"cannot write the journal {self.path}", "there is no file to write to",
                                    "Free disk space and make its directory writable.")

    def start_new_for(self, why: str, reason: str) -> None:
        """What is written belongs to another VM: set it aside and begin with nothing."""
        with contextlib.suppress(JournalUnwritable):
            self._start_new(why, reason)

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
        self._why_replaced = "unreadable"
        try:
            self._put_down(trouble.cause)
        except JournalUnwritable:
            self._report(trouble.cause, None)

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
        self._why_replaced = self._why_replaced or ("replaced" if self._opened else "")
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
            self._why_replaced = "unreadable" if isinstance(trouble, JournalUnreadable) else self._why_replaced
            raise unwritable(self.path, trouble) from trouble
        held.close()

    def _make_room(self, reason: str) -> None:
        """A file of another program at the path is never overwritten. Raise OSError."""
        self.path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self._why_replaced and any(file.exists() for file in files_of(self.path)):
            self._report(reason, set_aside(self.path, self._why_replaced))
        self._why_replaced = ""

    def _start_new(self, why: str, reason: str) -> None:
        """Raise JournalUnwritable if there is only memory to begin in."""
        self.close()
        super().__init__(self.path, open_in_memory)
        self._opened, self._why_replaced, self._has_forgotten = {}, why, True
        self._put_down(reason)


# --- Reading for the commands that report, with or without a running agent

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
