"""What the clients saw: failed, longest gap, worst wait; in one line a person can read."""
from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

CLIENTS = Path(__file__).parent / "clients"
PYTHON = "/usr/bin/python3"              # Debian's: some clients need Debian's client libraries


@dataclass(frozen=True, slots=True)
class Seen:
    """The sum of one load over one stop."""

    sent: int
    failed: int
    longest_gap_s: float                 # between two answers that were good
    worst_s: float                       # of those that were answered at all
    lost: int | None = None              # acknowledged, and not there afterwards
    twice: int | None = None             # delivered more than once

    def __str__(self) -> str:
        more = "" if self.lost is None else f", lost though acknowledged {self.lost}"
        more += "" if self.twice is None else f", twice {self.twice}"
        return f"failed {self.failed} of {self.sent}, longest gap {self.longest_gap_s:.2f} s, worst {self.worst_s:.2f} s{more}"


    def spares(self, bare: Seen, *, one_in: int) -> bool:
        """Given what the same load saw without the hook, did it now fail at most once where it failed `one_in` times?

        A ratio within one run: on a busy machine a client may time out now and then whatever the hook does.
        """
        return self.failed * one_in <= bare.failed


Result = tuple[float, float, str | None, str]


def results(client: subprocess.Popen[str]) -> list[Result]:
    """Given a running client, end it and return its results. Raise AssertionError if it broke."""
    output, _ = client.communicate(timeout=90)
    assert client.returncode == 0, "the load client broke"
    return [(r[0], r[1], r[2], r[3]) for r in json.loads(output)]


def add_up(rows: list[Result], *, lost: int | None = None, twice: int | None = None) -> Seen:
    """Given every result of a load, return the sum."""
    good = sorted(due + took for due, took, fault, _ in rows if fault is None)
    gaps = [later - sooner for sooner, later in pairwise(good)]
    worst = max((took for _, took, fault, _ in rows if fault is None), default=0.0)
    return Seen(len(rows), sum(r[2] is not None for r in rows), max(gaps, default=float("inf")), worst, lost, twice)


def stop(client: subprocess.Popen[str]) -> Seen:
    """Given a running client that loses nothing, end it and return the sum."""
    return add_up(results(client))
