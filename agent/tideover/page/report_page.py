"""The whole history as a page. Pure: records in, a file's text out."""
from __future__ import annotations

from tideover.page.figures import Figures, Told
from tideover.page.layout import Layout
from tideover.page.markup import Markup, join, stranger, tag
from tideover.page.pieces import LOOKS, Cell, Figure, Rows, at_a_glance, figure, lines, section, table
from tideover.page.report_drawings import lengths_drawing, months_drawing
from tideover.page.report_words import (
    clock_words,
    headline,
    month_text,
    notice_words,
    pause_words,
    sentences,
    spread_texts,
    spreads,
)
from tideover.page.shapes import Drawing
from tideover.page.sheet import document
from tideover.page.verdict import Tone
from tideover.wording import Times, length_text

ID_SIGNS = 60
MOST_EVENTS = 500            # in the table; the newest. JSON has them all


def report_page(figures: Figures, times: Times, machine: str, version: str) -> str:
    """Given figures, how to tell the time, this machine's name ("" if not known) and our version, return the page."""
    about = tag("p", "The history of ", stranger(machine, ID_SIGNS) if machine else "this machine", ", as of ",
                times.full(times.now), ".", class_="meta")
    body = [tag("header", tag("h1", headline(figures, times)), about),
            tag("main", *_main(figures, times)), _footer(times, version)]
    return document("History – tideover", *body)


def _main(figures: Figures, times: Times) -> list[Markup]:
    said = lines(sentences(figures)) if sentences(figures) else Markup("")
    if not figures.events:
        return [said]
    return [said, at_a_glance(_glance(figures)), _months(figures), _lengths(figures), _events(figures, times)]


def _glance(figures: Figures) -> list[Figure]:
    return [Figure(name, length_text(spread.middle_s), "median; longest " + length_text(spread.most_s))
            for name, spread in spreads(figures) if spread.lengths_s]


def _months(figures: Figures) -> Markup:
    def draw(layout: Layout) -> Drawing:
        return months_drawing(figures, layout)

    rows: Rows = [[month_text(month), *(Cell(str(month.by_kind.get(kind, 0)), "count")
                                                          for kind in figures.kinds)] for month in figures.months]
    return section("Events a month", figure(draw), tag("details", tag("summary", "The same in numbers"),
                                                       table(["Month", *figures.kinds], rows)))


def _lengths(figures: Figures) -> Markup:
    if not any(spread.lengths_s for _, spread in spreads(figures)):
        return Markup("")

    def draw(layout: Layout) -> Drawing:
        return lengths_drawing(figures, layout)

    rows: Rows = [[name, *spread_texts(spread)] for name, spread in spreads(figures)]
    return section("How long things took",
                   figure(draw, "A dot for each event or pause; the upright stroke is the median. Each step of the "
                                "scale is about ten times the one before. The dashed line is the longest preparation."),
                   table(["", "Shortest", "Median", "Longest", "Counted"], rows, "stacks keep"))


def _events(figures: Figures, times: Times) -> Markup:
    newest = figures.events[::-1][:MOST_EVENTS]
    rows = [_event(told, times) for told in newest]
    left_out = len(figures.events) - len(newest)
    more = tag("p", f"{left_out} older events are left out here; tideover report --json has them.") if left_out else \
        Markup("")
    heads = ["Noticed", "Kind", "Went", "Notice", "Preparation", "Pause", "Clock good after", "Event"]
    return section("Every event, the newest first", table(heads, rows), more, _to_look_at(figures, times))


def _event(told: Told, times: Times) -> list[Cell | str]:
    account = told.account
    preparation = length_text(account.preparation_s) if account.preparation_s is not None else "–"
    look = {"bad": "bad-text", "good": "good-text"}.get(LOOKS[told.tone], "")
    return [f"{times.day(account.noticed)} {times.clock(account.noticed)[:8]}", account.kind,
            Cell(told.tone.value, look), notice_words(told), preparation, pause_words(told), clock_words(told),
            Cell(stranger(account.event_id, ID_SIGNS), "soft")]


def _to_look_at(figures: Figures, times: Times) -> Markup:
    chosen = [told for told in figures.events[::-1] if told.tone in (Tone.ATTENTION, Tone.OPEN)][:MOST_EVENTS]
    if not chosen:
        return Markup("")
    items = (tag("li", f"{times.day(told.account.noticed)}, ", stranger(told.account.event_id, ID_SIGNS), ": ",
                 told.sentence) for told in chosen)
    return join(tag("h2", "To look at"), tag("ul", *items, class_="plain"))


def _footer(times: Times, version: str) -> Markup:
    return tag("footer", tag("p", f"Made by tideover {version} on {times.full(times.now)}; the same as JSON: ",
                             tag("code", "tideover report --json"),
                             ". Moments are local time as this machine’s clock showed them."),
               tag("p", "Notice is measured from when an event was noticed to its NotBefore; preparation from the "
                        "first prepare’s beginning to the last one’s end, where none was stopped or failed. What is "
                        "not known is left out, never counted as 0. This page fetches nothing and runs nothing."))
