"""What is wrong with a configuration, told so that its owner can mend it: one line for each fault."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time

from tideover.settings.literals import quoted

MOST_TOLD = 100          # beyond that a person mends nothing by reading on, and guessing names costs time
LONGEST_FOUND = 60       # characters of a wrong value that are repeated


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `near` is what stood there, `likely` what may have been meant: compared only when it is told."""

    line: int | None
    key: str
    what: str
    near: str = ""
    likely: tuple[str, ...] = ()
    otherwise: str = ""              # said where nothing likely is near

    def told(self) -> str:
        """Return the fault on one line: `line 4: policy.acknowledge: expected …, found …`."""
        place = [f"line {self.line}"] if self.line else []
        guess = did_you_mean(self.near, self.likely) if self.near else ""
        return ": ".join([*place, *([self.key] if self.key else []), self.what + (guess or self.otherwise)])


def told(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Given all faults of a file, return their lines in the file's order; far too many are counted, not told."""
    in_order = sorted(faults, key=lambda fault: fault.line or 0)
    lines = tuple(fault.told() for fault in in_order[:MOST_TOLD])
    rest = len(in_order) - MOST_TOLD
    return (*lines, f"and {rest} more like these") if rest > 0 else lines


def did_you_mean(word: str, likely: Sequence[str]) -> str:
    """Given a word and the right ones, return ", did you mean X?" or nothing when none is near."""
    import difflib  # only somebody who made a fault pays for it

    plain = word.lower().replace("_", "-")
    known = {name.lower().replace("_", "-"): name for name in likely}
    near = difflib.get_close_matches(plain[:LONGEST_FOUND], list(known), n=1, cutoff=0.6)
    return f", did you mean {known[near[0]]}?" if near else ""


def found_text(value: object) -> str:
    """Given a value of the file, return what to call it: short, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value if len(value) <= LONGEST_FOUND else value[:LONGEST_FOUND] + "…")
    if isinstance(value, int | float):
        return "a very large number" if abs(value) >= 1e15 else str(value)
    if isinstance(value, date | time):
        return "a date or time"
    return "a table" if isinstance(value, dict) else "a list"
