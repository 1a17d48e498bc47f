"""The chart of the clock's offset on a page. Pure."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tideover.html.markup import Area, Box, Dot, Drawing, Label, PageLayout, SvgLine, SvgShape
from tideover.html.time_axis import TimeAxis, TimeSpan, axis_over, seconds_since_notice, ticks
from tideover.humanize import length_text, offset_text
from tideover.model import ClockSample
from tideover.record import ClockRecord, EventRecord

PADDING = 0.12             # of the range, above and below
LEAST_RANGE_S = 0.001
LABEL_DISTANCE = 14.0
DOT = 3.0
AXIS_HEIGHT = 26.0


@dataclass(frozen=True, slots=True)
class Panel:
    """A place for the curve; the range of offsets is shown from top to bottom, ahead is up."""

    place: TimeSpan
    top: float
    height: float
    range: TimeSpan

    def y(self, offset_s: float) -> float:
        share = (self.range.end - offset_s) / self.range.length
        return self.top + min(1.0, max(0.0, share)) * self.height


def panel_for(clock: ClockRecord, place: TimeSpan, top: float, height: float) -> Panel:
    """Given what is known of the clock and a place, return the panel that shows all of it, zero and the tolerance."""
    marks = [0.0]
    if clock.check.tolerance_s is not None:
        marks += [clock.check.tolerance_s, -clock.check.tolerance_s]
    for one in clock.samples:
        bound_s = one.error_bound_s or 0.0
        marks += [one.offset_s - bound_s, one.offset_s + bound_s]
    low, high = min(marks), max(marks)
    padding = max(PADDING * (high - low), LEAST_RANGE_S)
    return Panel(place, top, height, TimeSpan(low - padding, high + padding))


def curve(clock: ClockRecord, panel: Panel, x_of: Callable[[ClockSample], float | None],
          layout: PageLayout) -> list[SvgShape]:
    """Given where each reading lies (None: it is not drawn), return the panel's shapes."""
    placed = [(x, one) for one in clock.samples if (x := x_of(one)) is not None]
    return [*_ground(clock, panel), *_bands(placed, panel), *_lines(placed, panel), *_dots(placed, clock, panel),
            *_offsets(clock, panel, layout)]


def clock_drawing(account: EventRecord, layout: PageLayout) -> Drawing:
    """Given an account with readings, return the curve of all of them over the seconds since the first."""
    seconds, clock = seconds_since_notice(account), account.clock
    begin_s = seconds(clock.samples[0].at)
    since = [seconds(one.at) - begin_s for one in clock.samples]
    left = layout.left or 4.0
    axis = axis_over([TimeSpan(0.0, max(*since, 1.0) if len(since) > 1 else 1.0)], TimeSpan(left, layout.width - 24), 0)
    panel = panel_for(clock, TimeSpan(left, layout.width - 4), 12, layout.panel * 1.3)
    places = {id(one): axis.x(at_s) for one, at_s in zip(clock.samples, since, strict=True)}
    shapes = [*curve(clock, panel, lambda one: places[id(one)], layout), *_seconds_axis(axis, panel, layout)]
    return Drawing(f"clock-{layout.name}", layout.width, panel.top + panel.height + AXIS_HEIGHT + 4,
                   "Offset of the clock from the time servers", describe(clock), tuple(shapes))


def describe(clock: ClockRecord) -> str:
    """Given what is known of the clock, return the curve in a sentence."""
    if not clock.samples:
        return "The record has no samples."
    first, last = clock.samples[0], clock.samples[-1]
    tolerance_s = clock.check.tolerance_s
    tolerance = f", against a tolerance of {length_text(tolerance_s)}" if tolerance_s is not None else ""
    if len(clock.samples) == 1:
        return f"One sample, {offset_text(first.offset_s)}{tolerance}."
    return (f"{len(clock.samples)} samples, from {offset_text(first.offset_s)} in the first to "
            f"{offset_text(last.offset_s)} in the last{tolerance}.")


def is_inside(one: ClockSample, tolerance_s: float | None) -> bool | None:
    """Whether a reading is within the tolerance with all its error; None: there is no tolerance to hold it against."""
    return None if tolerance_s is None else abs(one.offset_s) + (one.error_bound_s or 0.0) <= tolerance_s


def _ground(clock: ClockRecord, panel: Panel) -> list[SvgShape]:
    shapes: list[SvgShape] = [Box(panel.place.begin, panel.top, panel.place.length, panel.height, "panel", round=3)]
    if clock.check.tolerance_s is not None:
        high, low = panel.y(clock.check.tolerance_s), panel.y(-clock.check.tolerance_s)
        shapes.append(Box(panel.place.begin, high, panel.place.length, max(low - high, 1.0), "tolerance",
                          f"the tolerance, ± {length_text(clock.check.tolerance_s)}"))
    zero = panel.y(0.0)
    return [*shapes, SvgLine(((panel.place.begin, zero), (panel.place.end, zero)), "zero")]


def _by_server(placed: Sequence[tuple[float, ClockSample]]) -> list[list[tuple[float, ClockSample]]]:
    servers = dict.fromkeys(one.server for _, one in placed)
    return [[(x, one) for x, one in placed if one.server == server] for server in servers]


def _bands(placed: Sequence[tuple[float, ClockSample]], panel: Panel) -> list[SvgShape]:
    shapes: list[SvgShape] = []
    for mine in _by_server(placed):
        bounded = [(x, one.offset_s, one.error_bound_s) for x, one in mine if one.error_bound_s is not None]
        if len(bounded) > 1:
            upper = [(x, panel.y(offset_s + bound_s)) for x, offset_s, bound_s in bounded]
            lower = [(x, panel.y(offset_s - bound_s)) for x, offset_s, bound_s in reversed(bounded)]
            shapes.append(Area((*upper, *lower), "band"))
        shapes += [SvgLine(((x, panel.y(offset_s - bound_s)), (x, panel.y(offset_s + bound_s))), "whisker")
                   for x, offset_s, bound_s in bounded]
    return shapes


def _lines(placed: Sequence[tuple[float, ClockSample]], panel: Panel) -> list[SvgShape]:
    return [SvgLine(tuple((x, panel.y(one.offset_s)) for x, one in mine), "curve")
            for mine in _by_server(placed) if len(mine) > 1]


def _dots(placed: Sequence[tuple[float, ClockSample]], clock: ClockRecord, panel: Panel) -> list[SvgShape]:
    looks = {True: "dot good", False: "dot bad", None: "dot"}
    return [Dot(x, panel.y(one.offset_s), DOT, looks[is_inside(one, clock.check.tolerance_s)],
                offset_text(one.offset_s, one.error_bound_s)) for x, one in placed]


def _offsets(clock: ClockRecord, panel: Panel, layout: PageLayout) -> list[SvgShape]:
    """The scale at the left: zero, the tolerance, and the furthest reading; what would lie too close is left out."""
    marks = [(0.0, "0")]
    if clock.samples:
        furthest = max((one.offset_s for one in clock.samples), key=abs)
        marks.append((furthest, _signed(furthest)))
    if clock.check.tolerance_s is not None:
        marks += [(side * clock.check.tolerance_s, _signed(side * clock.check.tolerance_s)) for side in (1.0, -1.0)]
    shown: list[float] = []
    shapes: list[SvgShape] = []
    for offset_s, text in marks:
        y = panel.y(offset_s)
        if all(abs(y - other) >= LABEL_DISTANCE for other in shown):
            shown.append(y)
            shapes.append(Label(layout.left - 8, y + 4, text, "scale", "end") if layout.left else
                          Label(panel.place.begin + 5, y - 3, text, "scale halo"))
    return shapes


def _seconds_axis(axis: TimeAxis, panel: Panel, layout: PageLayout) -> list[SvgShape]:
    y = panel.top + panel.height
    shapes: list[SvgShape] = [SvgLine(((panel.place.begin, y), (panel.place.end, y)), "axis")]
    for at in ticks(axis, layout.tick_distance):
        x = axis.x(at)
        anchor = "start" if x < panel.place.begin + 12 else "middle"
        shapes += [SvgLine(((x, y), (x, y + 4)), "axis"),
                   Label(x, y + 18, length_text(at) if at else "0", "scale", anchor)]
    return shapes


def _signed(offset_s: float) -> str:
    return ("+" if offset_s > 0 else "") + length_text(offset_s)
