"""Makes small journals with an event open in each phase, by the code of whatever checkout it is run in.

Run in a checkout of an older commit, beside that commit's tests:
PYTHONPATH=tests:agent python make.py DIRECTORY (lives of what that commit did not know must be left out). What it makes is stored as SQL text, a file a phase; each begins with a
comment that names the hooks whose prepare was begun and not recovered when the journal was written.
"""
from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lives import DONE, FAILED, NOT_YET, Life, event, hook, started
from tideover.journal import Journal
from tideover.lifecycle import State
from tideover.observations import AckOutcome, ApplicationConnected, ApplicationGone, RecoverRequested, StopRequested
from tideover.policy import Policy

POLICY = Policy(hooks=(hook("first", 10), hook("second", 20)))
WITH_APPLICATION = replace(POLICY, hooks=(*POLICY.hooks, replace(hook("app", 30), path="", is_application=True)))
FREEZE = event()


def prepared() -> Life:
    return Life(POLICY).polled(FREEZE).settle().settle()


def paused() -> Life:
    return prepared().acknowledged().polled(started(FREEZE)).paused()


def connected() -> Life:
    """The hooks have prepared, and the application, which is connected, is being asked to."""
    life = Life(WITH_APPLICATION).see(ApplicationConnected("app", "one"))
    return life.polled(FREEZE).settle().settle()


LIVES: Mapping[str, Callable[[], Life]] = {
    "somebody-elses": lambda: Life(POLICY).polled(event(resources=("vm-2",))),
    "far-ahead": lambda: Life(POLICY).polled(event(notice_s=86400.0)),
    "first-prepares": lambda: Life(POLICY).polled(FREEZE),
    "second-not-yet": lambda: Life(POLICY).polled(FREEZE).settle(FAILED).settle(NOT_YET),
    "being-acknowledged": prepared,
    "answer-lost": lambda: prepared().acknowledged(AckOutcome.LOST),
    "acknowledged": lambda: prepared().acknowledged(),
    "started": lambda: prepared().acknowledged().polled(started(FREEZE)),
    "started-while-preparing": lambda: Life(POLICY).polled(FREEZE).polled(started(FREEZE)),
    "clock-checked": paused,
    "quiet-time": lambda: paused().judged(),
    "second-recovers": lambda: paused().judged().after(5.0),
    "first-recovers": lambda: paused().judged().after(5.0).settle(DONE),
    "recover-failed": lambda: paused().judged().after(5.0).settle(FAILED),
    "recovered-still-listed": lambda: paused().judged().after(5.0).settle().settle(),
    "held": lambda: Life(POLICY).polled(FREEZE).settle(FAILED).settle(DONE),
    "agent-was-down": lambda: prepared().acknowledged().restarted(),
    "pause-before-start": lambda: prepared().acknowledged().paused(),
    "recovered-by-hand": lambda: prepared().acknowledged().see(RecoverRequested()),
    "stopped-service": lambda: prepared().acknowledged().see(StopRequested()),
    "other-spelling": lambda: prepared().acknowledged().polled(replace(FREEZE, id="E1")),
    "application-prepares": connected,
    "application-prepared": lambda: connected().settle().acknowledged(),
    "application-away": lambda: connected().settle().acknowledged().see(ApplicationGone("app")).polled(started(FREEZE))
    .paused().judged().after(5.0).after(60.0),
    "only-observed": lambda: Life(replace(POLICY, observes=True)).polled(FREEZE),
    "cancelled": lambda: Life(POLICY).polled(FREEZE).settle().polled(),
}


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, live in LIVES.items():
        life = live()
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "journal.db"
            journal = Journal(path)
            journal.commit(life.now, State(), life.state, life.entries)
            journal.remember_vm("7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11")
            journal.close()
            db = sqlite3.connect(path)
            version = db.execute("PRAGMA user_version").fetchone()[0]
            begun = [run for run in life.begun_runs() if run.endswith("prepare")]
            done = {run.split()[0] for run in life.begun_runs() if run.endswith("recover")} - set(life.state.hooks)
            pending = sorted({run.split()[0] for run in begun} - done)
            phases = " ".join(case.phase.value for case in life.state.cases.values())
            text = "\n".join((f"-- pending: {' '.join(pending)}", f"-- phase: {phases}",
                              *db.iterdump(), f"PRAGMA user_version = {version};", ""))
            db.close()
        (directory / f"{name}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
