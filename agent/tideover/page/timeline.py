"""The drawing of an event: who did what when, the pause across it all, and the clock's curve beneath. Pure.

One linear scale; stretches without news are cut out and say how long they were.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from tideover.page.account import ASLEEP, Account, Reading, Run, Stop
from tideover.page.axis import Axis, Span, axis_over, ticks
from tideover.page.clock_curve import curve, panel_for
from tideover.page.flags import plant
from tideover.page.layout import Layout
from tideover.page.lengths import bounded_text, length_text, round_length_text
from tideover.page.markup import legible
from tideover.page.milestones import Milestone, milestones
from tideover.page.shapes import Box, Drawing, Label, Line, Shape, text_width
from tideover.page.times import Times
from tideover.page.true_time import seconds_since_notice
from tideover.page.verdict import noun, verdict_of

FLAG_ROW, FLAG_HEIGHT = 19.0, 16.0
LEAST_BAR = 2.5
INSIDE_TEXT = 11.0
NAME_SIGNS = 18
SECONDS_A_DAY = 86400

DOINGS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "waiting": ("quiet", "waits"), "preparing": ("prepare", "prepares"), "asking": ("prepare", "tells the platform"),
    "doubting": ("quiet", "asks again"), "holding": ("quiet", "waits"), "underway": ("quiet", "watches"),
    "checking": ("check", "checks clock"), "settling": ("quiet", "waits"), "recovering": ("recover", "recovers"),
    "lingering": ("quiet", "watches on"), "watching": ("quiet", "watches"),
})
"""What the agent does in each phase: the look of its bar and the words in it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """`limit_s`: where its budget ends, as a moment of the axis."""

    time: Span
    look: str
    inside: str = ""
    beside: str = ""
    about: str = ""
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """A pause on the axis. `whole`: as long as it may have been; `sure`: as long as it was at least."""

    whole: Span
    sure: Span
    stop: Stop


class Stage:
    """One account on one layout: its moments as seconds, its axis. Changes nothing after it is made."""

    def __init__(self, account: Account, times: Times, layout: Layout) -> None:
        self.account, self.times, self.layout = account, times, layout
        self.seconds: Callable[[datetime], float] = seconds_since_notice(account)
        self.rests = tuple(self._rest(stop) for stop in account.pauses)
        self.end_s = max(self._ends())
        widest = max((_flag_width(one, layout) for one in milestones(account)), default=0.0)
        self.right = layout.width - max(layout.right, widest + 2)
        self.not_before_s = self._not_before_s()
        self.axis: Axis = axis_over(self._news(), Span(layout.left or 2.0, self.right), layout.cut)

    def _rest(self, stop: Stop) -> Rest:
        end = self.seconds(stop.ended)
        if stop.length_s is None:
            return Rest(Span(end, end), Span(end, end), stop)
        begin, doubt_s = end - stop.length_s, stop.uncertainty_s or 0.0
        return Rest(Span(begin - doubt_s, end), Span(min(begin + doubt_s, end), end), stop)

    def _ends(self) -> list[float]:
        account = self.account
        now = [] if account.is_over else [(self.times.now - account.noticed).total_seconds()]
        return [*now, *(self.seconds(move.at) for move in account.moves),
                *(self.seconds(run.ended) for run in account.runs), *(rest.whole.end for rest in self.rests), 0.0]

    def _not_before_s(self) -> float | None:
        account = self.account
        at = None if account.not_before is None else self.seconds(account.not_before)
        waits = not account.is_over and account.started is None
        return at if at is not None and at >= 0 and (waits or at <= self.end_s) else None

    def _news(self) -> list[Span]:
        """What the axis must show. A NotBefore is part of the story unless all was over before."""
        account = self.account
        moments = [self.seconds(move.at) for move in account.moves if move.what != "clock followed"]
        moments += [] if account.is_over else [self.end_s]
        moments += [] if self.not_before_s is None else [self.not_before_s]
        spans = [Span(at, at) for at in moments]
        spans += [Span(self.seconds(run.began), self.seconds(run.began) + run.duration_s) for run in account.runs]
        spans += [rest.whole for rest in self.rests]
        judged = account.clock.checked_at
        if judged is not None and self.rests and judged >= self.rests[-1].stop.ended:
            spans.append(Span(self.rests[-1].whole.end, self.seconds(judged)))
        return spans


def timeline(account: Account, times: Times, layout: Layout) -> Drawing:
    """Given an account, return its drawing for one layout."""
    stage = Stage(account, times, layout)
    flags, flags_height = _flags(stage)
    rests_top = flags_height + 4
    lanes_top = rests_top + (20 if stage.rests else 4)
    lane_shapes, y = _lanes(stage, lanes_top)
    clock_shapes, bottom = _clock(stage, y + 6)
    shapes = [*_rests(stage, rests_top, lanes_top, bottom), *lane_shapes, *clock_shapes,
              *_axis(stage, lanes_top, bottom), *_appointments(stage, lanes_top, bottom),
              *flags(bottom)]
    height = bottom + (42 if stage.axis.cuts else 26)
    return Drawing(f"timeline-{layout.name}", layout.width, height, f"Timeline of {noun(account)}",
                   f"{verdict_of(account).sentence} The table below holds the same moments.", tuple(shapes))


# --- flags ------------------------------------------------------------------------------------------------------

def _flags(stage: Stage) -> tuple[Callable[[float], list[Shape]], float]:
    """The flags and how high they reach; their staffs are drawn when it is known how far down they go."""
    layout = stage.layout
    points = sorted(milestones(stage.account), key=lambda one: (stage.seconds(one.move.at), one.number))
    words = [_flag_words(one, layout) for one in points]
    planted = plant([(_x(stage, one), _flag_width(one, layout)) for one in points])
    height = FLAG_ROW * (max((flag.row for flag in planted), default=-1) + 1)

    def draw(bottom: float) -> list[Shape]:
        staffs: list[Shape] = []
        cloths: list[Shape] = []
        for flag, text, one in zip(planted, words, points, strict=True):
            top = height - FLAG_ROW * (flag.row + 1)
            look = f"flag {_look(one)}"
            staffs.append(Line(((flag.x, top), (flag.x, bottom)), "staff"))
            cloths += [Box(flag.x, top, flag.width, FLAG_HEIGHT, look, one.words, 2),
                       Label(flag.x + 4, top + 12, text, "flag-text")]
        return [*staffs, *cloths]

    return draw, height


def _flag_words(one: Milestone, layout: Layout) -> str:
    return f"{one.number}  {one.words}" if layout.spells_flags else f"{one.number}"


def _flag_width(one: Milestone, layout: Layout) -> float:
    return text_width(_flag_words(one, layout), layout.text - 1) + 8


def _x(stage: Stage, one: Milestone) -> float:
    return stage.axis.x(stage.seconds(one.move.at))


def _look(one: Milestone) -> str:
    bad = one.words in ("clock bad", "held back", "go-ahead refused", "recovery failed", "clock unknown")
    return "bad" if bad else "good" if one.words in ("clock good", "all recovered") else ""


# --- lanes ------------------------------------------------------------------------------------------------------

def _lanes(stage: Stage, top: float) -> tuple[list[Shape], float]:
    shapes: list[Shape] = []
    y = top
    for lane in lanes_of(stage):
        shapes += _lane(stage, lane, y)
        y += stage.layout.lane
    return shapes, y


def lanes_of(stage: Stage) -> list[Lane]:
    """The platform's lane, the agent's, and one for each hook in the order in which they were run first."""
    account = stage.account
    lanes = [Lane("Platform", _listed(stage))] if account.is_announced else []
    lanes.append(Lane("tideover", _doings(stage)))
    names = dict.fromkeys(run.name for run in account.runs)
    return lanes + [Lane(name, tuple(_run_bar(stage, run) for run in account.runs if run.name == name))
                    for name in names]


def _listed(stage: Stage) -> tuple[Bar, ...]:
    account = stage.account
    gone = stage.seconds(account.ended) if account.ended else stage.end_s
    begun = stage.seconds(account.started) if account.started else gone
    bars = [Bar(Span(0.0, begun), "scheduled", "Scheduled", about="announced, not begun")]
    if account.started:
        bars.append(Bar(Span(begun, gone), "started", "Started", about="begun, and still listed"))
    return tuple(bars)


def _doings(stage: Stage) -> tuple[Bar, ...]:
    rows = [(stage.seconds(move.at), DOINGS[move.what]) for move in stage.account.moves if move.what in DOINGS]
    closed = stage.account.closed
    end = stage.seconds(closed) if closed else stage.end_s
    ends = [*(at for at, _ in rows[1:]), *([end] if rows else [])]
    return tuple(Bar(Span(at, max(at, until)), look, words, about=words)
                 for (at, (look, words)), until in zip(rows, ends, strict=True))


def _run_bar(stage: Stage, run: Run) -> Bar:
    begin = stage.seconds(run.began)
    look = "failed" if run.has_failed else "stopped" if run.outcome in ("stopped", "not-yet") else run.phase
    said = "" if run.outcome == "done" else f" {run.outcome}"
    limit = None if run.limit_s is None else begin + run.limit_s
    return Bar(Span(begin, begin + run.duration_s), look, beside=f"{round_length_text(run.duration_s)}{said}",
               about=f"{run.phase}: {run.outcome} in {length_text(run.duration_s)}, budget {length_text(run.limit_s)}",
               limit_s=limit)


def _lane(stage: Stage, lane: Lane, top: float) -> list[Shape]:
    layout = stage.layout
    name, most = legible(lane.name), NAME_SIGNS * (2 if layout.names_above else 1)
    name = name if len(name) <= most else name[:most - 1] + "…"
    if layout.names_above:
        bar_y = top + layout.lane - layout.bar - 5
        shapes: list[Shape] = [Label(2, bar_y - 5, name, "lane halo")]
    else:
        bar_y = top + (layout.lane - layout.bar) / 2
        shapes = [Label(layout.left - 12, bar_y + layout.bar - 3, name, "lane", "end")]
    line_y = top + layout.lane
    shapes.append(Line(((layout.left, line_y), (stage.right, line_y)), "lane-line"))
    for bar, after in zip(lane.bars, (*lane.bars[1:], None), strict=False):     # no bar: nothing to draw
        free_until = stage.axis.x(after.time.begin) if after else layout.width - 2
        shapes += _bar(stage, bar, bar_y, free_until)
    return shapes


def _bar(stage: Stage, bar: Bar, y: float, free_until: float) -> list[Shape]:
    layout = stage.layout
    x, end = stage.axis.x(bar.time.begin), stage.axis.x(bar.time.end)
    width = max(end - x, LEAST_BAR)
    shapes: list[Shape] = []
    if bar.limit_s is not None:
        reach = min(stage.axis.x(bar.limit_s), free_until - 2, stage.right)
        if reach > x + width:
            shapes.append(Box(x, y, reach - x, layout.bar, "budget", round=2))
    shapes.append(Box(x, y, width, layout.bar, f"bar {bar.look}", bar.about, 2))
    cut_at = min((cut.begin for cut, _ in stage.axis.cuts if cut.begin >= x), default=layout.width)
    whole = min(width, cut_at - x)
    if bar.inside and text_width(bar.inside, INSIDE_TEXT) + 6 <= whole:
        shapes.append(Label(x + whole / 2, y + layout.bar - 3.2, bar.inside, f"inside on-{bar.look}", "middle"))
    free_until = min(free_until, cut_at)
    if bar.beside and x + width + 5 + text_width(bar.beside, layout.text - 1) <= free_until:
        shapes.append(Label(x + width + 5, y + layout.bar - 3, bar.beside, "beside halo"))
    return shapes


# --- pauses, NotBefore, clock, axis --------------------------------------------------------------------------------

def _rests(stage: Stage, top: float, lanes_top: float, bottom: float) -> list[Shape]:
    shapes: list[Shape] = []
    for rest in stage.rests:
        shapes += _rest(stage, rest, lanes_top - 4, bottom)
    written_until = 0.0
    for rest in stage.rests:
        text = _rest_text(rest)
        width = text_width(text, stage.layout.text)
        middle = (stage.axis.x(rest.whole.begin) + stage.axis.x(rest.whole.end)) / 2
        x = min(max(middle - width / 2, 2.0, written_until), stage.layout.width - width - 2)
        if written_until <= x < middle:      # no words rather than words beside another stretch of time
            shapes.append(Label(x, top + 11, text, "rest-text"))
            written_until = x + width + 8
    return shapes


def _rest_text(rest: Rest) -> str:
    who = "stood still" if rest.stop.cause in ASLEEP else "agent stood still"
    return f"{who} {bounded_text(rest.stop.length_s, rest.stop.uncertainty_s, rounded=True)}"


def _rest(stage: Stage, rest: Rest, top: float, bottom: float) -> list[Shape]:
    """Its end is seen; where it began is known only within its uncertainty, and drawn paler there."""
    x, sure, end = (stage.axis.x(at) for at in (rest.whole.begin, rest.sure.begin, rest.whole.end))
    shapes: list[Shape] = []
    if sure > x:
        shapes.append(Box(x, top, sure - x, bottom - top, "rest-doubt", "it began somewhere here"))
    edges = ((x + sure) / 2, end) if sure < end else (end,)
    return [*shapes, Box(sure, top, max(end - sure, LEAST_BAR), bottom - top, "rest", _rest_text(rest)),
            *(Line(((at, top), (at, bottom)), "rest-edge") for at in edges)]


def _appointments(stage: Stage, top: float, bottom: float) -> list[Shape]:
    """NotBefore, and now where the event is still open."""
    named = [] if stage.not_before_s is None else [(stage.not_before_s, "NotBefore")]
    named += [] if stage.account.is_over else [(stage.end_s, "now")]
    shapes: list[Shape] = []
    for at_s, words in named:
        x = stage.axis.x(at_s)
        place = min(x + 4, stage.layout.width - text_width(words, stage.layout.text - 1))
        shapes += [Line(((x, top), (x, bottom)), "not-before"), Label(place, bottom - 5, words, "note halo")]
    return shapes


def _clock(stage: Stage, top: float) -> tuple[list[Shape], float]:
    clock, layout = stage.account.clock, stage.layout
    if not clock.readings:
        return [], top
    top += 20
    panel = panel_for(clock, Span(layout.left, stage.right), top, layout.panel)
    label = Label(2, top - 6, "Clock’s offset", "lane halo") if layout.names_above else \
        Label(layout.left - 12, top - 3, "Clock’s offset", "lane", "end")

    def x_of(one: Reading) -> float | None:
        at = stage.seconds(one.at)
        return stage.axis.x(at) if stage.axis.is_drawn(at) else None

    return [*curve(clock, panel, x_of, layout), label], top + layout.panel + 4


def _axis(stage: Stage, top: float, bottom: float) -> list[Shape]:
    layout = stage.layout
    shapes: list[Shape] = [Line(((one.place.begin, bottom), (one.place.end, bottom)), "axis")
                           for one in stage.axis.stretches]
    for cut, left_out_s in stage.axis.cuts:
        words = f"… {round_length_text(round(left_out_s))} …"
        width = text_width(words, layout.text - 1)
        place = min(max((cut.begin + cut.end - width) / 2, 0.0), layout.width - width)
        shapes += [Box(cut.begin, top - 2, cut.length, bottom - top + 4, "cut", f"{length_text(left_out_s)} left out"),
                   Line(((cut.begin, top), (cut.begin, bottom)), "cut-edge"),
                   Line(((cut.end, top), (cut.end, bottom)), "cut-edge"),
                   Label(place, bottom + 34, words)]
    written_until = 0.0
    for at in ticks(stage.axis, layout.tick_distance, _origin_s(stage)):
        x, text = stage.axis.x(at), _clock_text(stage, at)
        width = text_width(text, layout.text - 1)
        place = min(max(x - width / 2, 0.0), layout.width - width)
        if place >= written_until:
            shapes += [Line(((x, bottom), (x, bottom + 4)), "axis"), Label(place, bottom + 17, text, "scale")]
            written_until = place + width + 6
    return shapes


def _origin_s(stage: Stage) -> float:
    local = stage.times.localise(stage.account.noticed)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return (local - midnight).total_seconds() % SECONDS_A_DAY


def _clock_text(stage: Stage, at_s: float) -> str:
    at = stage.account.noticed + timedelta(seconds=at_s, microseconds=500)
    text = stage.times.clock(at)
    return text[:8] if text.endswith(".000") else text[:10]
