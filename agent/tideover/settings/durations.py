"""Durations as people write them: "250ms", "5s", "2m", "1h", "365d"; decimals such as "1.5s" too."""
from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def read_duration(text: str) -> float | None:
    """Given a number and its unit without a gap, return seconds, or None if it is no duration."""
    match = _DURATION.fullmatch(text)
    if not match:
        return None
    number, unit = float(match[1]), match[2]
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def write_duration(seconds: float) -> str:
    """Given seconds, not negative, return the same as people write it, in the unit that needs no decimals."""
    whole = int(seconds)
    if whole == seconds:
        if whole and whole % 86400 == 0:
            return f"{whole // 86400}d"
        if whole and whole % 3600 == 0:
            return f"{whole // 3600}h"
        if whole >= 120 and whole % 60 == 0:     # "60s" and "90s" are how people write those
            return f"{whole // 60}m"
        return f"{whole}s"
    thousandths = round(seconds * 1000, 6)
    return f"{int(thousandths)}ms" if thousandths == int(thousandths) else f"{thousandths:f}".rstrip("0") + "ms"
