"""The report over a whole history (`tideover report`): sentences, tables, drawings, JSON and the page. Pure."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import floor, log10
from types import MappingProxyType
from typing import Any

from tideover.html.components import (
    LOOKS,
    KeyFigure,
    TableCell,
    TableRows,
    at_a_glance,
    figure,
    html_document,
    lines,
    section,
    table,
)
from tideover.html.markup import (
    Box,
    Dot,
    Drawing,
    Label,
    Markup,
    PageLayout,
    SvgLine,
    SvgShape,
    join,
    tag,
    text_width,
    untrusted,
)
from tideover.html.statistics import EventSummary, HistoryStatistics, Month, Spread
from tideover.html.summary import Severity
from tideover.humanize import MONTHS, NOT_KNOWN, Times, bounded_text, length_text, round_length_text
from tideover.model import Kind, Verdict, utc_text
from tideover.text_safety import show_controls

# --- Text and JSON

COUNTED: Mapping[Severity, str] = MappingProxyType({
    Severity.CARRIED: "handled", Severity.WITHDRAWN: "cancelled by the platform",
    Severity.ATTENTION: "need attention",
    Severity.OPEN: "still open", Severity.PASSED: "without hooks",
})


def headline(figures: HistoryStatistics, times: Times) -> str:
    """Given figures, return the report's first sentence."""
    since = f" since {times.day(figures.since)}" if figures.since else ""
    count = len(figures.events)
    if not count:
        return f"No event{since} concerned this machine."
    parts = [(number, words) for tone, words in COUNTED.items() if (number := figures.of_tone(tone))]
    if count == 1:
        words = _of_one(parts[0][1])
        return f"One event{since}, {'which ' if words.startswith('needs') else ''}{words}."
    counted = [f"{number} {_of_one(words) if number == 1 else words}" for number, words in parts]
    return f"{count} events{since}: {_joined(counted)}."


def _of_one(words: str) -> str:
    return words.replace("need ", "needs ")


def sentences(figures: HistoryStatistics) -> list[str]:
    """Given figures, return what they say about notice, preparation, pauses and the clock, a sentence each."""
    parts = []
    if figures.notice.lengths_s or figures.without_notice:
        parts.append(_notice(figures))
    if figures.pause.lengths_s or figures.pause.unknown:
        parts.append(_pauses_words(figures.pause))
    if figures.clock_checked:
        parts.append(_clock_words(figures))
    if figures.watched:
        parts.append(f"{figures.watched} more concerned other machines or kinds outside act_on, and "
                     f"{'was' if figures.watched == 1 else 'were'} only observed.")
    return parts


def report_lines(figures: HistoryStatistics, times: Times) -> Iterator[str | list[list[str]]]:
    """Given figures, return the report as lines of plain text and tables of plain text, heads first."""
    yield headline(figures, times)
    yield from sentences(figures)
    if not figures.events:
        return
    yield ""
    heads = ["MONTH", *(kind.value for kind in figures.kinds)]
    rows = [heads, *([month_text(month), *(str(month.by_kind.get(kind, 0) or "-")
                                                              for kind in figures.kinds)]
                                         for month in figures.months)]
    yield rows
    yield ""
    yield [["", "SHORTEST", "MEDIAN", "LONGEST", "COUNTED"],
           *([name, *spread_texts(spread)] for name, spread in spreads(figures))]
    looked_at = [event for event in figures.events if event.tone in (Severity.ATTENTION, Severity.OPEN)]
    if looked_at:
        yield ""
        yield "Needs attention (tideover show EVENT):"
        for event in looked_at:
            yield f"  {times.day(event.account.noticed_at)}  {show_controls(event.account.event_id)}"
            yield f"    {event.sentence}"


def report_document(figures: HistoryStatistics) -> dict[str, Any]:
    """Given figures, return them as one JSON document. Lengths in seconds; what is not known is null."""
    return {
        "since": utc_text(figures.since),
        "events": [_event_document(event) for event in figures.events],
        "only_watched": figures.watched,
        "months": [{"month": f"{month.year}-{month.month:02d}",
                    "by_kind": {kind.value: count for kind, count in month.by_kind.items()}}
                   for month in figures.months],
        "notice_s": _numbers(figures.notice) | {"none": figures.without_notice},
        "preparation_s": _numbers(figures.preparation),
        "notices_shorter_than_longest_preparation": None if figures.need_s is None else figures.short_notices,
        "pause_s": _numbers(figures.pause),
        "clock_good_after_s": _numbers(figures.clock) | {"not_good": figures.clock_not_good},
    }


def spreads(figures: HistoryStatistics) -> list[tuple[str, Spread]]:
    """Given figures, return the sorts of lengths with their names, in the order in which they come in an event."""
    return [("Notice given", figures.notice), ("Preparation", figures.preparation), ("Pause", figures.pause),
            ("Until clock good", figures.clock)]


def spread_texts(spread: Spread) -> list[str]:
    """Given lengths, return the shortest, the median, the longest, and how many there are."""
    unknown = f", {spread.unknown} not known" if spread.unknown else ""
    if not spread.lengths_s:
        return ["-", "-", "-", f"0{unknown}"]
    return [*(length_text(length_s) for length_s in (spread.least_s, spread.middle_s, spread.most_s)),
            f"{len(spread.lengths_s)}{unknown}"]


def month_text(month: Month) -> str:
    return f"{MONTHS[month.month - 1]} {month.year}"


def pause_words(event: EventSummary) -> str:
    """Given an event of the history, return how long its longest pause was."""
    if event.longest_s is not None:
        return bounded_text(event.longest_s, event.uncertainty_s)
    return NOT_KNOWN if event.account.interruptions else "–"


def clock_words(event: EventSummary) -> str:
    """Given an event of the history, return how long its clock took to be good, or its verdict."""
    clock = event.account.clock
    if clock.check.checked_at is None:
        return "–"
    if clock.check.verdict is Verdict.GOOD and clock.check.good_after_s is not None:
        return length_text(clock.check.good_after_s)
    return NOT_KNOWN if clock.check.verdict is Verdict.UNKNOWN else clock.check.verdict.value


def notice_words(event: EventSummary) -> str:
    """Given an event of the history, return how much notice was given."""
    if not event.account.is_announced or event.account.notice_s == 0:
        return "none"
    return length_text(event.account.notice_s)


# --- sentences ----------------------------------------------------------------------------------------------------

def _notice(figures: HistoryStatistics) -> str:
    notices, none = len(figures.notice.lengths_s), figures.without_notice
    without = f"{none} event{'s' if none > 1 else ''} came without notice" if none else ""
    if figures.need_s is None or not notices:
        given = f"The shortest notice was {length_text(figures.notice.least_s)}" if notices else ""
        return "; ".join(filter(None, (given, without))) + "."
    need = f"Your hooks need {round_length_text(figures.need_s)}"
    return "; ".join(filter(None, (need, _short(figures), without))) + "."


def _short(figures: HistoryStatistics) -> str:
    notices, short = len(figures.notice.lengths_s), figures.short_notices
    if notices == 1:
        return f"the only notice gave {'less' if short else 'more'}"
    return f"{short or 'none'} of {notices} notices gave less"


def _pauses_words(pause: Spread) -> str:
    unknown = f"; the length of {pause.unknown} more is not known" if pause.unknown else ""
    count = len(pause.lengths_s)
    if not count:
        return f"{pause.unknown} pause{'s' if pause.unknown > 1 else ''} of unknown length."
    if count == 1:
        return f"One pause, of {round_length_text(pause.most_s)}{unknown}."
    return (f"{count} pauses of {round_length_text(pause.least_s)} to {round_length_text(pause.most_s)}, median "
            f"{round_length_text(pause.middle_s)}{unknown}.")


def _clock_words(figures: HistoryStatistics) -> str:
    bad, checked = figures.clock_not_good, figures.clock_checked
    lengths = figures.clock.lengths_s
    if bad == checked:
        events = "" if checked == 1 else f" in any of {checked} events"
        return f"The clock was not known to be good at recovery{events}."
    failed = f"in {bad} of {checked} events it was not known to be good at recovery" if bad else ""
    if not lengths:
        return f"The clock: {failed}." if failed else "The clock was good at recovery."
    several = f" (median), {round_length_text(figures.clock.most_s)} at most" if len(lengths) > 1 else ""
    good = f"The clock was good {round_length_text(figures.clock.middle_s)} after the resume{several}"
    return "; ".join(filter(None, (good, failed))) + "."


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# --- JSON ---------------------------------------------------------------------------------------------------------

def _event_document(event: EventSummary) -> dict[str, Any]:
    account = event.account
    return {"event_id": account.event_id, "kind": account.kind.value,
            "noticed_at": utc_text(account.noticed_at),
            "status": account.status,
            "outcome": account.outcome.value if account.outcome else None, "verdict": event.tone.value,
            "sentence": event.sentence, "notice_s": account.notice_s,
            "preparation_s": account.preparation_s, "longest_pause_s": event.longest_s,
            "clock": account.clock.check.verdict.value, "clock_good_after_s": account.clock.check.good_after_s}


def _numbers(spread: Spread) -> dict[str, Any]:
    return {"count": len(spread.lengths_s), "not_known": spread.unknown, "shortest": spread.least_s,
            "median": spread.middle_s, "longest": spread.most_s}


# --- Drawings: events a month, and all durations on one scale

COLUMNS_HEIGHT, WIDEST_COLUMN, NARROWEST_COLUMN = 150.0, 46.0, 4.0
LEGEND_ROW = 20.0
DECADES_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 604800.0)
FINER_S = tuple(unit * step for unit in DECADES_S[:8] for step in (1, 2, 3, 4, 5, 6, 8))
NAMED_AT_LEAST = 3          # lengths at the axis; a range that holds fewer decades is named in finer steps
DOT = 4.2
PlaceOf = Callable[[float], float]
LEAST_S = 0.001              # what took less lies at the left edge


def months_drawing(figures: HistoryStatistics, layout: PageLayout) -> Drawing:
    """Given figures with at least one month, return a column for each month, in pieces by kind."""
    legend, top = _legend(figures.kinds, layout)
    base = top + COLUMNS_HEIGHT
    left, right = 34.0, layout.width - 6
    most = max(month.count for month in figures.months)
    slot = min((right - left) / len(figures.months), WIDEST_COLUMN * 1.8)
    shapes: list[SvgShape] = [*legend, *_count_lines(most, left, right, top, base)]
    named_until = 0.0
    before = None
    for index, month in enumerate(figures.months):
        x = left + slot * index
        shapes += _column(month, figures.kinds, x + slot / 2, min(max(slot * 0.62, NARROWEST_COLUMN), WIDEST_COLUMN),
                          base, COLUMNS_HEIGHT / most)
        follows = before is not None and month.number == before.number + 1
        name = MONTHS[month.month - 1] if follows and month.month != 1 else month_text(month)
        before = month
        width = text_width(name, layout.text - 1)
        if x + slot / 2 - width / 2 >= named_until:
            shapes.append(Label(max(x + slot / 2 - width / 2, 0), base + 18, name, "scale"))
            named_until = x + slot / 2 + width / 2 + 6
    return Drawing(f"months-{layout.name}", layout.width, base + 26, "Events per month, by kind",
                   "; ".join(f"{month_text(month)}: {month.count}" for month in figures.months), tuple(shapes))


def lengths_drawing(figures: HistoryStatistics, layout: PageLayout) -> Drawing:
    """Given figures, return a row of dots for each sort of length, all on one logarithmic scale."""
    rows = [(name, spread) for name, spread in spreads(figures) if spread.lengths_s]
    every = [max(length_s, LEAST_S) for _, spread in rows for length_s in spread.lengths_s]
    left, right = (layout.left + 8, layout.width - 24) if layout.left else (10.0, layout.width - 14)
    low, high = log10(min(every)) - 0.15, log10(max(every)) + 0.15

    def x_of(length_s: float) -> float:
        return left + (log10(max(length_s, LEAST_S)) - low) / max(high - low, 0.3) * (right - left)

    height = layout.lane * 1.6
    bottom = 20 + height * len(rows)
    shapes = _length_axis(x_of, 20.0, bottom, right, layout)
    for index, (name, spread) in enumerate(rows):
        shapes += _row(name, spread, 20 + height * index, height, x_of, layout)
    if figures.need_s is not None:
        shapes += _need(figures.need_s, x_of, bottom, layout)
    about = "; ".join(f"{name}: {length_text(spread.least_s)} to {length_text(spread.most_s)}, median "
                      f"{length_text(spread.middle_s)}" for name, spread in rows)
    return Drawing(f"lengths-{layout.name}", layout.width, bottom + 26, "Durations", about, tuple(shapes))


def _legend(kinds: Sequence[Kind], layout: PageLayout) -> tuple[list[SvgShape], float]:
    shapes: list[SvgShape] = []
    x, y = 34.0, 4.0
    for kind in kinds:
        width = 18 + text_width(kind.value, layout.text) + 16
        if x + width > layout.width and x > 34:
            x, y = 34.0, y + LEGEND_ROW
        shapes += [Box(x, y, 12, 12, f"kind-{kind.value}", round=2),
                   Label(x + 18, y + 11, kind.value)]
        x += width
    return shapes, y + LEGEND_ROW + 10


def _count_lines(most: int, left: float, right: float, top: float, base: float) -> list[SvgShape]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, most) if most / step <= 4 or step >= most)
    shapes: list[SvgShape] = []
    for count in range(0, most + 1, step):
        y = base - count * (base - top) / most
        shapes += [SvgLine(((left, y), (right, y)), "axis" if count == 0 else "lane-line"),
                   Label(left - 8, y + 4, str(count), "scale", "end")]
    return shapes


def _column(month: Month, kinds: Sequence[Kind], middle: float, width: float, base: float,
            unit: float) -> list[SvgShape]:
    shapes: list[SvgShape] = []
    y = base
    for kind in kinds:
        count = month.by_kind.get(kind, 0)
        if count:
            y -= count * unit
            shapes.append(Box(middle - width / 2, y, width, count * unit - 1, f"kind-{kind.value}",
                              f"{month_text(month)}: {count} {kind.value}", 1))
    return shapes


def _length_axis(x_of: PlaceOf, top: float, bottom: float, right: float, layout: PageLayout) -> list[SvgShape]:
    shapes: list[SvgShape] = []
    written_until = -100.0
    def shown(lengths_s: Iterable[float]) -> list[float]:
        return [length_s for length_s in lengths_s if (layout.left or 0) <= x_of(length_s) <= right + 1]

    named = shown(DECADES_S)
    for length_s in named if len(named) >= NAMED_AT_LEAST else shown(sorted({*DECADES_S, *FINER_S})):
        x = x_of(length_s)
        shapes.append(SvgLine(((x, top), (x, bottom)), "lane-line"))
        text = length_text(length_s)
        width = text_width(text, layout.text - 1)
        if x - width / 2 > written_until and x - width / 2 > 0 and x + width / 2 < layout.width:
            shapes.append(Label(x, bottom + 18, text, "scale", "middle"))
            written_until = x + width / 2 + 8
    return shapes


def _row(name: str, spread: Spread, top: float, height: float, x_of: PlaceOf, layout: PageLayout) -> list[SvgShape]:
    middle = top + height / 2 + (8 if layout.names_above else 0)
    shapes: list[SvgShape] = [Label(2, top + 15, name, "lane halo") if layout.names_above else
                           Label(layout.left - 12, middle + 4, name, "lane", "end")]
    columns: dict[int, int] = {}
    for length_s in spread.lengths_s:
        x = x_of(length_s)
        column = floor(x / (DOT * 1.6))
        count = columns[column] = columns.get(column, 0) + 1
        y = middle + (count // 2) * (DOT * 1.7) * (-1 if count % 2 else 1)
        shapes.append(Dot(x, max(top + 4, min(top + height - 4, y)), DOT, "length", length_text(length_s)))
    if spread.middle_s is not None and len(spread.lengths_s) > 2:
        x = x_of(spread.middle_s)
        shapes.append(SvgLine(((x, middle - height * 0.3), (x, middle + height * 0.3)), "mid"))
    return shapes


def _need(need_s: float, x_of: PlaceOf, bottom: float, layout: PageLayout) -> list[SvgShape]:
    x = x_of(need_s)
    text = f"your hooks need {round_length_text(need_s)}"
    place = min(max(x - text_width(text, layout.text) / 2, 2.0), layout.width - text_width(text, layout.text) - 2)
    return [SvgLine(((x, 18), (x, bottom)), "need"), Label(place, 12, text, "need-text")]


# --- The page

ID_SIGNS = 60
MOST_EVENTS = 500            # in the table; the newest. JSON has them all


def report_page(figures: HistoryStatistics, times: Times, machine: str, version: str) -> str:
    """Given figures, how to tell the time, this machine's name ("" if not known) and our version, return the page."""
    about = tag("p", "The history of ", untrusted(machine, ID_SIGNS) if machine else "this machine", ", as of ",
                times.full(times.now), ".", class_="meta")
    body = [tag("header", tag("h1", headline(figures, times)), about),
            tag("main", *_body(figures, times)), _footer(times, version)]
    return html_document("History – tideover", *body)


def _body(figures: HistoryStatistics, times: Times) -> list[Markup]:
    summary = lines(sentences(figures)) if sentences(figures) else Markup("")
    if not figures.events:
        return [summary]
    return [summary, at_a_glance(_glance(figures)), _months_section(figures), _lengths_section(figures),
            _events_table(figures, times)]


def _glance(figures: HistoryStatistics) -> list[KeyFigure]:
    return [KeyFigure(name, length_text(spread.middle_s),
                      f"median; longest {length_text(spread.most_s)}" if len(spread.lengths_s) > 1 else "the only one")
            for name, spread in spreads(figures) if spread.lengths_s]


def _months_section(figures: HistoryStatistics) -> Markup:
    def draw(layout: PageLayout) -> Drawing:
        return months_drawing(figures, layout)

    rows: TableRows = [[month_text(month), *(TableCell(str(month.by_kind.get(kind, 0)), "count")
                                                          for kind in figures.kinds)] for month in figures.months]
    return section("Events per month", figure(draw), tag("details", tag("summary", "Values as a table"),
                                                       table(["Month", *(kind.value for kind in figures.kinds)], rows)))


def _lengths_section(figures: HistoryStatistics) -> Markup:
    if not any(spread.lengths_s for _, spread in spreads(figures)):
        return Markup("")

    def draw(layout: PageLayout) -> Drawing:
        return lengths_drawing(figures, layout)

    need = "" if figures.need_s is None else " The dashed line is the longest preparation."
    rows: TableRows = [[name, *spread_texts(spread)] for name, spread in spreads(figures)]
    return section("Durations",
                   figure(draw, "Each dot is one event or pause; the vertical line is the median. The scale is "
                                f"logarithmic.{need}"),
                   table(["", "Shortest", "Median", "Longest", "Counted"], rows, "stacks keep"))


def _events_table(figures: HistoryStatistics, times: Times) -> Markup:
    newest = figures.events[::-1][:MOST_EVENTS]
    rows = [_event_row(event, times) for event in newest]
    left_out = len(figures.events) - len(newest)
    more = tag("p", f"{left_out} older events are not shown; see tideover report --json.") if left_out else \
        Markup("")
    heads = ["Noticed", "Kind", "Went", "Notice", "Preparation", "Pause", "Clock good after", "Event"]
    return section("All events, newest first", table(heads, rows), more, _to_look_at(figures, times))


def _event_row(event: EventSummary, times: Times) -> list[TableCell | str]:
    account = event.account
    preparation = length_text(account.preparation_s) if account.preparation_s is not None else "–"
    look = {"bad": "bad-text", "good": "good-text"}.get(LOOKS[event.tone], "")
    return [f"{times.day(account.noticed_at)} {times.clock(account.noticed_at)[:8]}", account.kind.value,
            TableCell(event.tone.value, look), notice_words(event), preparation, pause_words(event), clock_words(event),
            TableCell(untrusted(account.event_id, ID_SIGNS), "soft")]


def _to_look_at(figures: HistoryStatistics, times: Times) -> Markup:
    newest = figures.events[::-1]
    chosen = [event for event in newest if event.tone in (Severity.ATTENTION, Severity.OPEN)][:MOST_EVENTS]
    if not chosen:
        return Markup("")
    items = (tag("li", f"{times.day(event.account.noticed_at)}, ", untrusted(event.account.event_id, ID_SIGNS), ": ",
                 event.sentence) for event in chosen)
    return join(tag("h2", "Needs attention"), tag("ul", *items, class_="plain"))


def _footer(times: Times, version: str) -> Markup:
    return tag("footer", tag("p", f"Made by tideover {version} on {times.full(times.now)}; the same as JSON: ",
                             tag("code", "tideover report --json"),
                             ". Timestamps are local time of this machine’s clock."),
               tag("p", "Notice is the time from detection to NotBefore; preparation is the time from the start of "
                        "the first prepare hook to the end of the last one, if none was stopped or failed. "
                        "Unknown values are left out, never counted as 0. This page loads nothing from the network "
                        "and runs no script."))
