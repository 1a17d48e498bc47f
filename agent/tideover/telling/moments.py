"""Moments and lengths as people read them. Pure."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tideover.model import utc_text

FEW_S = 600.0       # up to here a length is told with its fraction: pauses and hooks are
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Times:
    """How moments are told: in local time with its zone and how long ago, or exactly, in UTC.

    `now`: aware UTC.
    """

    now: datetime
    utc: bool = False

    def moment(self, text: str | None) -> str:
        """Given a moment of a record, return "2026-11-20 11:00:00 CET (3 min ago)"; exact: as it stands there."""
        if text is None:
            return "-"
        return text if self.utc else f"{self.local(text)} ({self.ago(text)})"

    def local(self, text: str | None) -> str:
        """Given a moment of a record, return it without how long ago it was."""
        if text is None or self.utc:
            return text or "-"
        at = datetime.fromisoformat(text).astimezone()
        return f"{at:%Y-%m-%d %H:%M:%S} {zone(at)}"

    def ago(self, text: str | None) -> str:
        """Given a moment of a record, return "3 min ago" or "in 14 min"."""
        return "-" if text is None else distance_text((self.now - datetime.fromisoformat(text)).total_seconds())

    def this_moment(self) -> str:
        return self.local(utc_text(self.now))

    def clock_times(self, texts: list[str]) -> tuple[str, list[str]]:
        """Given the moments of one story, return a head and each as short as it can be without doubt: the time of day
        where all are of one day and zone."""
        moments = [datetime.fromisoformat(text).astimezone() for text in texts]
        days = {(at.date(), zone(at)) for at in moments}
        if self.utc or len(days) != 1:
            return "TIME", [self.local(text) for text in texts]
        return f"TIME ({zone(moments[0])})", [at.strftime("%H:%M:%S.%f")[:-3] for at in moments]


def zone(at: datetime) -> str:
    """Given a moment, return the zone's short name, or its distance from UTC where it has only a long one (Windows)."""
    name = at.tzname() or ""
    if name == "UTC" or at.tzinfo is UTC:
        return "UTC"
    return name if name.isalpha() and len(name) <= 5 else at.strftime("%z")


def distance_text(seconds: float) -> str:
    """Given seconds since a moment (negative: still to come), return it in words: "3 min ago", "in 14 min", "now"."""
    whole = int(abs(seconds))
    if whole < 1:
        return "now"
    for unit_s, unit, limit in ((1, "s", 60), (60, "min", 120), (3600, "h", 48), (86400, "d", 0)):
        amount = f"{whole // unit_s} {unit}"
        if whole < limit * unit_s:
            break
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def length_text(seconds: float | None) -> str:
    """Given a length in seconds, return it with the unit that fits: "0.4 ms", "5.003 s", "12 min 5 s", "2 d 3 h"."""
    if seconds is None:
        return UNKNOWN
    size = abs(seconds)
    if size < 1:
        return f"{_shortened(seconds * 1000, 1)} ms"
    if size < FEW_S:
        return f"{_shortened(seconds, 3)} s"
    return ("-" if seconds < 0 else "") + _in_two_units(round(size))


def coarse_text(seconds: float | None) -> str:
    """Given a length that changes while it is looked at, return it no finer than that: "3.2 s", "14 min 59 s"."""
    if seconds is None:
        return UNKNOWN
    whole = round(abs(seconds))
    if abs(seconds) < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 7200 else _in_two_units(whole)


def bounded_text(value_s: float | None, bound_s: float | None) -> str:
    """Given a measured length and its bound, return "5.003 s ± 31 ms"."""
    bound = f" ± {length_text(bound_s)}" if bound_s is not None else ""
    return f"{length_text(value_s)}{bound}"


def _in_two_units(whole: int) -> str:
    left = timedelta(seconds=whole)
    parts = [(left.days, "d"), (left.seconds // 3600, "h"), (left.seconds // 60 % 60, "min"), (left.seconds % 60, "s")]
    first = next(index for index, (amount, _) in enumerate(parts) if amount or index == len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first:first + 2] if amount or whole == 0)


def _shortened(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".rstrip("0").rstrip(".")      # + 0.0: no minus before nothing
