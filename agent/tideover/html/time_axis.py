"""The time axis of a timeline: its scale, ticks, and stretches that are cut out. Pure."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from tideover.model import Cause, ClockSample, Pause
from tideover.record import EventRecord

# --- True time: where a timestamp of the record lies, by samples of time sources
# A record's timestamps are what this machine's clock showed then. The clock of a paused machine may stop with it: after
# the resume it is behind by the pause, until it is stepped. Drawn as they stand in the record
# the pause would lie on top of what came before it. Only where the first reading after a pause says that the clock had
# lost just that pause are the moments after it moved, by what the readings say.

SLACK_S = 0.1        # readings come some milliseconds after the resume, and a slew may have begun


def seconds_since_notice(account: EventRecord) -> Callable[[datetime], float]:
    """Given an account, return what turns its moments into seconds of true time since it was noticed."""
    def since(at: datetime) -> float:
        return (at - account.noticed_at).total_seconds()

    shifts = [(stop.resumed_at, _after(stop, account)) for stop in account.interruptions
              if clock_stood_still(stop, account)]
    shifts.sort(key=lambda shift: shift[0])
    beginnings = [begun for begun, _ in shifts]

    def seconds(at: datetime) -> float:
        index = bisect_right(beginnings, at) - 1
        return since(at) if index < 0 else _true_s(at, shifts[index][1], since)

    return seconds


def clock_stood_still(stop: Pause, account: EventRecord) -> bool:
    """Whether the first reading after this pause says that the clock had lost its length, neither more nor less."""
    after = _after(stop, account)
    if not after or stop.length_s is None or stop.cause not in (Cause.VM_PAUSE, Cause.SUSPEND):
        return False
    doubt_s = (stop.shown_uncertainty_s or 0.0) + (after[0].error_bound_s or 0.0) + SLACK_S
    return stop.length_s > doubt_s and abs(after[0].offset_s + stop.length_s) <= doubt_s


def _after(stop: Pause, account: EventRecord) -> Sequence[ClockSample]:
    """The readings between this pause's end and the next one's."""
    later = [other.resumed_at for other in account.interruptions if other.resumed_at > stop.resumed_at]
    return [one for one in account.clock.samples if one.at >= stop.resumed_at and (not later or one.at < min(later))]


def _true_s(at: datetime, readings: Sequence[ClockSample], since: Callable[[datetime], float]) -> float:
    """By the reading before, the first one where there is none; never past the true time of the next reading."""
    index = max(0, bisect_right([one.at for one in readings], at) - 1)
    true_s = since(at) - readings[index].offset_s
    if index + 1 == len(readings):
        return true_s
    following = readings[index + 1]
    return min(true_s, since(following.at) - following.offset_s)


# --- The axis

SHORTEST_CUT_S = 3.0
CUT_SHARE = 0.35          # a stretch without news that would take more than this share beside all others is cut
MARGIN_SHARE = 0.05       # of what is kept, on either side of a cut
MOST_CUTS = 5
STEPS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
           3600, 7200, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From `begin` to `end`, in seconds or in pixels."""

    begin: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class AxisSegment:
    """A stretch of time that is drawn, and where."""

    time: TimeSpan
    place: TimeSpan


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Where each moment lies. A moment in a cut lies at the cut's middle."""

    stretches: tuple[AxisSegment, ...]
    scale: float              # pixels a second, the same everywhere

    def x(self, seconds: float) -> float:
        first, last = self.stretches[0], self.stretches[-1]
        if seconds <= first.time.begin:
            return first.place.begin
        for before, after in zip(self.stretches, (*self.stretches[1:], None), strict=True):
            if seconds <= before.time.end:
                return before.place.begin + (seconds - before.time.begin) * self.scale
            if after is not None and seconds < after.time.begin:
                return (before.place.end + after.place.begin) / 2
        return last.place.end

    def is_drawn(self, seconds: float) -> bool:
        return any(one.time.begin <= seconds <= one.time.end for one in self.stretches)

    @property
    def cuts(self) -> tuple[tuple[TimeSpan, float], ...]:
        """Each cut's place, and the seconds it leaves out."""
        return tuple((TimeSpan(left.place.end, right.place.begin), right.time.begin - left.time.end)
                     for left, right in pairwise(self.stretches))


def axis_over(news: Iterable[TimeSpan], place: TimeSpan, cut_width: float) -> TimeAxis:
    """Given stretches in which something happened (at least one; moments are empty ones), the place there is and a
    cut's width in pixels, return the axis over all of them."""
    kept = _kept(_merged(news))
    room = place.length - cut_width * (len(kept) - 1)
    scale = room / sum(span.length for span in kept)
    stretches, x = [], place.begin
    for span in kept:
        stretches.append(AxisSegment(span, TimeSpan(x, x + span.length * scale)))
        x += span.length * scale + cut_width
    return TimeAxis(tuple(stretches), scale)


def ticks(axis: TimeAxis, least_distance: float, origin_s: float = 0.0) -> list[float]:
    """Given an axis, how many pixels apart ticks must be, and the clock's seconds at 0, return round moments."""
    step = next((step for step in STEPS_S if step * axis.scale >= least_distance), STEPS_S[-1])
    found: list[float] = []
    for stretch in axis.stretches:
        number = -int(-(stretch.time.begin + origin_s) // step)
        while (at := number * step - origin_s) <= stretch.time.end:
            if not found or axis.x(at) - axis.x(found[-1]) >= least_distance:
                found.append(at)
            number += 1
    return found


def _merged(news: Iterable[TimeSpan]) -> list[TimeSpan]:
    merged: list[TimeSpan] = []
    for span in sorted(news, key=lambda span: span.begin):
        if merged and span.begin <= merged[-1].end:
            merged[-1] = TimeSpan(merged[-1].begin, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _kept(news: Sequence[TimeSpan]) -> list[TimeSpan]:
    """Cut the longest gaps, one after the other, as long as they would take too much room."""
    gaps = [TimeSpan(left.end, right.begin) for left, right in pairwise(news)]
    rest_s = news[-1].end - news[0].begin
    cut: list[TimeSpan] = []
    for gap in sorted(gaps, key=lambda gap: -gap.length)[:MOST_CUTS]:
        if gap.length >= SHORTEST_CUT_S and gap.length > CUT_SHARE * (rest_s - gap.length):
            cut.append(gap)
            rest_s -= gap.length
    margin_s = max(MARGIN_SHARE * rest_s, SHORTEST_CUT_S / 10)
    kept, begin = [], news[0].begin
    for gap in sorted(cut, key=lambda gap: gap.begin):
        kept.append(TimeSpan(begin, gap.begin + min(margin_s, gap.length / 4)))
        begin = gap.end - min(margin_s, gap.length / 4)
    end = news[-1].end
    return [*kept, TimeSpan(begin, max(end, begin + 1.0) if not kept and end == begin else end)]
