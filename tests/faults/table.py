"""The table of the faults: what was tried, how often, and what held. Owns the rows and their layout; tries nothing.

A case says what it tries with `trial`:

    with trial("disk full", "a tmpfs of 1 MiB, filled", "applications protected, nothing acknowledged") as tried:
        ...
        tried.times = 6         # where one case tries it more often than once

A case that raises counts as not held. Rows of one fault and one way to make it are one line. `tell` adds what was
measured, below the table.
"""
from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WIDTHS = (30, 44, 6, 6, 54)
HEADINGS = ("fault", "how it is made", "tried", "held", "what held")


@dataclass
class Row:
    """One fault: how often it was tried, and how often all held."""

    fault: str
    made: str
    promise: str
    tried: int = 0
    held: int = 0


@dataclass
class Trial:
    """One case under way. `times`: how often it tries its fault; `held`: how often all held, where it knows."""

    fault: str
    times: int = 1
    held: int = 0


@dataclass
class Table:
    """The rows of one run of the tests, in the order in which they were first tried."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def count(self, fault: str, made: str, promise: str, *, tried: int, held: int) -> None:
        row = self.rows.setdefault((fault, made), Row(fault, made, promise))
        row.tried += tried
        row.held += held

    def lines(self) -> list[str]:
        """Return the table as lines of text, the figures after it."""
        cells = [(row.fault, row.made, str(row.tried), str(row.held),
                  row.promise if row.held == row.tried else f"NOT HELD: {row.promise}") for row in self.rows.values()]
        rule = "  ".join("-" * width for width in WIDTHS)
        tried, held = (sum(getattr(row, what) for row in self.rows.values()) for what in ("tried", "held"))
        return [*_line(HEADINGS), rule, *(line for row in cells for line in _line(row)),
                *_line(("in all", "", str(tried), str(held), "")), *self.told]


TABLE = Table()


@contextmanager
def trial(fault: str, made: str, promise: str, table: Table = TABLE) -> Iterator[Trial]:
    """Count what is tried inside as one row's; it held unless something was raised."""
    trying = Trial(fault)
    try:
        yield trying
        trying.held = trying.times
    finally:
        table.count(fault, made, promise, tried=trying.times, held=min(trying.held, trying.times))


def tell(line: str) -> None:
    """Add a line of figures below the table."""
    TABLE.told.append(line)


def _line(cells: tuple[str, ...]) -> list[str]:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, WIDTHS, strict=True)]
    return ["  ".join((column[n] if n < len(column) else "").ljust(width)
                      for column, width in zip(wrapped, WIDTHS, strict=True)).rstrip()
            for n in range(max(map(len, wrapped)))]
