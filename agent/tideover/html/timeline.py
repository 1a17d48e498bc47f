"""The timeline drawing of one event: lanes of hooks, milestones and their labels, pauses. Pure.

One linear scale; stretches without news are cut out and say how long they were.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from tideover.html.clock_chart import curve, panel_for
from tideover.html.markup import Box, Drawing, Label, PageLayout, SvgLine, SvgShape, text_width
from tideover.html.summary import noun, summarize
from tideover.html.time_axis import TimeAxis, TimeSpan, axis_over, seconds_since_notice, ticks
from tideover.humanize import Times, bounded_text, length_text, round_length_text
from tideover.lifecycle.state import Phase
from tideover.model import Cause, ClockCheck, ClockSample, EntryKind, HookOutcome, HookRun, Pause
from tideover.record import ASLEEP, EventRecord, Row
from tideover.text_safety import show_controls

# --- Milestones: the turning points, and their labels' words

WORDS: Mapping[EntryKind | Phase, str] = MappingProxyType({
    EntryKind.NOTICED: "detected",
    EntryKind.ACK_ACCEPTED: "acknowledged",
    EntryKind.ACK_REFUSED: "acknowledgement refused",
    EntryKind.ACK_BY_PEER: "acknowledged by a peer",
    EntryKind.SLOT_TAKEN: "slot granted",
    EntryKind.SLOT_WAITING: "waits for slot",
    EntryKind.SLOT_NOT_GRANTED: "slot not granted",
    EntryKind.SLOT_TAKEN_OVER: "slot taken over",
    EntryKind.FLEET_READY: "ready",
    EntryKind.STARTED: "started",
    EntryKind.MACHINE_RESTARTED: "rebooted",
    EntryKind.PAUSE: "resumed",
    Phase.RECOVERING: "recovery starts",
    Phase.RECOVERED: "all recovered",
    EntryKind.REMOVED: "removed",
    EntryKind.RECOVER_FAILED: "recovery failed",
    EntryKind.WOULD_PREPARE: "would prepare",
    EntryKind.WOULD_RECOVER: "would recover",
})
"""Rows that are turning points wherever they stand; the others below depend on the rows around them."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """`row`: its place among the record's rows, from 0. `number`: what the drawing calls it, from 1."""

    number: int
    row: int
    move: Row
    words: str


def milestones(account: EventRecord) -> tuple[Milestone, ...]:
    """Given an account, return its turning points in the record's order."""
    found = [(row, move, words) for row, move in enumerate(account.timeline) if (words := _words(account, row, move))]
    return tuple(Milestone(number, row, move, words) for number, (row, move, words) in enumerate(found, start=1))


def _words(account: EventRecord, index: int, row: Row) -> str:
    match row.what, row.subject:
        case EntryKind.CLOCK_CHECKED, ClockCheck(verdict=verdict):
            return f"clock {verdict.value}"
        case EntryKind.PAUSE, Pause(cause=Cause.CLOCK_STEP):
            return "clock set"
        case EntryKind.STARTED, _ if account.timeline[0].at == row.at:
            return ""
        case Phase.HELD, _:
            return "held"
        case (Phase.RECOVERING | Phase.RECOVERED), _ if not account.hooks:
            return ""
        case Phase.CLOSED, _:
            before = {earlier.what for earlier in account.timeline[:index]}
            recovered = account.hooks and Phase.RECOVERING in before and Phase.RECOVERED not in before
            return "all recovered" if recovered else ""
    return WORDS.get(row.what, "")


# --- Labels: placed so that none covers another

GAP = 6.0


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """Its staff stands at `x`, its words go to the right of it. `row`: 0 is the lowest."""

    x: float
    width: float
    row: int


def place_labels(places: Sequence[tuple[float, float]]) -> list[PlacedLabel]:
    """Given each flag's x and width, in ascending x, return them with their rows.

    From right to left: a flag goes above all those to its right that begin where its words still are. So a staff,
    which reaches down from its own row, meets only flags that begin further left and hang higher.
    """
    flags: list[PlacedLabel] = []
    for x, width in reversed(places):
        covered = [flag.row for flag in flags if flag.x < x + width + GAP]
        flags.append(PlacedLabel(x, width, max(covered, default=-1) + 1))
    return flags[::-1]


def label_text(one: Milestone, layout: PageLayout) -> str:
    """Given a turning point and a layout, return what stands on its flag."""
    return f"{one.number}  {one.words}" if layout.spells_flags else f"{one.number}"


def label_width(one: Milestone, layout: PageLayout) -> float:
    """Given the same, return about how wide that flag is."""
    return text_width(label_text(one, layout), layout.text - 1) + 8


# --- Layout: timestamps as seconds of true time, pauses, and the axis

@dataclass(frozen=True, slots=True)
class PauseSpan:
    """A pause on the axis. `whole`: as long as it may have been; `sure`: as long as it was at least."""

    whole: TimeSpan
    sure: TimeSpan
    stop: Pause


class TimelineLayout:
    """One account on one layout: its moments as seconds, its axis. Changes nothing after it is made."""

    def __init__(self, account: EventRecord, times: Times, layout: PageLayout) -> None:
        self.account, self.times, self.layout = account, times, layout
        self.seconds: Callable[[datetime], float] = seconds_since_notice(account)
        self.rests = tuple(self._rest(stop) for stop in account.interruptions)
        self.end_s = max(self._ends())
        widest = max((label_width(one, layout) for one in milestones(account)), default=0.0)
        self.right = layout.width - max(layout.right, widest + 2)
        self.not_before_s = self._not_before_s()
        self.axis: TimeAxis = axis_over(self._news(), TimeSpan(layout.left or 2.0, self.right), layout.cut)

    def _rest(self, stop: Pause) -> PauseSpan:
        end = self.seconds(stop.resumed_at)
        if stop.length_s is None:
            return PauseSpan(TimeSpan(end, end), TimeSpan(end, end), stop)
        begin, doubt_s = end - stop.length_s, stop.shown_uncertainty_s or 0.0
        return PauseSpan(TimeSpan(begin - doubt_s, end), TimeSpan(min(begin + doubt_s, end), end), stop)

    def _ends(self) -> list[float]:
        account = self.account
        now = [] if account.is_over else [(self.times.now - account.noticed_at).total_seconds()]
        return [*now, *(self.seconds(move.at) for move in account.timeline),
                *(self.seconds(run.ended_at or run.started_at) for run in account.hooks),
                *(rest.whole.end for rest in self.rests), 0.0]

    def _not_before_s(self) -> float | None:
        account = self.account
        at = None if account.not_before is None else self.seconds(account.not_before)
        waits = not account.is_over and account.started_at is None
        return at if at is not None and at >= 0 and (waits or at <= self.end_s) else None

    def _news(self) -> list[TimeSpan]:
        """What the axis must show. A NotBefore is part of the story unless all was over before."""
        account = self.account
        moments = [self.seconds(move.at) for move in account.timeline if move.what is not EntryKind.CLOCK_CONVERGENCE]
        moments += [] if account.is_over else [self.end_s]
        moments += [] if self.not_before_s is None else [self.not_before_s]
        spans = [TimeSpan(at, at) for at in moments]
        spans += [TimeSpan(self.seconds(run.started_at), self.seconds(run.ended_at or run.started_at))
                  for run in account.hooks]
        spans += [rest.whole for rest in self.rests]
        judged = account.clock.check.checked_at
        if judged is not None and self.rests and judged >= self.rests[-1].stop.resumed_at:
            spans.append(TimeSpan(self.rests[-1].whole.end, self.seconds(judged)))
        return spans


# --- Lanes: the platform's, the agent's, and each hook's against its budget

LEAST_BAR = 2.5
INSIDE_TEXT = 11.0
NAME_SIGNS = 18

DOINGS: Mapping[EntryKind | Phase, tuple[str, str]] = MappingProxyType({
    Phase.SCHEDULED: ("quiet", "waits"),
    Phase.WAITING_FOR_SLOT: ("quiet", "waits for slot"),
    Phase.PREPARING: ("prepare", "prepares"),
    Phase.WAITING_FOR_PEERS: ("quiet", "waits for peers"),
    Phase.ACKNOWLEDGING: ("prepare", "acknowledges"),
    Phase.UNCONFIRMED: ("quiet", "unconfirmed"),
    Phase.HELD: ("quiet", "held"),
    Phase.ACKNOWLEDGED: ("quiet", "waits"),
    Phase.STARTED: ("quiet", "watches"),
    Phase.CHECKING_CLOCK: ("check", "checking clock"),
    Phase.SETTLING: ("quiet", "waits"),
    Phase.RECOVERING: ("recover", "recovers"),
    Phase.RECOVERED: ("quiet", "watching clock"),
    Phase.OBSERVED: ("quiet", "observes"),
})
"""What the agent does in each phase: the look of its bar and the words in it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """`limit_s`: where its budget ends, as a moment of the axis."""

    time: TimeSpan
    look: str
    inside: str = ""
    beside: str = ""
    about: str = ""
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the timeline."""

    name: str
    bars: tuple[Bar, ...]


def draw_lanes(stage: TimelineLayout, top: float) -> tuple[list[SvgShape], float]:
    """Given where the first lane begins, return all lanes' shapes, and where the last one ends."""
    shapes: list[SvgShape] = []
    y = top
    for lane in lanes_of(stage):
        shapes += _lane(stage, lane, y)
        y += stage.layout.lane
    return shapes, y


def lanes_of(stage: TimelineLayout) -> list[Lane]:
    """The platform's lane, the agent's, and one for each hook in the order in which they were run first."""
    account = stage.account
    lanes = [Lane("Platform", _listed(stage))] if account.is_announced else []
    lanes.append(Lane("tideover", _doings(stage)))
    names = dict.fromkeys(run.name for run in account.hooks)
    return lanes + [Lane(name, tuple(_run_bar(stage, run) for run in account.hooks if run.name == name))
                    for name in names]


def _listed(stage: TimelineLayout) -> tuple[Bar, ...]:
    account = stage.account
    gone = stage.seconds(account.ended_at) if account.ended_at else stage.end_s
    begun = stage.seconds(account.started_at) if account.started_at else gone
    bars = [Bar(TimeSpan(0.0, begun), "scheduled", "Scheduled", about="scheduled")]
    if account.started_at:
        bars.append(Bar(TimeSpan(begun, gone), "started", "Started", about="started"))
    return tuple(bars)


def _doings(stage: TimelineLayout) -> tuple[Bar, ...]:
    rows = [(stage.seconds(move.at), DOINGS[move.what]) for move in stage.account.timeline if move.what in DOINGS]
    closed = stage.account.closed_at
    end = stage.seconds(closed) if closed else stage.end_s
    ends = [*(at for at, _ in rows[1:]), *([end] if rows else [])]
    return tuple(Bar(TimeSpan(at, max(at, until)), look, words, about=words)
                 for (at, (look, words)), until in zip(rows, ends, strict=True))


def _run_bar(stage: TimelineLayout, run: HookRun) -> Bar:
    begin = stage.seconds(run.started_at)
    is_cut = run.report.outcome in (HookOutcome.STOPPED, HookOutcome.FORGOTTEN, HookOutcome.NOT_YET)
    look = "failed" if run.has_failed else "stopped" if is_cut else run.phase.value
    took = [] if run.report.duration_s is None else [round_length_text(run.report.duration_s)]
    outcome = [] if run.report.outcome is HookOutcome.DONE else [run.report.outcome.value]
    limit = None if run.limit_s is None else begin + run.limit_s
    return Bar(TimeSpan(begin, begin + (run.report.duration_s or 0.0)), look, beside=" ".join(took + outcome),
               about=f"{run.phase.value}: {run.report.outcome.value}{_in_length(run)}, "
                     f"timeout {length_text(run.limit_s)}", limit_s=limit)


def _in_length(run: HookRun) -> str:
    return ", end not known" if run.report.duration_s is None else f" in {length_text(run.report.duration_s)}"


def _lane(stage: TimelineLayout, lane: Lane, top: float) -> list[SvgShape]:
    layout = stage.layout
    name, most = show_controls(lane.name), NAME_SIGNS * (2 if layout.names_above else 1)
    name = name if len(name) <= most else name[:most - 1] + "…"
    if layout.names_above:
        bar_y = top + layout.lane - layout.bar - 5
        shapes: list[SvgShape] = [Label(2, bar_y - 5, name, "lane halo")]
    else:
        bar_y = top + (layout.lane - layout.bar) / 2
        shapes = [Label(layout.left - 12, bar_y + layout.bar - 3, name, "lane", "end")]
    line_y = top + layout.lane
    shapes.append(SvgLine(((layout.left, line_y), (stage.right, line_y)), "lane-line"))
    for bar, after in zip(lane.bars, (*lane.bars[1:], None), strict=False):     # no bar: nothing to draw
        free_until = stage.axis.x(after.time.begin) if after else layout.width - 2
        shapes += _bar(stage, bar, bar_y, free_until)
    return shapes


def _bar(stage: TimelineLayout, bar: Bar, y: float, free_until: float) -> list[SvgShape]:
    layout = stage.layout
    x, end = stage.axis.x(bar.time.begin), stage.axis.x(bar.time.end)
    width = max(end - x, LEAST_BAR)
    shapes: list[SvgShape] = []
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


# --- The drawing

FLAG_ROW, FLAG_HEIGHT = 19.0, 16.0
LEAST_PAUSE = 2.5
SECONDS_A_DAY = 86400
LATEST = datetime.max.replace(tzinfo=UTC)

def timeline(account: EventRecord, times: Times, layout: PageLayout) -> Drawing:
    """Given an account, return its drawing for one layout."""
    stage = TimelineLayout(account, times, layout)
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
                   f"{summarize(account).sentence} The table below lists the same entries.", tuple(shapes))


# --- flags ------------------------------------------------------------------------------------------------------

def _flags(stage: TimelineLayout) -> tuple[Callable[[float], list[SvgShape]], float]:
    """The flags and how high they reach; their staffs are drawn when it is known how far down they go."""
    layout = stage.layout
    points = sorted(milestones(stage.account), key=lambda one: (stage.seconds(one.move.at), one.number))
    words = [label_text(one, layout) for one in points]
    planted = place_labels([(_x(stage, one), label_width(one, layout)) for one in points])
    height = FLAG_ROW * (max((flag.row for flag in planted), default=-1) + 1)

    def draw(bottom: float) -> list[SvgShape]:
        staffs: list[SvgShape] = []
        cloths: list[SvgShape] = []
        for flag, text, one in zip(planted, words, points, strict=True):
            top = height - FLAG_ROW * (flag.row + 1)
            look = f"flag {_look(one)}"
            staffs.append(SvgLine(((flag.x, top), (flag.x, bottom)), "staff"))
            cloths += [Box(flag.x, top, flag.width, FLAG_HEIGHT, look, one.words, 2),
                       Label(flag.x + 4, top + 12, text, "flag-text")]
        return [*staffs, *cloths]

    return draw, height


def _x(stage: TimelineLayout, one: Milestone) -> float:
    return stage.axis.x(stage.seconds(one.move.at))


BAD_WORDS = frozenset({"clock bad", "clock unknown", "held", "acknowledgement refused", "recovery failed"})


def _look(one: Milestone) -> str:
    bad = one.words in BAD_WORDS
    return "bad" if bad else "good" if one.words in ("clock good", "all recovered") else ""


# --- pauses, NotBefore, clock, axis --------------------------------------------------------------------------------

def _rests(stage: TimelineLayout, top: float, lanes_top: float, bottom: float) -> list[SvgShape]:
    shapes: list[SvgShape] = []
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


def _rest_text(rest: PauseSpan) -> str:
    who = "paused" if rest.stop.cause in ASLEEP else "agent stalled"
    return f"{who} {bounded_text(rest.stop.length_s, rest.stop.shown_uncertainty_s, rounded=True)}"


def _rest(stage: TimelineLayout, rest: PauseSpan, top: float, bottom: float) -> list[SvgShape]:
    """Its end is seen; where it began is known only within its uncertainty, and drawn paler there."""
    x, sure, end = (stage.axis.x(at) for at in (rest.whole.begin, rest.sure.begin, rest.whole.end))
    shapes: list[SvgShape] = []
    if sure > x:
        shapes.append(Box(x, top, sure - x, bottom - top, "rest-doubt", "it started in this range"))
    edges = ((x + sure) / 2, end) if sure < end else (end,)
    return [*shapes, Box(sure, top, max(end - sure, LEAST_PAUSE), bottom - top, "rest", _rest_text(rest)),
            *(SvgLine(((at, top), (at, bottom)), "rest-edge") for at in edges)]


def _appointments(stage: TimelineLayout, top: float, bottom: float) -> list[SvgShape]:
    """NotBefore, and now where the event is still open."""
    named = [] if stage.not_before_s is None else [(stage.not_before_s, "NotBefore")]
    named += [] if stage.account.is_over else [(stage.end_s, "now")]
    shapes: list[SvgShape] = []
    for at_s, words in named:
        x = stage.axis.x(at_s)
        place = min(x + 4, stage.layout.width - text_width(words, stage.layout.text - 1))
        shapes += [SvgLine(((x, top), (x, bottom)), "not-before"), Label(place, bottom - 5, words, "note halo")]
    return shapes


def _clock(stage: TimelineLayout, top: float) -> tuple[list[SvgShape], float]:
    clock, layout = stage.account.clock, stage.layout
    if not clock.samples:
        return [], top
    top += 20
    panel = panel_for(clock, TimeSpan(layout.left, stage.right), top, layout.panel)
    label = Label(2, top - 6, "Clock’s offset", "lane halo") if layout.names_above else \
        Label(layout.left - 12, top - 3, "Clock’s offset", "lane", "end")

    def x_of(one: ClockSample) -> float | None:
        at = stage.seconds(one.at)
        return stage.axis.x(at) if stage.axis.is_drawn(at) else None

    return [*curve(clock, panel, x_of, layout), label], top + layout.panel + 4


def _axis(stage: TimelineLayout, top: float, bottom: float) -> list[SvgShape]:
    layout = stage.layout
    shapes: list[SvgShape] = [SvgLine(((one.place.begin, bottom), (one.place.end, bottom)), "axis")
                           for one in stage.axis.stretches]
    for cut, left_out_s in stage.axis.cuts:
        words = f"… {round_length_text(round(left_out_s))} …"
        width = text_width(words, layout.text - 1)
        place = min(max((cut.begin + cut.end - width) / 2, 0.0), layout.width - width)
        shapes += [Box(cut.begin, top - 2, cut.length, bottom - top + 4, "cut", f"{length_text(left_out_s)} left out"),
                   SvgLine(((cut.begin, top), (cut.begin, bottom)), "cut-edge"),
                   SvgLine(((cut.end, top), (cut.end, bottom)), "cut-edge"),
                   Label(place, bottom + 34, words)]
    written_until = 0.0
    for at in ticks(stage.axis, layout.tick_distance, _origin_s(stage)):
        x, text = stage.axis.x(at), _clock_text(stage, at)
        width = text_width(text, layout.text - 1)
        place = min(max(x - width / 2, 0.0), layout.width - width)
        if place >= written_until:
            shapes += [SvgLine(((x, bottom), (x, bottom + 4)), "axis"), Label(place, bottom + 17, text, "scale")]
            written_until = place + width + 6
    return shapes


def _origin_s(stage: TimelineLayout) -> float:
    local = stage.times.localise(stage.account.noticed_at)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return (local - midnight).total_seconds() % SECONDS_A_DAY


def _clock_text(stage: TimelineLayout, at_s: float) -> str:
    begun = stage.account.noticed_at
    at = begun + min(timedelta(seconds=at_s, microseconds=500), LATEST - begun)
    text = stage.times.clock(at)
    return text[:8] if text.endswith(".000") else text[:10]
