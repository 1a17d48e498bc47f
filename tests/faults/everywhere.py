"""Tries one thing at every point of a life: a few lives at a time, in processes of their own."""
from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

from faults.life_courses import LIVES, live
from faults.promises import check
from faults.table import Trial, tell
from faults.trials import Starter

SIDE_BY_SIDE = 7            # lives in one process; they mostly wait
AGAIN = " … "               # between where it dies and where the one after it does
REPEATS = 3                 # a point of a race that was not come by is looked for so often
# Only every so many points are tried, others on each day: all of them take an hour of two processors.
EVERY = max(1, int(os.environ.get("TIDEOVER_EVERY", "1")))


@dataclass(frozen=True)
class Tried:
    """What came of one point. `broken`: the story, "" if all held; `reached`: whether it befell the agent at all."""

    at: str
    reached: bool
    broken: str = ""


def points_of(name: str) -> list[str]:
    """Given a life, return its points, of one life in which nothing befalls the agent, which must hold all promises."""
    with closing(Starter()) as starter, live(LIVES[name], starter) as here:
        LIVES[name].play(here)
        time.sleep(0.05)
        here.end()
        check(LIVES[name], here)
        return here.passed()


def try_point(starter: Starter, name: str, at: str, options: dict[str, Any]) -> Tried:
    first, _, again = at.partition(AGAIN)
    for _ in range(REPEATS):
        with live(LIVES[name], starter, at=first, again_at=again, **options) as here:
            try:
                LIVES[name].play(here)
                here.hear_of_the_stop()
                here.let_it_rest()
                here.end()
                check(LIVES[name], here, rebooted=bool(options.get("reboots")))
            except AssertionError as broken:
                return Tried(at, True, f"{at}: {broken}")
            if any(line.startswith("--") for line in here.points()):
                return Tried(at, True)
    return Tried(at, False)


def try_points(name: str, points: list[str], options: dict[str, Any]) -> list[Tried]:
    """In one process, a few at a time."""
    free: SimpleQueue[Starter] = SimpleQueue()
    starters = [Starter() for _ in range(SIDE_BY_SIDE)]
    for starter in starters:
        free.put(starter)

    def one(at: str) -> Tried:
        starter = free.get()
        try:
            return try_point(starter, name, at, options)
        finally:
            free.put(starter)

    try:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
            return list(threads.map(one, points))
    finally:
        for starter in starters:
            starter.close()


def todays(points: Sequence[str], every: int = EVERY) -> list[str]:
    """Given points, return those whose turn it is (see `EVERY`)."""
    return list(points)[datetime.now(UTC).toordinal() % every::every]


def try_all(name: str, points: Iterable[str], **options: Any) -> list[Tried]:
    points = todays(list(points))
    shares = os.cpu_count() or 1
    with ProcessPoolExecutor(shares, mp_context=multiprocessing.get_context("spawn")) as processes:
        parts = [processes.submit(try_points, name, points[share::shares], options) for share in range(shares)]
        return [tried for part in parts for tried in part.result()]


def count(tried: Trial, befallen: list[Tried]) -> None:
    """Given what came of each point, count it; raise with the first stories if a promise was broken at any."""
    reached = [one for one in befallen if one.reached]
    broken = [one.broken for one in reached if one.broken]
    tried.times, tried.held = len(reached), len(reached) - len(broken)
    if len(reached) < len(befallen):
        tell(f"{tried.fault}: {len(befallen)} points; {len(befallen) - len(reached)} belong to a race that went otherwise")
    assert not broken, f"{len(broken)} of {len(reached)}:\n" + "\n\n".join(broken[:3]) + "\n" + "\n".join(
        one.splitlines()[0] for one in broken)
    assert len(reached) >= 0.9 * len(befallen), [one.at for one in befallen if not one.reached]
