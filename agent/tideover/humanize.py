"""Moments as people read them: in local time with its zone, and how long ago; exactly, or with UTC beside, where they
are compared with another machine's. Pure but for the machine's own time zone."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from tideover.model import utc_text
from tideover.wording.lengths import distance_text

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LONGEST_ZONE = 5            # characters of a name that is one (CET, AEST); Windows has sentences


@dataclass(frozen=True, slots=True)
class Times:
    """How moments are told. `now`: aware. `utc`: all in UTC. `zone`: whose local time, None for this machine's.

    A moment is given aware, or as a record has it (2026-11-20T10:00:00.123Z); None is one that never came.
    """

    now: datetime
    utc: bool = False
    zone: tzinfo | None = None

    def localise(self, at: datetime) -> datetime:
        """Given an aware moment, return the same one in the time that is told; where that would be beyond the years
        there are (9999-12-31 in Auckland), as it was given."""
        try:
            return at.astimezone(UTC if self.utc else self.zone)
        except (OverflowError, ValueError, OSError):        # as different systems say it
            return at

    # --- parts of a moment ---

    def day(self, at: datetime) -> str:
        """2026-11-21"""
        return self.localise(at).date().isoformat()

    def clock(self, at: datetime) -> str:
        """13:04:05.123"""
        return _clock(self.localise(at))

    def utc_clock(self, at: datetime) -> str:
        return _clock(at.astimezone(UTC))

    def zone_and_distance(self, at: datetime) -> str:
        """CET (UTC+01:00); the name alone could mean several."""
        local = self.localise(at)
        name, distance = zone_text(local), _distance_from_utc(local)
        return name if name in ("UTC", distance) else f"{name} ({distance})"

    def is_utc(self, at: datetime) -> bool:
        return zone_text(self.localise(at)) == "UTC"

    # --- in local time ---

    def local(self, at: datetime | str | None) -> str:
        """2026-11-20 11:00:00 CET; in UTC exactly, as the record has it; "-" for one that never came."""
        if at is None:
            return "-"
        if self.utc:
            return at if isinstance(at, str) else utc_text(at) or "-"
        return moment_text(self.localise(_moment(at)))

    def moment(self, at: datetime | str | None) -> str:
        """2026-11-20 11:00:00 CET (3 min ago); in UTC exactly, as the record has it."""
        return self.local(at) if at is None or self.utc else f"{self.local(at)} ({self.ago(at)})"

    def ago(self, at: datetime | str | None) -> str:
        """3 min ago, or in 14 min."""
        return "-" if at is None else distance_text((self.now - _moment(at)).total_seconds())

    def this_moment(self) -> str:
        return self.local(self.now)

    def clock_times(self, story: list[str]) -> tuple[str, list[str]]:
        """Given the moments of one story, return a head and each as short as it can be without doubt: the time of day
        where all are of one day and zone."""
        moments = [self.localise(_moment(text)) for text in story]
        days = {(at.date(), zone_text(at)) for at in moments}
        if self.utc or len(days) != 1:
            return "TIME", [self.local(text) for text in story]
        return f"TIME ({zone_text(moments[0])})", [_clock(at) for at in moments]

    # --- with UTC beside ---

    def full(self, at: datetime) -> str:
        """2026-11-21 13:04:05 CET (UTC+01:00); 12:04:05 UTC, with UTC's day where it is another."""
        said = f"{self.day(at)} {self.clock(at)[:8]} {self.zone_and_distance(at)}"
        if self.is_utc(at):
            return said
        other = at.astimezone(UTC)
        day = "" if other.date() == self.localise(at).date() else f"{other.date().isoformat()} "
        return f"{said}; {day}{self.utc_clock(at)[:8]} UTC"

    def brief(self, at: datetime, day_of: datetime) -> str:
        """13:04:05 CET; 12:04:05 UTC, with the day only where it is another one than `day_of`'s."""
        day = "" if self.day(at) == self.day(day_of) else f"{self.day(at)} "
        other = "" if self.is_utc(at) else f"; {self.utc_clock(at)[:8]} UTC"
        return f"{day}{self.clock(at)[:8]} {zone_text(self.localise(at))}{other}"


def moment_text(at: datetime) -> str:
    """Given an aware moment, return it by its own zone: "2026-11-20 11:00:00 CET"."""
    return f"{at:%Y-%m-%d %H:%M:%S} {zone_text(at)}"


def zone_text(at: datetime) -> str:
    """Given an aware moment, return its zone's short name, or how far it is from UTC ("UTC+01:00") where there is none:
    Windows has only long names, and some zones are called by a number."""
    name = at.tzname() or ""
    return name if name.isalpha() and len(name) <= LONGEST_ZONE else _distance_from_utc(at)


def _distance_from_utc(at: datetime) -> str:
    offset = at.strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def _moment(at: datetime | str) -> datetime:
    return datetime.fromisoformat(at) if isinstance(at, str) else at
