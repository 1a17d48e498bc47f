"""How durations, timestamps, relative times ("5 min ago"), offsets and countdowns are written for people. Pure but for
the local time zone."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from tideover.model import utc_text

# --- Durations, to the digit that is known

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
FEW_S = 10 * MINUTE_S       # up to here a duration is shown to the millisecond: pauses and hooks are
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
    text_of = round_length_text if rounded else length_text
    if length_s is None or uncertainty_s is None:
        return text_of(length_s)
    if uncertainty_s >= length_s:
        return f"at most {text_of(length_s + uncertainty_s)}"
    if rounded and length_s < MINUTE_S:
        return f"{text_of(length_s)} ± {text_of(uncertainty_s)}"
    return f"{_signed(length_s, min(_step_ms(length_s), _largest_step_ms(uncertainty_s)))} ± {text_of(uncertainty_s)}"


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
    """The finest part of a duration that is shown."""
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


# --- Timestamps: local time with its zone, and how long ago; exact, or with UTC beside it

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LONGEST_ZONE = 5            # characters of a name that is one (CET, AEST); Windows has sentences


@dataclass(frozen=True, slots=True)
class Times:
    """How timestamps are shown. `now`: aware. `utc`: all in UTC. `zone`: whose local time, None for this machine's.

    A moment is given aware, or as a record has it (2026-11-20T10:00:00.123Z); None is one that never came.
    """

    now: datetime
    utc: bool = False
    zone: tzinfo | None = None

    def localise(self, at: datetime) -> datetime:
        """Given an aware moment, return the same one in the zone that is shown; where that would be beyond the years
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

    def clock_times(self, story: list[datetime]) -> tuple[str, list[str]]:
        """Given the moments of one story, return a head and each as short as it can be without doubt: the time of day
        where all are of one day and zone."""
        moments = [self.localise(at) for at in story]
        days = {(at.date(), zone_text(at)) for at in moments}
        if self.utc or len(days) != 1:
            return "TIME", [self.local(at) for at in story]
        return f"TIME ({zone_text(moments[0])})", [_clock(at) for at in moments]

    # --- with UTC beside ---

    def full(self, at: datetime) -> str:
        """2026-11-21 13:04:05 CET (UTC+01:00); 12:04:05 UTC, with UTC's day where it is another."""
        text = f"{self.day(at)} {self.clock(at)[:8]} {self.zone_and_distance(at)}"
        if self.is_utc(at):
            return text
        other = at.astimezone(UTC)
        day = "" if other.date() == self.localise(at).date() else f"{other.date().isoformat()} "
        return f"{text}; {day}{self.utc_clock(at)[:8]} UTC"

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
