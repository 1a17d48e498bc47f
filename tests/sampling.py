"""Which slow proofs a sampled run runs: `sampled.toml` says what is sampled, the commit says whose turn it is. And which
cases of a large grid the fast suite runs."""
from __future__ import annotations

import os
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLAN = Path(__file__).with_name("sampled.toml")


@cache
def plan() -> tuple[int, dict[str, str | list[int]]]:
    """The number of turns, and per file "dealt" or the turns in which it runs whole."""
    table = tomllib.loads(PLAN.read_text())
    return table["turns"], table["files"]


def asked_turn() -> int | None:
    """The turn that TIDEOVER_TURN asks for ("head": the one of the commit); None: nothing is sampled."""
    wish = os.environ.get("TIDEOVER_TURN", "")
    return None if not wish else turn_of_head() if wish == "head" else int(wish) % plan()[0]


def turn_of_head() -> int:
    """The commits on the first-parent line, so that commits that follow each other have turns that do; a shallow copy
    does not know how many there are and takes the hash."""
    if _git("rev-parse", "--is-shallow-repository") == "true":
        return int(_git("rev-parse", "HEAD"), 16) % plan()[0]
    return int(_git("rev-list", "--count", "--first-parent", "HEAD")) % plan()[0]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def runs_in(turn: int, ids: Iterable[str]) -> list[bool]:
    """Given the ids of cases in their order (FILE::NAME), tell for each whether it runs in this turn."""
    turns, files = plan()
    number: Counter[str] = Counter()
    answers = []
    for nodeid in ids:
        file = nodeid.partition("::")[0]
        rule = files.get(file, list(range(turns)))
        answers.append(number[file] % turns == turn if rule == "dealt" else turn in rule)
        number[file] += 1
    return answers


def thinned(rows: Sequence[Any], every: int) -> list[Any]:
    """Given a grid's rows for `parametrize`, return them all, of which the fast suite runs the first of each `every`; the
    others are slow proofs."""
    return [row if number % every == 0 else pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.slow)
            for number, row in enumerate(rows)]
