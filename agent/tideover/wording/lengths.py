"""Lengths of time as people read them, to the digit that is known. Pure."""
from __future__ import annotations

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
FEW_S = 10 * MINUTE_S       # up to here a length is told to the millisecond: pauses and hooks are
NOT_KNOWN = "not known"
UNITS = ("ms", "s", "min", "h", "d")


def length_text(seconds: float | None) -> str:
    """Given seconds, return "0.12 ms", "831 ms", "4.184 s", "1 min 15.3 s", "14 min 31 s", "3 h 12 min", "2 d 4 h"."""
    return NOT_KNOWN if seconds is None else _signed(seconds, _step_ms(abs(seconds)))


def round_length_text(seconds: float | None) -> str:
    """Given seconds, return the same for a sentence: two decimals are enough there, and none beyond a minute."""
    if seconds is None or not abs(seconds) >= 1.0:
        return length_text(seconds)
    if abs(seconds) < MINUTE_S:
        return length_text(round(seconds, 2))
    return _signed(seconds, max(SECOND_MS, _step_ms(abs(seconds))))


def bounded_text(length_s: float | None, uncertainty_s: float | None, *, rounded: bool = False) -> str:
    """Given a length and how far it may be wrong, return "4.184 s ± 31 ms", or "at most 7.854 s" where nothing but
    the upper bound is known."""
    say = round_length_text if rounded else length_text
    if length_s is None or uncertainty_s is None:
        return say(length_s)
    if uncertainty_s >= length_s:
        return f"at most {say(length_s + uncertainty_s)}"
    if rounded and length_s < MINUTE_S:
        return f"{say(length_s)} ± {say(uncertainty_s)}"
    return f"{_signed(length_s, min(_step_ms(length_s), _largest_step_ms(uncertainty_s)))} ± {say(uncertainty_s)}"


def offset_text(seconds: float | None, bound_s: float | None = None) -> str:
    """Given how far a clock is off (positive: ahead) and how far that may be wrong, return "0.12 ms behind" or
    "3 s ahead ± 4 ms"."""
    if seconds is None:
        return NOT_KNOWN
    side = "no offset" if seconds == 0 else f"{round_length_text(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"
    return side if bound_s is None else f"{side} ± {length_text(bound_s)}"


def countdown_text(seconds: float | None) -> str:
    """Given a length that changes while it is looked at, return it no finer than that: "3.2 s", "14 min 59 s"."""
    if seconds is None:
        return NOT_KNOWN
    if abs(seconds) < MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(abs(seconds))
    return f"{whole // MINUTE_S} min {whole % MINUTE_S} s" if whole < 2 * HOUR_S else length_text(whole)


def distance_text(seconds: float) -> str:
    """Given seconds since a moment (negative: still to come), return it in words: "3 min ago", "in 14 min", "now"."""
    whole = int(abs(seconds))
    if whole < 1:
        return "now"
    for unit_s, unit, limit in ((1, "s", 60), (MINUTE_S, "min", 120), (HOUR_S, "h", 48), (DAY_S, "d", 0)):
        amount = f"{whole // unit_s} {unit}"
        if whole < limit * unit_s:
            break
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def _step_ms(size_s: float) -> int:
    """The finest part that is told of a length."""
    if size_s < FEW_S:
        return 1
    return SECOND_MS if round(size_s) < HOUR_S else MINUTE_MS if round(size_s) < 2 * DAY_S else HOUR_MS


def _largest_step_ms(doubt_s: float) -> int:
    """The coarsest part that hides nothing of a length which is known this well."""
    return 1 if doubt_s < 1 else SECOND_MS if doubt_s < MINUTE_S else MINUTE_MS if doubt_s < HOUR_S else HOUR_MS


def _signed(seconds: float, step_ms: int) -> str:
    text = _parts(abs(seconds), step_ms)
    return f"-{text}" if seconds < 0 and text != "0 ms" else text


def _parts(size_s: float, step_ms: int) -> str:
    if size_s < 0.9995:
        return f"{_short(size_s * 1000, 2 if size_s < 0.01 else 0)} ms"
    if step_ms < SECOND_MS:
        return _in_units(round(size_s * 1000))
    return _in_units(round(size_s) * SECOND_MS // step_ms * step_ms)    # what is left off is not rounded up


def _in_units(whole_ms: int) -> str:
    """All parts that are not nothing, seconds with their fraction; hours go on to two days."""
    minutes, rest_ms = divmod(whole_ms, MINUTE_MS)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24) if hours >= 48 else (0, hours)
    parts = [f"{amount} {unit}" for amount, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if amount]
    if rest_ms:
        parts.append(f"{_short(rest_ms / SECOND_MS, 3)} s")
    return " ".join(parts)


def _short(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
