"""Moments as the page shows them: the reader's local time with its zone, and UTC beside it. Pure: the way from UTC to
local time is given, not looked up."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Times:
    """`now`: aware. `localise`: given an aware moment, return the same one in local time."""

    now: datetime
    localise: Callable[[datetime], datetime]

    def day(self, at: datetime) -> str:
        """21 Nov 2026, by local time."""
        local = self.localise(at)
        return f"{local.day} {MONTHS[local.month - 1]} {local.year}"

    def clock(self, at: datetime) -> str:
        """13:04:05.123, local."""
        return self.localise(at).strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"

    def utc_clock(self, at: datetime) -> str:
        return at.astimezone(UTC).strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"

    def zone(self, at: datetime) -> str:
        """CET (UTC+01:00); the name alone could mean several."""
        local = self.localise(at)
        offset = local.strftime("%z")
        name = local.tzname() or ""
        distance = f"UTC{offset[:3]}:{offset[3:5]}"
        return "UTC" if name == "UTC" else f"{name} ({distance})" if name and name[0].isalpha() else distance

    def full(self, at: datetime) -> str:
        """21 Nov 2026, 13:04:05 CET (UTC+01:00), with UTC in brackets where it differs."""
        said = f"{self.day(at)}, {self.clock(at)[:8]} {self.zone(at)}"
        if self.zone(at) == "UTC":
            return said
        other = at.astimezone(UTC)
        day = "" if other.date() == self.localise(at).date() else f"{other.day} {MONTHS[other.month - 1]} "
        return f"{said}; {day}{self.utc_clock(at)[:8]} UTC"

    def brief(self, at: datetime, day_of: datetime) -> str:
        """13:04:05 CET; 12:04:05 UTC, with the day only where it is another one than `day_of`'s."""
        day = "" if self.localise(at).date() == self.localise(day_of).date() else f"{self.day(at)}, "
        name = self.zone(at).partition(" (")[0]
        other = f"; {self.utc_clock(at)[:8]} UTC" if self.has_other_zone(at) else ""
        return f"{day}{self.clock(at)[:8]} {name}{other}"

    def has_other_zone(self, at: datetime) -> bool:
        return self.zone(at) != "UTC"
