"""Migrations of a journal of an older version: which words of phases, stages and entries changed."""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

PHASES_2: Mapping[str, str] = MappingProxyType({
    "watching": "observed", "waiting": "scheduled", "asking": "acknowledging", "doubting": "unconfirmed",
    "underway": "started", "checking": "checking-clock", "lingering": "recovered",
})
"""Phases of format 2 that format 3 names otherwise. "holding" became two: "held" and "acknowledged"."""

ENTRIES_2: Mapping[str, str] = MappingProxyType({
    "acknowledged": "acknowledgement accepted", "started": "event started",
    "acknowledging": "manual acknowledgement", "left the list": "removed", "recover owed": "recovery failed",
    "clock followed": "clock convergence", "taken over": "vm changed",
    "events left out no more": "events no longer left out",
    "hook prepare cut short": "hook prepare interrupted", "hook recover cut short": "hook recover interrupted",
    **PHASES_2,
})
"""Words of entries of format 2 that format 3 names otherwise, in the order in which they are changed: some new names of
phases are old words for something else."""

STAGES_2: Mapping[str, str] = MappingProxyType({
    "retrying": "prepare-retry", "leaving": "recover-pending", "repeating": "recover-retry", "owed": "recover-failed",
})

CASE_FIELDS_2: Mapping[str, str] = MappingProxyType({
    "spelling": "current_id", "kept": "pending_pause", "away": "agent_was_down", "ask_attempt": "ack_attempts",
    "asked_for": "ack_resources",
})


def _remove_environment(db: sqlite3.Connection) -> None:
    """Format 2 adds an index, which the tables' definition makes, and fields with defaults. It keeps no values of a
    hook's `environment` table, which format 1 did: they may be secret."""
    db.execute("UPDATE hooks SET body = json_remove(body, '$.spec.environment') WHERE json_valid(body)")


def _rename_words(db: sqlite3.Connection) -> None:
    """Format 3 renames phases, stages, entries and fields. The entries' rows, a long history, are changed by SQLite
    alone."""
    for old, new in ENTRIES_2.items():
        db.execute("UPDATE entries SET what = ? WHERE what = ?", (new, old))
    db.execute("UPDATE entries SET what = CASE WHEN EXISTS (SELECT 1 FROM entries AS earlier WHERE "
               "earlier.event_id = entries.event_id AND earlier.n < entries.n "
               "AND earlier.what = 'acknowledgement accepted') THEN 'acknowledged' ELSE 'held' END "
               "WHERE what = 'holding'")
    _rewrite(db, "cases", "id", _case_of_2)
    _rewrite(db, "hooks", "name", _hook_of_2)


def _case_of_2(case: dict[str, Any]) -> dict[str, Any]:
    """Flags that excluded each other became one word each; "began" is what the event says."""
    is_acknowledged, is_refused = case.pop("acknowledged", False), case.pop("refused", False)
    by_operator, by_stop = case.pop("given_back", False), case.pop("stopped", False)
    held = "acknowledged" if is_acknowledged else "held"
    return {CASE_FIELDS_2.get(name, name): value for name, value in case.items()} | {
        "phase": held if case["phase"] == "holding" else PHASES_2.get(case["phase"], case["phase"]),
        "event": case["event"] | {"started": case.pop("began", False)},
        "ack": "accepted" if is_acknowledged else "refused" if is_refused else "open",
        "recovered_by": "service-stop" if by_stop else "operator" if by_operator else "event",
    }


def _hook_of_2(hook: dict[str, Any]) -> dict[str, Any]:
    """The same; a prepare from before the newest start of a recover no longer counts."""
    has_worked, is_unsafe = hook.pop("worked", False), hook.pop("unsafe", False)
    has_ended = hook["prepared_for"] > 0
    is_outdated, was_not_yet = hook.pop("recover_begun", False), hook.pop("in_turn", False)
    stage = STAGES_2.get(hook["stage"], hook["stage"])
    return hook | {
        "stage": "recover-not-yet" if stage == "recover-retry" and was_not_yet else stage,
        "prepared_for": 0 if is_outdated else hook["prepared_for"],
        "prepare_result": "worked" if has_worked else "unsafe" if is_unsafe else "failed" if has_ended else "none",
        "needs_recover": hook.pop("owed", False),
    }


def _rewrite(db: sqlite3.Connection, table: str, key: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for name, body in db.execute(f"SELECT {key}, body FROM {table}").fetchall():
        changed = json.dumps(change(json.loads(body)), separators=(",", ":"), ensure_ascii=False)
        db.execute(f"UPDATE {table} SET body = ? WHERE {key} = ?", (changed, name))


MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = MappingProxyType(
    {1: _remove_environment, 2: _rename_words})
"""For each older format, what makes the next one of it, in one transaction with all others that are due. Raise
sqlite3.Error, or ValueError, KeyError, TypeError, AttributeError where a damaged row cannot be read."""
