"""The lanes of an event's drawing: the platform's, the agent's, each hook's with its bars against its budget. Pure."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.page.account import Run
from tideover.page.axis import Span
from tideover.page.markup import legible
from tideover.page.shapes import Box, Label, Line, Shape, text_width
from tideover.page.stage import Stage
from tideover.wording import length_text, round_length_text

LEAST_BAR = 2.5
INSIDE_TEXT = 11.0
NAME_SIGNS = 18

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


def draw_lanes(stage: Stage, top: float) -> tuple[list[Shape], float]:
    """Given where the first lane begins, return all lanes' shapes, and where the last one ends."""
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
    is_cut = run.outcome in ("stopped", "forgotten", "not-yet")
    look = "failed" if run.has_failed else "stopped" if is_cut else run.phase
    took = [] if run.duration_s is None else [round_length_text(run.duration_s)]
    said = [] if run.outcome == "done" else [run.outcome]
    limit = None if run.limit_s is None else begin + run.limit_s
    return Bar(Span(begin, begin + (run.duration_s or 0.0)), look, beside=" ".join(took + said),
               about=f"{run.phase}: {run.outcome}{_in_length(run)}, budget {length_text(run.limit_s)}",
               limit_s=limit)


def _in_length(run: Run) -> str:
    return ", when is not known" if run.duration_s is None else f" in {length_text(run.duration_s)}"


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
