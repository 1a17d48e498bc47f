"""A stop that the machine's own clocks do not show: the platform's Date tells of it first, coarsely, and the agent waits up to
3.5 s for the time server, which measures it. What befalls the agent, the server and the clock in that wait: recover comes
within its bound, is told the truth about the clock, and the record's length is within its uncertainty.
"""
from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from faults.table import tell, trial
from faults.trials import TESTS, Stage, Starter
from tideover.journal import Journal
from tideover.record import records_of

DEADLINE_S = 8.0
AWAY_S, AWAY_AGAIN_S = 7.0, 5.0
SERVED_S = 7.0              # after the deadline of the clock check everything must be over
TOLERANCE_S = 0.25
STOPPING_S = 0.3            # by which a stop of the agent may be longer or shorter than it was meant to be
SIDE_BY_SIDE = 4
SERVER = """
import sys, time
from pathlib import Path
from faults.played_time import PlayedTime
from tideover.simulator import TimeServer
with TimeServer(now=PlayedTime(Path(sys.argv[1])).outside_s, port=int(sys.argv[2])):
    print("ready", flush=True)
    time.sleep(600)
"""


class TimeServerProcess:
    """A time server that can be stopped and killed, on the port of one of the test's own."""

    def __init__(self, stage: Stage) -> None:
        port, self._time = stage.time_server.port, stage.home / "time"
        stage.time_server.close()
        self._command = [sys.executable, "-c", SERVER, str(self._time), str(port)]

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONPATH": f"{TESTS.parent / 'agent'}:{TESTS}"})
        assert self.process.stdout is not None and self.process.stdout.readline()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()



@dataclass
class Life:
    """One freeze, and what is known of it from outside. Moments are seconds since the epoch."""

    here: Stage
    server: TimeServerProcess
    draw: random.Random
    walls: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])      # since when, how far it is off
    away_s: float = 0.0             # the machine and the agent, in all

    def stand_still(self, seconds: float) -> None:
        self.here.time.stand_still(seconds)
        self.away_s += seconds
        self.walls.append((time.time(), self.walls[-1][1] - seconds))

    def set_wall(self, seconds: float) -> None:
        self.here.time.set_wall(seconds)
        self.walls.append((time.time(), seconds))

    def stop_agent(self, seconds: float) -> None:
        self.here.stopped_s = seconds
        self.away_s += seconds
        os.kill(self.here.pid, signal.SIGSTOP)
        time.sleep(seconds)

    def stop_server(self, seconds: float) -> None:
        self.server.send(signal.SIGSTOP)
        threading.Timer(seconds, self.server.send, [signal.SIGCONT]).start()

    def kill_server(self) -> None:
        self.server.send(signal.SIGKILL)

    def wait(self, least_s: float = 0.1, most_s: float = 2.5) -> None:
        time.sleep(self.draw.uniform(least_s, most_s))


def _agent_stopped(seconds: float, *, server_s: float = 0.0) -> Callable[[Life], None]:
    def befall(life: Life) -> None:
        if server_s:
            life.stop_server(server_s)
        life.wait()
        life.stop_agent(seconds)
    return befall


def _away_again(life: Life) -> None:
    life.wait()
    life.stand_still(AWAY_AGAIN_S)


def _away_again_and_again(life: Life) -> None:
    life.stop_server(6.0)
    for _ in range(4):
        life.wait(0.2, 1.2)
        life.stand_still(AWAY_AGAIN_S)


def _set(*steps_s: float, server_s: float = 0.0) -> Callable[[Life], None]:
    def befall(life: Life) -> None:
        if server_s:
            life.stop_server(server_s)
        for step_s in steps_s:
            life.wait(0.1, 1.2)
            life.set_wall(step_s)
    return befall


# What befalls it in the wait, and how long after that the wall clock is set right (None: it never is).
BEFALLS: dict[str, tuple[Callable[[Life], None], float | None]] = {
    "nothing": (lambda life: None, 3.0),
    "nothing; wrong for good": (lambda life: None, None),
    "agent stopped 5 s": (_agent_stopped(5.0), 2.0),
    "agent stopped 20 s, the clock set right after it": (_agent_stopped(20.0), 1.0),
    "agent stopped 8 s; wrong for good": (_agent_stopped(8.0), None),
    "agent stopped 5 s, time server 6 s": (_agent_stopped(5.0, server_s=6.0), 2.0),
    "time server stopped 5 s": (lambda life: life.stop_server(5.0), 6.0),
    "time server stopped 20 s": (lambda life: life.stop_server(20.0), 3.0),
    "time server killed": (Life.kill_server, 3.0),
    "time server killed; wrong for good": (Life.kill_server, None),
    "away again for 5 s": (_away_again, 3.0),
    "away four times more, time server stopped 6 s": (_away_again_and_again, 6.0),
    "clock set right meanwhile": (_set(0.0), 3.0),
    "clock set right meanwhile, time server stopped 6 s": (_set(0.0, server_s=6.0), 3.0),
    "clock set 40 s more wrong meanwhile": (_set(-47.0), 3.0),
    "clock set ahead and back meanwhile, time server stopped 3 s": (_set(60.0, -7.0, server_s=3.0), 3.0),
}


def live(starter: Starter, befall: Callable[[Life], None], right_after_s: float | None, seed: int) -> str:
    """Return how long recover took after all was over, and what it was told."""
    here = Stage(starter, pointed=False, deadline=f"{DEADLINE_S:g}s", poll_factor=2.0)
    server = here.time_server = TimeServerProcess(here)
    with here:
        here.hook("10-first")
        life = Life(here, server, random.Random(seed))
        here.announce("E1")
        here.until(lambda: says(here, "event=E1", "to=started"))
        time.sleep(2.5)             # the server may be asked again
        life.stand_still(AWAY_S)
        befall(life)
        over = time.time()
        if right_after_s is not None:
            time.sleep(right_after_s)
            life.set_wall(0.0)
        here.metadata.remove_event("E1")
        here.until(lambda: says(here, "event=E1", "to=closed"), DEADLINE_S + SERVED_S)
        judge(life, record(here))
        [began] = [line for line in here.lines() if line[2] == "recover"]
        return f"recover {float(began[0]) - over:.1f} s after it, clock {began[6]}"


def says(here: Stage, *words: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        lines = (here.home / "agent.log").read_text().splitlines()
        return any(all(word in line for word in words) for line in lines)
    return False


def record(here: Stage) -> dict[str, Any]:
    with closing(Journal.reading(here.home / "state" / "journal.db")) as journal:
        return next(one.as_json() for one in records_of(journal.rows()) if one.event_id == "E1")


def judge(life: Life, record: dict[str, Any]) -> None:
    recovers = [(float(line[0]), line[6]) for line in life.here.lines() if line[2] == "recover"]
    assert (life.here.faults, life.here.starts, len(recovers)) == ([], 1, 1), life.here.story()
    [(at, told)] = recovers
    off_s = next(off for since, off in reversed(life.walls) if since <= at)
    assert told != "good" or abs(off_s) < TOLERANCE_S, f"told good, and it is {off_s} s off: {life.here.story()}"
    length_s, uncertainty_s = (sum(one[what] or 0.0 for one in record["pauses"]) for what in ("length_s", "uncertainty_s"))
    assert abs(length_s - life.away_s) <= uncertainty_s + STOPPING_S, \
        f"away for {life.away_s} s, told {length_s} ± {uncertainty_s} s: {life.here.story()}"


def attempt(what: str, seed: int) -> str:
    """Return how it went, or what went wrong."""
    with closing(Starter()) as starter:
        try:
            return live(starter, *BEFALLS[what], seed)
        except AssertionError as wrong:
            return f"WRONG: {wrong}"


@pytest.mark.slow
def test_whatever_happens_while_a_stop_is_measured_recover_is_in_time_and_told_the_truth():
    seed = int(os.environ.get("TIDEOVER_SEED", "8"))
    with trial("agent, time server or clock", "stopped, killed, set, or the machine away again, within 3 s of a stop",
               "recovered in time, told good of a good clock alone, the length within its uncertainty") as tried, \
            ThreadPoolExecutor(SIDE_BY_SIDE) as side_by_side:
        found = dict(zip(BEFALLS, side_by_side.map(attempt, BEFALLS, [seed] * len(BEFALLS)), strict=True))
        wrong = {what: how for what, how in found.items() if how.startswith("WRONG")}
        tried.times, tried.held = len(found), len(found) - len(wrong)
        for what, how in found.items():
            tell(f"a stop, and within 3 s {what}: {how if what not in wrong else 'WRONG'}")
        assert not wrong, "\n".join(f"{what}: {how}" for what, how in wrong.items())
