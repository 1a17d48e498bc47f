"""The table of a run: what was done to the guest, and what the agent reported of it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HEAD = ("case", "truth", "claimed", "±", "error", "seen after", "cause", "clock after", "remarks")


@dataclass(frozen=True, slots=True)
class Row:
    """One case, once. Lengths in seconds; None: nothing was claimed, or there is no truth of that kind.

    `ahead_s`: how far the guest's clock was ahead of the right time afterwards, as the lab measured it.
    """

    case: str
    truth_s: float | None
    claimed_s: float | None = None
    uncertainty_s: float | None = None
    seen_after_s: float | None = None
    cause: str = ""
    ahead_s: float | None = None
    remarks: str = ""

    @property
    def error_s(self) -> float | None:
        return None if self.claimed_s is None or self.truth_s is None else self.claimed_s - self.truth_s

    def cells(self) -> tuple[str, ...]:
        return (self.case, _s(self.truth_s), _s(self.claimed_s), _s(self.uncertainty_s), _s(self.error_s, "+"),
                _s(self.seen_after_s), self.cause or "nothing", _s(self.ahead_s, "+"), self.remarks)


def lines(rows: Sequence[Row]) -> list[str]:
    """Given the rows of a run, return the table, and below it each repeated case's medians with the worst."""
    table = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return [*drawn, *(summary for case in dict.fromkeys(row.case for row in rows)
                      if (summary := _summary(case, [row for row in rows if row.case == case])))]


def _summary(case: str, rows: Sequence[Row]) -> str:
    errors = [abs(row.error_s) for row in rows if row.error_s is not None]
    seen = [row.seen_after_s for row in rows if row.seen_after_s is not None]
    if len(rows) < 2 or not errors or not seen:
        return ""
    return (f"{case}, {len(rows)} runs: error median {median(errors):.4f} s, worst {max(errors):.4f} s; "
            f"seen after median {median(seen):.3f} s, worst {max(seen):.3f} s")


def _s(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f} s"
