"""The agent: whether one runs, and whether anything is still owed to the applications."""
from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tideover.api.client import read_status
from tideover.doctor.findings import Finding, bad, good, note
from tideover.errors import UnreachableError
from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.settings import Settings
from tideover.status import recover_owed
from tideover.system.file_lock import read_holder
from tideover.system.rights import BECOME_MIGHTY, MIGHTY

START = f"tideover service start, or tideover run as {MIGHTY}."


def ask_agent(settings: Settings) -> dict[str, Any] | str:
    """Given the settings, return the agent's status, or why there is none."""
    try:
        return read_status(Path(settings.paths.socket), Path(settings.paths.state))
    except UnreachableError as trouble:
        return trouble.cause


def look_at_agent(settings: Settings, status: dict[str, Any] | str | None) -> list[Finding]:
    """Given the settings and the agent's status (text: why there is none; None: no answer in time), say how it is."""
    if isinstance(status, dict):
        pid = (status.get("agent") or {}).get("pid")
        owed = [str(name) for name in status.get("recover_owed") or ()]
        runs = [good("agent", f"it runs (process {pid})"), *_unwritable(status.get("journal"))]
        return [*runs, note("agent", f"recover is owed by {', '.join(owed)}: the agent sees to it",
                           "tideover status tells more.")] if owed else runs
    held = read_holder(Path(settings.paths.state))
    if held is not None:
        why = status or "nothing came in time"
        process = f"process {held.pid or 'unknown'}"
        return [bad("agent", f"{process} works on {settings.paths.state} and does not answer: {why}",
                    "tideover service stop, then tideover service start"), *_journal(settings, False)]
    if _is_hidden(settings):
        return [note("agent", f"this user may not see whether one works on {settings.paths.state}",
                     f"Run it once more {BECOME_MIGHTY}.")]
    return [note("agent", "none runs", START), *_journal(settings, True)]


def _unwritable(journal: object) -> list[Finding]:
    if not isinstance(journal, dict) or journal.get("writable") is not False:
        return []
    return [bad("journal", f"the agent can remember nothing, so it acknowledges nothing: {journal.get('reason')}",
                "Make room on the disk and make the state directory writable; the agent goes on by itself.")]


def _is_hidden(settings: Settings) -> bool:
    """Its lock and its journal are for its own user alone."""
    try:
        with (Path(settings.paths.state) / FILE).open("rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _journal(settings: Settings, is_ours_alone: bool) -> Iterator[Finding]:
    """Say what the journal of an agent that does not answer holds; `is_ours_alone`: no agent writes it now."""
    path = Path(settings.paths.state) / FILE
    try:
        if not os.path.lexists(path):
            return
        owed = _owed(path)
    except JournalUnwritable as trouble:
        yield bad("journal", f"{path} cannot be opened: {trouble.cause}", "Check its directory and the disk.")
        return
    except JournalUnreadable as trouble:
        yield bad("journal", f"{path} cannot be read: {trouble.cause}",
                  "Keep a copy of it for a look; the next agent sets it aside and begins a new one.")
        return
    yield good("journal", f"{path} can be read")
    if owed and is_ours_alone:
        yield bad("journal", f"recover is owed by {', '.join(owed)} and no agent runs",
                  "tideover recover runs it now, and so does the agent when it starts.")


def _owed(path: Path) -> list[str]:
    """A reader of a journal in WAL mode makes files beside it, unless it takes the file for one that never changes:
    that is right as long as nothing waits in the log beside it (sqlite.org/wal.html, read-only databases)."""
    log = path.with_name(path.name + "-wal")
    waits = os.path.lexists(log) and log.stat().st_size > 0
    journal = Journal.reading(path) if waits else Journal(path, _connect_to_look)
    try:
        return recover_owed(journal.load())
    finally:
        journal.close()


def _connect_to_look(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path.as_posix())}?mode=ro&immutable=1", uri=True, isolation_level=None)
