"""Soak: a thousand events of all kinds and ten times as many polls through one real agent, with faults, reloads and
clients that come and go mixed in by a seed. Nothing is left behind: no application, no memory, no open file, no row
older than the owner keeps. By hand ten times as long, with rounds of 60 events at once: TIDEOVER_SOAK=10, half an hour.

What the agent holds is compared while nothing happens, after a quiet day and a half with twelve plain events and ten seconds
after its last write, when it has emptied the journal's log. The first look is taken when all is full that is kept up to a
bound: the newest 64 events in the state, 32 answers of each time source, the newest 128 KiB of the log, the rows that were
counted of 256 events, SQLite's cache of 256 KiB, and the stacks of as many threads as ran at once. What is kept for a time (the record for ten minutes here, the recording of the newest ten events) has been replaced
by then by what the quiet time left.
"""
from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faults.table import tell, trial
from faults.trials import Stage, Starter
from tideover.api.protocol import ask
from tideover.client import Application
from tideover.errors import TideoverError
from tideover.journal import Journal
from tideover.simulator import InjectedFault

TIMES = int(os.environ.get("TIDEOVER_SOAK", "1"))
EVENTS, POLLS = 1000 * TIMES, 10_000 * TIMES
LARGEST_ROUND = 9                               # events at once, but for one round of so many in the long form:
CROWD, ONE_CROWD_IN = 60, 40                    # one machine's agent carries 64
LOOKED_AT = tuple(EVENTS * percent // 100 for percent in (30, 50, 75, 100))
# The recording keeps the newest ten events, one pass of pruning takes fifty, and some rows are dated a day ahead.
PLAIN_EVENTS, APART_S = (12 if TIMES == 1 else 36), 10_800.0
LARGER_AT_MOST = 1.05
# What is left after the quiet time are the rows of the last plain events and of the pauses before them, of one of each more
# or less, and what was recorded of the last ten, which took more or fewer polls.
OF_ONE_EVENT = {"rows": 15, "journal_kib": 32}
CLIENT_EVERY_S, POLL_FAULT_EVERY_S, GOOD_BETWEEN = 0.05, 0.1, 2
KEEP_S = 600.0
CONFIGURATION = """
[journal]
keep = "10m"
[hook.hangs]
timeout = "200ms"
required = false
kinds = ["freeze", "terminate"]
[hook.unannounced]
kinds = ["unannounced", "reboot"]
[application.visitor]
required = false
timeout = "500ms"
"""
VISIT_S = 0.1, 3.0          # how long an application stays connected before it goes and comes again
KINDS = ("Freeze", "Freeze", "Freeze", "Reboot", "Redeploy", "Preempt", "Terminate", "Shutdown")
MOOD = 'if [ -e HOME/mood.NAME.$1 ]; then . HOME/mood.NAME.$1; fi'


@dataclass
class Figures:
    """What a process holds, and its journal."""

    rss_kib: int
    files: int
    threads: int
    rows: int
    journal_kib: int

    @classmethod
    def of(cls, here: Stage) -> Figures:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{here.pid}/status").read_text().splitlines())
        path = here.home / "state" / "journal.db"
        with closing(Journal.reading(path)) as journal:
            rows = len(journal.rows())
        size = sum(part.stat().st_size for part in path.parent.glob("journal.db*"))
        return cls(int(status["VmRSS"].split()[0]), len(list(Path(f"/proc/{here.pid}/fd").iterdir())),
                   int(status["Threads"]), rows, size // 1024)


@dataclass
class Log:
    """What the agent says, read as it grows."""

    path: Path
    closed: set[str] = field(default_factory=set)
    phases: dict[str, str] = field(default_factory=dict)
    pauses: int = 0
    reloads: int = 0
    tracebacks: int = 0
    _read: int = 0

    def phase(self, event_id: str) -> str:
        self.read()
        return self.phases.get(event_id, "")

    def read(self) -> None:
        with self.path.open() as opened:
            opened.seek(self._read)
            text = opened.read()
        text = text[:text.rfind("\n") + 1]
        self._read += len(text.encode())
        for line in text.splitlines():
            if " event.phase-changed " in line:
                words = dict(word.split("=", 1) for word in line.split(" note=")[0].split() if "=" in word)
                self.phases[words["event"]] = words["to"]
            self.pauses += " pause.detected " in line
            self.reloads += " configuration.read" in line
            self.tracebacks += "Traceback" in line


class Soak:
    """Rounds of events, each played to its end with the faults drawn for it."""

    def __init__(self, here: Stage, seed: int) -> None:
        self.here, self.draw, self.log = here, random.Random(seed), Log(here.home / "agent.log")
        self.made, self.faults, self.kinds, self.never = 0, Counter[str](), Counter[str](), set[str]()
        self.polls, self.asked = 0, Counter[str]()
        self.ending, self.quiet = threading.Event(), threading.Event()
        for work in (self._clients, self._poll_faults, self._visits):
            threading.Thread(target=work, daemon=True).start()

    def round(self, size: int) -> None:
        """Announce some events at once, let them go where they will, and see them all closed and all recovered."""
        events = [f"E{self.made + place}" for place in range(size)]
        self.made += size
        with self._fault():
            for event_id in events:
                self._announce(event_id)
            self._until(lambda: all(self._is_settled(event_id) for event_id in events), events)
            for event_id in events:
                if self.here.metadata.status_of(event_id) == "Scheduled" and self.draw.random() < 0.5:
                    self.here.metadata.start_event(event_id)
            if self.draw.random() < 0.5:
                self.here.time.pass_by(self.draw.uniform(2.0, 40.0))
                self._until(lambda: not any(self.log.phase(event_id) in ("started", "checking-clock") for event_id in events
                                            if self.kinds_of[event_id] == "Freeze"), events, 1.0)
            for event_id in events:
                self.here.metadata.remove_event(event_id)
            while not self._until(lambda: all(self.log.phase(event_id) == "closed" for event_id in events), events, 2.5):
                self.here.time.pass_by(31.0)            # a recover that failed waits for its next try
                self.waits += 1
                assert self.waits < 20, self.tell(events)
        self.waits = 0
        self.here.time.pass_by(self.draw.uniform(10.0, 60.0))
        self._see_all_recovered(events)

    def draw_size(self) -> int:
        return CROWD if TIMES > 1 and self.draw.random() * ONE_CROWD_IN < 1.0 else self.draw.randint(1, LARGEST_ROUND)

    def between_rounds(self) -> None:
        """Count the polls, and let the agent take a new configuration now and then."""
        self.here.time.set_wall(0.0)        # as a time daemon does: nothing is pruned by a clock that is wrong
        self.polls += len(self.here.metadata.requests)
        self.here.metadata.requests.clear()
        if self.draw.random() < 0.1:
            self.faults["reload between events"] += 1
            self.log.read()
            before = self.log.reloads
            self.reload()
            self._until(lambda: (self.log.read(), self.log.reloads > before)[1], [])

    def rest(self) -> Figures:
        """Let a day and a half pass in which nothing happens but a plain event every three hours; return what the agent
        holds then. A pause alone would not do: on a busy machine it is a stall of the agent, and makes no event."""
        self.quiet.set()
        for number in range(PLAIN_EVENTS):
            event_id = f"plain-{self.made}-{number}"
            self.log.read()
            before = self.log.pauses
            self.here.time.pass_by(APART_S)
            self._until(lambda before=before: (self.log.read(), self.log.pauses > before)[1], [])
            self.here.announce(event_id)
            self._until(lambda event_id=event_id: self._is_settled(event_id)
                        and self.here.metadata.status_of(event_id) == "Started", [event_id])
            for _ in range(8):          # the time server may be asked again: rows are removed by a good clock alone
                self._step()
            self.here.metadata.remove_event(event_id)
            self._until(lambda event_id=event_id: self.log.phase(event_id) == "closed", [event_id])
            self._until(self._is_at_rest, [])
        log = self.here.home / "state" / "journal.db-wal"
        self._until(lambda: (self._step(), log.stat().st_size == 0)[1], [], 60.0)
        figures = Figures.of(self.here)
        self.quiet.clear()
        return figures

    def _step(self) -> None:
        """Some time passes, too little for a pause."""
        self.here.time.pass_by(0.3)
        time.sleep(0.06)

    def _is_at_rest(self) -> bool:
        with closing(Journal.reading(self.here.home / "state" / "journal.db")) as journal:
            state = journal.load()
        return not state.cases and not state.hooks

    def _clients(self) -> None:
        """Clients of the socket that ask, break off, send what is no question, and come again."""
        draw = random.Random(self.draw.random())
        while not self.ending.wait(CLIENT_EVERY_S):
            if self.quiet.is_set():
                continue
            self.faults["client"] += 1
            with contextlib.suppress(OSError, TideoverError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(0.3)
                client.connect(str(self.here.home / "run" / "tideover.sock"))
                client.sendall(draw.choice((b'{"ask": "status"}\n', b'{"ask": "status"', b"nonsense\n", b"\0" * 4096, b"")))
                if draw.random() < 0.7:
                    client.recv(65_536)

    def _visits(self) -> None:
        """An application that does what it is asked, goes now and then, and comes again, each time as another process."""
        draw, socket_path = random.Random(self.draw.random()), str(self.here.home / "run" / "applications" / "socket")
        while not self.ending.is_set():
            with Application("visitor", socket_path=socket_path) as visitor:
                threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()
                self.ending.wait(draw.uniform(*VISIT_S))
            self.faults["application gone and come again"] += 1

    def _serve(self, visitor: Application) -> None:
        for run in visitor.runs():
            with run:
                self.asked[run.phase] += 1

    def _poll_faults(self) -> None:
        """One poll that fails among good ones: after several in a row the agent would ask less often."""
        draw, asked = random.Random(self.draw.random()), 0
        while not self.ending.wait(POLL_FAULT_EVERY_S):
            before, asked = asked, len(self.here.metadata.requests)
            if asked > before + GOOD_BETWEEN and not self.quiet.is_set():
                self.here.metadata.inject_fault(draw.choice(POLL_FAULTS))
                self.faults["poll fault"] += 1

    kinds_of: dict[str, str] = {}       # noqa: RUF012  (one soak at a time)
    waits = 0

    def _announce(self, event_id: str) -> None:
        kind, whose = self.draw.choice(KINDS), self.draw.random()
        resources = ["vm-2"] if whose < 0.1 else ["vm-1", "vm-2"] if whose < 0.25 else ["vm-1"]
        self.here.announce(event_id, kind, resources=resources, event_source=self.draw.choice(("Platform", "User")))
        self.kinds[kind] += 1
        self.kinds_of[event_id] = kind
        if resources != ["vm-1"] or kind == "Shutdown":
            self.never.add(event_id)
        if self.draw.random() < 0.1:
            self.here.metadata.start_event(event_id)

    def _is_settled(self, event_id: str) -> bool:
        return self.log.phase(event_id) not in ("", "preparing", "acknowledging", "unconfirmed")

    def _until(self, question: Callable[[], object], events: list[str], patience_s: float = 15.0) -> bool:
        held = self.here.until(question, patience_s, must=False)
        assert held or patience_s < 15.0, self.tell(events)
        return held

    def tell(self, events: list[str]) -> str:
        return f"{[(event_id, self.log.phase(event_id)) for event_id in events]}\n{self.here.story()}"

    def _see_all_recovered(self, events: list[str]) -> None:
        last = {line[1]: line for line in self.here.lines()}
        for name, line in last.items():
            owed = (line[2], line[4]) not in (("recover-ended", "0"), ("prepare-ended", "3"))      # 3: nothing changed
            assert not owed, f"{name} is not recovered: {line}\n{self.tell(events)}"
        assert not [line for line in self.here.lines() if line[2] == "TWO-COPIES"]
        (self.here.home / "hooks.log").unlink(missing_ok=True)

    # --- faults -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _fault(self) -> Iterator[None]:
        fault = self.draw.choice(list(FAULTS))
        self.faults[fault] += 1
        undo = FAULTS[fault](self)
        try:
            yield
        finally:
            self.here.metadata.clear_faults()
            for mood in self.here.home.glob("mood.*"):
                mood.unlink(missing_ok=True)
            if undo is not None:
                undo()

    def mood(self, name: str, phase: str, body: str, *, once: bool = False) -> None:
        path = self.here.home / f"mood.{name}.{phase}"
        path.write_text((f"rm -f {path}\n" if once else "") + body + "\n")

    def set_wall(self, seconds: float) -> Callable[[], None]:
        self.here.time.set_wall(seconds)
        return lambda: self.here.time.set_wall(0.0)

    def lock(self) -> None:
        def hold() -> None:
            with closing(sqlite3.connect(self.here.home / "state" / "journal.db", timeout=5.0,
                                         isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                time.sleep(0.3)
                db.execute("ROLLBACK")
        threading.Thread(target=hold, daemon=True).start()

    def stop(self, seconds: float) -> None:
        """The keeper of the stage sees it stopped, and lets it go on."""
        self.here.stopped_s = seconds
        os.kill(self.here.pid, signal.SIGSTOP)

    def silence(self) -> Callable[[], None]:
        self.here.time_server.silent = True
        return lambda: setattr(self.here.time_server, "silent", False)

    def lie(self) -> Callable[[], None]:
        self.here.time_server.offset_s = 30.0
        return lambda: setattr(self.here.time_server, "offset_s", 0.0)

    def reload(self) -> None:
        os.kill(self.here.pid, signal.SIGHUP)

    def ask(self) -> None:
        assert ask(self.here.home / "run" / "tideover.sock", self.here.home / "state", {"ask": "status"})["ok"]


POLL_FAULTS = (InjectedFault(body=b'{"Documen'), InjectedFault(body=b"{}"), InjectedFault(status=429), InjectedFault(status=503),
               InjectedFault(reset=True), InjectedFault(drop=True))
FAULTS: dict[str, Callable[[Soak], Callable[[], None] | None]] = {
    "none": lambda soak: None,
    "POST 503": lambda soak: soak.here.metadata.inject_fault(InjectedFault(status=503), method="POST"),
    "POST answered, answer lost": lambda soak: soak.here.metadata.inject_fault(InjectedFault(drop=True), method="POST"),
    "POST refused": lambda soak: soak.here.metadata.inject_fault(InjectedFault(status=400), method="POST"),
    "body cut": lambda soak: soak.here.metadata.inject_fault(InjectedFault(body=b'{"Documen'), times=3),
    "empty document": lambda soak: soak.here.metadata.inject_fault(InjectedFault(body=b"{}"), times=3),
    "429": lambda soak: soak.here.metadata.inject_fault(InjectedFault(status=429), times=3),
    "reset": lambda soak: soak.here.metadata.inject_fault(InjectedFault(reset=True), times=3),
    "prepare fails": lambda soak: soak.mood("first", "prepare", "return 1"),
    "prepare: nothing to do": lambda soak: soak.mood("second", "prepare", "return 3"),
    "prepare: not yet": lambda soak: soak.mood("second", "prepare", "return 75", once=True),
    "prepare hangs": lambda soak: soak.mood("hangs", "prepare", "sleep 60"),
    "prepare killed": lambda soak: soak.mood("second", "prepare", "kill -9 $$"),
    "recover fails once": lambda soak: soak.mood("second", "recover", "return 1", once=True),
    "recover: not yet": lambda soak: soak.mood("first", "recover", "return 75", once=True),
    "clock a day back": lambda soak: soak.set_wall(-86_400.0),
    "clock a day ahead": lambda soak: soak.set_wall(86_400.0),
    "time server silent": lambda soak: soak.silence(),
    "time server lies": lambda soak: soak.lie(),
    "journal locked": lambda soak: soak.lock(),
    "agent stopped 0.3 s": lambda soak: soak.stop(0.3),
    "agent stopped 1.1 s": lambda soak: soak.stop(1.1),
    "SIGHUP": lambda soak: soak.reload(),
    "asked by socket": lambda soak: soak.ask(),
}


@pytest.mark.slow
def test_a_thousand_events_and_ten_thousand_polls_with_faults_leave_nothing_behind():
    seed = int(os.environ.get("TIDEOVER_SEED", "8"))
    promise = "nothing prepared and not recovered; memory, files, threads and journal flat"
    with trial(f"soak: {EVENTS} events of all kinds, {POLLS} polls", f"one agent, {len(FAULTS)} faults by seed {seed}", promise) as tried, \
            closing(Starter()) as starter, Stage(starter, pointed=False, start_after_s=0.0, settle="0s", deadline="500ms",
                                                 more=CONFIGURATION, poll_factor=0.1) as here:
        for file in ("10-first", "10-hangs", "20-second", "30-unannounced"):
            here.hook(file, MOOD)
        here.until(lambda: (here.home / "run" / "tideover.sock").exists())
        pid, began, soak, figures = here.pid, time.monotonic(), Soak(here, seed), dict[int, Figures]()
        for goal in LOOKED_AT:
            while soak.made < goal:
                soak.round(min(soak.draw_size(), goal - soak.made))
                soak.between_rounds()
            here.until(lambda goal=goal: soak.polls + len(here.metadata.requests) >= POLLS * goal / EVENTS, 600.0 * TIMES)
            soak.between_rounds()
            figures[goal] = soak.rest()
            report(f"after {goal} events, {time.monotonic() - began:.0f} s: {figures[goal]}")
            report(f"{soak.polls} polls, {soak.faults.total()} faults, the application was asked {dict(soak.asked)}")
        soak.ending.set()
        report(f"{dict(soak.kinds)}; {dict(soak.faults)}")
        here.end()
        tried.times = EVENTS
        soak.log.read()
        if soak.log.tracebacks:
            said = soak.log.path.read_text()
            raise AssertionError(said[said.index("Traceback"):][:3000])
        assert (here.starts, here.faults) == (1, []) and pid
        acknowledged = {one.event_id for one in here.metadata.acknowledgements}
        assert not acknowledged & soak.never and acknowledged
        see_flat(figures)


def report(line: str) -> None:
    """Below the table at the end, and at once for who waits by hand (pytest -s)."""
    tell(f"soak: {line}")
    print(line, flush=True)


def see_flat(figures: dict[int, Figures]) -> None:
    first, last = figures[LOOKED_AT[0]], figures[LOOKED_AT[-1]]
    for name in ("rss_kib", "files", "threads", "rows", "journal_kib"):
        most = getattr(first, name) * LARGER_AT_MOST + OF_ONE_EVENT.get(name, 0)
        assert getattr(last, name) <= most, (name, figures)
