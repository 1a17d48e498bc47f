"""Lengths of time as people read them, to the digit that is known. Pure."""
from __future__ import annotations

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
THIN = "\u202f"          # a narrow space that no line breaks at: between a number and its unit
FIRM = "\u00a0"          # an ordinary one that no line breaks at


def length_text(seconds: float | None) -> str:
    """Given seconds, return "0.12 ms", "831 ms", "4.184 s", "14 min 31 s", "3 h 12 min" or "2 d 4 h"."""
    if seconds is None:
        return "not known"
    if seconds < 0:
        return "−" + length_text(-seconds)
    if seconds < 0.9995:
        return f"{_short(seconds * 1000, 2 if seconds < 0.01 else 0)}{THIN}ms"
    if seconds < 59.9995:
        return f"{_short(seconds, 3)}{THIN}s"
    whole = round(seconds)
    for limit, unit, large, small in ((HOUR_S, MINUTE_S, "min", "s"), (2 * DAY_S, HOUR_S, "h", "min")):
        if whole < limit:
            return _two(whole // unit, large, whole % unit // (1 if small == "s" else MINUTE_S), small)
    return _two(whole // DAY_S, "d", whole % DAY_S // HOUR_S, "h")


def round_length_text(seconds: float | None) -> str:
    """Given seconds, return the same for a sentence: two decimals are enough there."""
    return length_text(seconds if seconds is None or not 1.0 <= abs(seconds) < MINUTE_S else round(seconds, 2))


def bounded_text(length_s: float | None, uncertainty_s: float | None, *, rounded: bool = False) -> str:
    """Given a length and how far it may be wrong, return "4.184 s ± 31 ms", or "at most 7.854 s" where nothing but
    the upper bound is known."""
    say = round_length_text if rounded else length_text
    if length_s is None:
        return "not known"
    if uncertainty_s is None:
        return say(length_s)
    if uncertainty_s >= length_s:
        return f"at most {say(length_s + uncertainty_s)}"
    return f"{say(length_s)} ±{FIRM}{say(uncertainty_s)}"


def plain_spaces(text: str) -> str:
    """Given a text with lengths in it, return it for where lines do not break by themselves: with ordinary spaces."""
    return text.replace(THIN, " ").replace(FIRM, " ")


def offset_text(seconds: float | None) -> str:
    """Given an offset (positive: ahead), return "0.12 ms behind"."""
    if seconds is None:
        return "not known"
    if seconds == 0:
        return "no offset"
    return f"{round_length_text(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"


def _short(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _two(first: int, large: str, second: int, small: str) -> str:
    return f"{first}{THIN}{large}" + (f" {second}{THIN}{small}" if second else "")
