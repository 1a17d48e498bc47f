"""The points of an agent's life: wherever it has just written, or just acted. Each has a name, passes into a file, and
may be the one at which something befalls the process. Wired in by the launcher; the product knows nothing of it."""
from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from faults.played_time import PlayedTime, real_s
from tideover import effects as fx, observations as ob
from tideover.daemon import main, startup
from tideover.daemon.agent import Agent
from tideover.fleet.etcd import EtcdStore
from tideover.hooks import runner
from tideover.hooks.orphans import RunFiles
from tideover.hooks.state_directory import StateDirectories
from tideover.journal import LastingJournal, store
from tideover.lifecycle import Entry, Stage
from tideover.model import Cause, HookRun, Pause

CLOCK_STEP = "(the clock was set)"
BEGUN = "== the journal says that this has begun:"

RUN_NUMBER = re.compile(r"(?<=:)\d{9,}(?=:|$)")
RIGHT_AFTER_S = 1.2         # what is put right again, is so after this


def _set_wall(points: Points, seconds: float, *, for_good: bool) -> None:
    points.time.set_wall(seconds)
    if not for_good:
        timer = threading.Timer(RIGHT_AFTER_S, _put_right, (points,))
        timer.daemon = True
        timer.start()


def _put_right(points: Points) -> None:
    points.time.set_wall(0.0)
    points.remark([f"-- right {real_s():.6f}"])


STORE_REQUESTS = {"/v3/kv/txn": "store write", "/v3/kv/range": "", "/v3/maintenance/status": ""}

DAY_S = 86_400.0
BEFALLS: dict[str, Callable[[Points], None]] = {
    "death": lambda points: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda points: os.kill(os.getpid(), signal.SIGSTOP),
    "a day back": lambda points: _set_wall(points, -DAY_S, for_good=False),
    "a day ahead": lambda points: _set_wall(points, DAY_S, for_good=False),
    "a day back for good": lambda points: _set_wall(points, -DAY_S, for_good=True),
    "a day ahead for good": lambda points: _set_wall(points, DAY_S, for_good=True),
    "a leap second": lambda points: points.time.leap(-1.0),
    "a leap second left out": lambda points: points.time.leap(1.0),
}


class Points:
    """Writes down each point as it is passed. `at`: where `befall` is done: a point's name, or
    how many this process has passed by then; "": nowhere."""

    def __init__(self, file: Path, boot: int, at: str, befall: str, played: PlayedTime) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._boot, self._at, self._befall, self.time = boot, at, befall, played
        self._first_run = file.with_name(f"{file.name}.first-run")
        self._seen: Counter[str] = Counter()
        self._passed = 0
        self.lock = threading.RLock()

    def _same_in_every_life(self, name: str) -> str:
        """The first run's number is the second at which the journal was made: runs are counted from there."""
        return RUN_NUMBER.sub(lambda found: str(int(found[0]) - self._before_first_run(int(found[0]))), name)

    def _before_first_run(self, number: int) -> int:
        if not self._first_run.exists():
            self._first_run.write_text(str(number - 1))
        return int(self._first_run.read_text())

    def passing(self, name: str) -> None:
        with self.lock:
            name = self._same_in_every_life(name)
            self._seen[name] += 1
            again = f" ({self._seen[name]})" if self._seen[name] > 1 else ""
            full = f"{self._boot}/{name}{again}"
            os.write(self._file, f"{full}\n".encode())
            self._passed += 1
            if self._at in (full, str(self._passed)):
                self.remark([f"-- {self._befall} {real_s():.6f}"])
                BEFALLS[self._befall](self)

    def remark(self, lines: list[str]) -> None:
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())


POINTS: Points


class PointedDatabase:
    """A connection that passes a point before, within and after each transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self.about = db, ""
        self.begun: list[str] = []

    def execute(self, sql: str, *values: Any) -> Any:
        word = sql.split()[0]
        if word == "COMMIT":
            POINTS.passing(f"{self.about}: written, not committed")
            with POINTS.lock:           # no point of another thread lies between a commit and what is remarked of it
                done = self._db.execute(sql, *values)
                POINTS.remark(self.begun)
                POINTS.passing(f"{self.about}: committed")
            return done
        done = self._db.execute(sql, *values)
        if word == "BEGIN":
            POINTS.passing(f"{self.about}: begun")
        elif word == "DELETE" or (word == "INSERT" and not self._db.in_transaction):
            POINTS.passing(f"alone: {word.lower()}")
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


class PointedJournal(LastingJournal):
    def commit(self, now: Any, before: Any, after: Any, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self._db.about = "commit " + (", ".join(map(_words, entries)) or "state")   # type: ignore[attr-defined]
        begun = [(name, "recover" if hook.stage is Stage.RECOVERING else "prepare") for name, hook in after.hooks.items()
                 if hook.run and (name not in before.hooks or before.hooks[name].run != hook.run)]
        self._db.begun = [f"{BEGUN} {name} {phase}" for name, phase in begun]       # type: ignore[attr-defined]
        super().commit(now, before, after, entries)

    def record_step(self, before: Any, after: Any, decision: Any) -> None:
        """Nothing depends on the recording, and the newest steps of it may be lost: no point is passed in it."""
        pointed, self._db = self._db, self._db._db      # type: ignore[attr-defined]
        try:
            super().record_step(before, after, decision)
        finally:
            self._db = pointed


def _words(entry: Entry) -> str:
    match entry.subject:
        case HookRun(name, _, _, report):
            more = f" {name} {report.outcome.value}"
        case Pause() as pause if pause.cause is Cause.CLOCK_STEP:
            more = f" {CLOCK_STEP}"
        case _:
            more = ""
    return f"{entry.event_id[:2]} {entry.what.value}{more}"


class PointedHand:
    def __init__(self, hand: Any) -> None:
        self._hand = hand

    def start(self, effect: Any) -> None:
        POINTS.passing(f"start {effect.key}: not yet")
        self._hand.start(effect)
        POINTS.passing(f"start {effect.key}: done")

    def cancel(self, effect: Any) -> None:
        self._hand.cancel(effect)
        if not isinstance(effect, fx.WatchClosely):
            POINTS.passing(f"call off {effect.key}: done")

    def adjust(self, effect: Any) -> None:
        self._hand.adjust(effect)


class PointedAgent(Agent):
    def _effect_handlers(self) -> Any:
        return {kind: hand if kind is fx.WatchClosely else PointedHand(hand) for kind, hand in super()._effect_handlers().items()}

    def post(self, seen: ob.Observation) -> None:
        match seen:
            case ob.HookSettled(name, phase, run, report):
                POINTS.passing(f"ended hook:{name}:{phase.value}:{run}: {report.outcome.value}, not told")
            case ob.AckSettled(event_id, attempt_, outcome):
                POINTS.passing(f"acknowledged {event_id}:{attempt_}: {outcome.value}, not told")
            case ob.ClockJudged(event_id, round_):
                POINTS.passing(f"judged {event_id}:{round_}: not told")
            case ob.Resumed():
                POINTS.passing("resumed: not told")
        super().post(seen)


def wire(points: Points) -> None:
    """Let the agent that this process will be pass its points."""
    global POINTS
    POINTS = points
    open_to_write = store.open_to_write
    store.open_to_write = lambda path: PointedDatabase(open_to_write(path))   # type: ignore[assignment,return-value]
    startup.LastingJournal = PointedJournal     # type: ignore[misc]
    main.Agent = PointedAgent                # type: ignore[misc]
    begin, putrequest = runner.spawn_hook, HTTPConnection.putrequest
    getresponse = HTTPConnection.getresponse        # of the standard library, below whatever client there is

    def begin_and_pass(order: Any, *more: Any) -> Any:
        process = begin(order, *more)
        POINTS.passing(f"hook {order.trace.title}: runs, no trace yet")
        return process

    def putrequest_and_note(self: Any, method: str, url: str, *rest: Any, **more: Any) -> None:
        self.of_what = "" if method != "POST" else STORE_REQUESTS.get(url, "POST")
        putrequest(self, method, url, *rest, **more)

    def answer_and_pass(self: Any) -> Any:
        if self.of_what:
            POINTS.passing(f"{self.of_what}: sent, no answer yet")
        response = getresponse(self)
        if self.of_what == "POST":
            POINTS.passing("POST: answered, nobody told")
        return response

    runner.spawn_hook = begin_and_pass
    HTTPConnection.putrequest = putrequest_and_note             # type: ignore[method-assign]
    HTTPConnection.getresponse = answer_and_pass                # type: ignore[method-assign]
    _after(RunFiles, "write", lambda trace: f"trace {trace.of.title}: written")
    _after(RunFiles, "erase", lambda of: f"trace {of.title}: erased")
    _after(StateDirectories, "discard", lambda name: f"state directory of {name}: retired")
    for name in ("put", "delete"):
        _around_write(name)


def _around_write(name: str) -> None:
    """Each request that changes the fleet's store."""
    do = getattr(EtcdStore, name)

    def pass_and_do(self: Any, key: str, *rest: Any) -> Any:
        POINTS.passing(f"store {name} {key}: not yet")
        done = do(self, key, *rest)
        POINTS.passing(f"store {name} {key}: done")
        return done

    setattr(EtcdStore, name, pass_and_do)


def _after(owner: type, name: str, words: Callable[[Any], str]) -> None:
    do = getattr(owner, name)

    def do_and_pass(self: Any, subject: Any) -> Any:
        done = do(self, subject)
        POINTS.passing(words(subject))
        return done

    setattr(owner, name, do_and_pass)
