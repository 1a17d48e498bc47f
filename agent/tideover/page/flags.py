"""Where the flags of turning points go: none covers another, and no flag's staff crosses another's words. Pure."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.page.layout import Layout
from tideover.page.milestones import Milestone
from tideover.page.shapes import text_width

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


def flag_words(one: Milestone, layout: Layout) -> str:
    """Given a turning point and a layout, return what stands on its flag."""
    return f"{one.number}  {one.words}" if layout.spells_flags else f"{one.number}"


def flag_width(one: Milestone, layout: Layout) -> float:
    """Given the same, return about how wide that flag is."""
    return text_width(flag_words(one, layout), layout.text - 1) + 8
