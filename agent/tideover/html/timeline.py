"""The drawing of an event: who did what when, the pause across it all, and the clock's curve beneath. Pure.

One linear scale; stretches without news are cut out and say how long they were.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tideover.page.account import ASLEEP, Account, Reading
from tideover.page.axis import Span, ticks
from tideover.page.clock_curve import curve, panel_for
from tideover.page.flags import flag_width, flag_words, plant
from tideover.page.lanes import draw_lanes
from tideover.page.layout import Layout
from tideover.page.milestones import Milestone, milestones
from tideover.page.shapes import Box, Drawing, Label, Line, Shape, text_width
from tideover.page.stage import Rest, Stage
from tideover.page.verdict import noun, verdict_of
from tideover.wording import Times, bounded_text, length_text, round_length_text

FLAG_ROW, FLAG_HEIGHT = 19.0, 16.0
LEAST_PAUSE = 2.5
SECONDS_A_DAY = 86400

def timeline(account: Account, times: Times, layout: Layout) -> Drawing:
    """Given an account, return its drawing for one layout."""
    stage = Stage(account, times, layout)
    flags, flags_height = _flags(stage)
    rests_top = flags_height + 4
    lanes_top = rests_top + (20 if stage.rests else 4)
    lane_shapes, y = draw_lanes(stage, lanes_top)
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
    words = [flag_words(one, layout) for one in points]
    planted = plant([(_x(stage, one), flag_width(one, layout)) for one in points])
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


def _x(stage: Stage, one: Milestone) -> float:
    return stage.axis.x(stage.seconds(one.move.at))


def _look(one: Milestone) -> str:
    bad = one.words in ("clock bad", "held back", "go-ahead refused", "recovery failed", "clock unknown")
    return "bad" if bad else "good" if one.words in ("clock good", "all recovered") else ""


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
    return [*shapes, Box(sure, top, max(end - sure, LEAST_PAUSE), bottom - top, "rest", _rest_text(rest)),
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
