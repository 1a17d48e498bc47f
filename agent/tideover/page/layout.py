"""How much room a drawing has: one layout for a desk and for paper, one for a phone. Pure values."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """All in pixels of the drawing. `left`: the column of the lanes' names; 0 where names stand above their lanes."""

    name: str
    width: float
    left: float
    right: float             # kept free beside the last moment at least, for what is written there
    text: float              # the size of the font
    lane: float              # the height of a lane
    bar: float               # the height of a bar in it
    panel: float             # the height of the clock's curve
    tick_distance: float
    cut: float               # the width of a cut in the axis
    spells_flags: bool       # flags carry words, or their number alone

    @property
    def names_above(self) -> bool:
        return self.left == 0


WIDE = Layout("wide", 1010, 158, 60, 13, 30, 14, 124, 92, 40, True)
NARROW = Layout("narrow", 352, 0, 20, 12, 40, 13, 120, 66, 30, False)
LAYOUTS = (WIDE, NARROW)
