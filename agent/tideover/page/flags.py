"""Where the flags of turning points go: none covers another, and no flag's staff crosses another's words. Pure."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 6.0


@dataclass(frozen=True, slots=True)
class Flag:
    """Its staff stands at `x`, its words go to the right of it. `row`: 0 is the lowest."""

    x: float
    width: float
    row: int


def plant(places: Sequence[tuple[float, float]]) -> list[Flag]:
    """Given each flag's x and width, in ascending x, return them with their rows.

    From right to left: a flag goes above all those to its right that begin where its words still are. So a staff,
    which reaches down from its own row, meets only flags that begin further left and hang higher.
    """
    flags: list[Flag] = []
    for x, width in reversed(places):
        covered = [flag.row for flag in flags if flag.x < x + width + GAP]
        flags.append(Flag(x, width, max(covered, default=-1) + 1))
    return flags[::-1]
