"""The time axis: one scale for all of it, and the long stretches in which nothing happened cut out. Pure arithmetic."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

SHORTEST_CUT_S = 3.0
CUT_SHARE = 0.35          # a stretch without news that would take more than this share beside all others is cut
MARGIN_SHARE = 0.05       # of what is kept, on either side of a cut
MOST_CUTS = 5
STEPS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
           3600, 7200, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` to `end`, in seconds or in pixels."""

    begin: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time that is drawn, and where."""

    time: Span
    place: Span


@dataclass(frozen=True, slots=True)
class Axis:
    """Where each moment lies. A moment in a cut lies at the cut's middle."""

    stretches: tuple[Stretch, ...]
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
    def cuts(self) -> tuple[tuple[Span, float], ...]:
        """Each cut's place, and the seconds it leaves out."""
        return tuple((Span(left.place.end, right.place.begin), right.time.begin - left.time.end)
                     for left, right in pairwise(self.stretches))


def axis_over(news: Iterable[Span], place: Span, cut_width: float) -> Axis:
    """Given stretches in which something happened (at least one; moments are empty ones), the place there is and a
    cut's width in pixels, return the axis over all of them."""
    kept = _kept(_merged(news))
    room = place.length - cut_width * (len(kept) - 1)
    scale = room / sum(span.length for span in kept)
    stretches, x = [], place.begin
    for span in kept:
        stretches.append(Stretch(span, Span(x, x + span.length * scale)))
        x += span.length * scale + cut_width
    return Axis(tuple(stretches), scale)


def ticks(axis: Axis, least_distance: float, origin_s: float = 0.0) -> list[float]:
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


def _merged(news: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(news, key=lambda span: span.begin):
        if merged and span.begin <= merged[-1].end:
            merged[-1] = Span(merged[-1].begin, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _kept(news: Sequence[Span]) -> list[Span]:
    """Cut the longest gaps, one after the other, as long as they would take too much room."""
    gaps = [Span(left.end, right.begin) for left, right in pairwise(news)]
    rest_s = news[-1].end - news[0].begin
    cut: list[Span] = []
    for gap in sorted(gaps, key=lambda gap: -gap.length)[:MOST_CUTS]:
        if gap.length >= SHORTEST_CUT_S and gap.length > CUT_SHARE * (rest_s - gap.length):
            cut.append(gap)
            rest_s -= gap.length
    margin_s = max(MARGIN_SHARE * rest_s, SHORTEST_CUT_S / 10)
    kept, begin = [], news[0].begin
    for gap in sorted(cut, key=lambda gap: gap.begin):
        kept.append(Span(begin, gap.begin + min(margin_s, gap.length / 4)))
        begin = gap.end - min(margin_s, gap.length / 4)
    end = news[-1].end
    return [*kept, Span(begin, max(end, begin + 1.0) if not kept and end == begin else end)]
