"""Moments and lengths as people read them. Pure."""
from __future__ import annotations

from datetime import UTC, datetime


def moment_text(text: str | None, now: datetime, *, utc: bool = False) -> str:
    """Given a moment of a record (or None), return it in local time with its zone and how long ago it was."""
    if text is None:
        return "-"
    at = datetime.fromisoformat(text)
    shown = at.astimezone(UTC if utc else None)
    return f"{shown:%Y-%m-%d %H:%M:%S %Z} ({distance_text((now - at).total_seconds())})"


def distance_text(seconds: float) -> str:
    """Given seconds since a moment (negative: still to come), return it in words: "3 min ago", "in 14 min"."""
    amount = length_text(abs(seconds))
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


def length_text(seconds: float | None) -> str:
    """Given a length in seconds, return it with the unit that fits: "0.4 ms", "5.003 s", "3 min", "2 d"."""
    if seconds is None:
        return "unknown"
    for limit, unit_s, unit, digits in ((1.0, 0.001, "ms", 1), (60.0, 1.0, "s", 3), (7200.0, 60.0, "min", 0),
                                        (172800.0, 3600.0, "h", 0)):
        if abs(seconds) < limit:
            return f"{seconds / unit_s:.{digits}f}".rstrip("0").rstrip(".") + f" {unit}" if digits else \
                f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86400.0:.0f} d"


def plain_text(text: object) -> str:
    """Given a stranger's words (an event's description, a hook's output), return them without control characters."""
    return "".join(sign if sign.isprintable() else "·" for sign in str(text))


def pause_text(pause: dict[str, object]) -> str:
    """Given a pause of a record, return its length with its bounds: "5.003 s ± 0.031 s"."""
    length, uncertainty = pause["length_s"], pause["uncertainty_s"]
    if not isinstance(length, int | float):
        return "of unknown length"
    bound = f" ± {length_text(float(uncertainty))}" if isinstance(uncertainty, int | float) else ""
    return f"{length_text(float(length))}{bound}"


def table(rows: list[list[str]], heads: list[str]) -> list[str]:
    """Given rows of cells and heads, return the lines of a table whose columns line up."""
    widths = [max(len(row[index]) for row in [heads, *rows]) for index in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [heads, *rows]]
