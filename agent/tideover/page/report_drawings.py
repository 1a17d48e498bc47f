"""The drawings of a history: events a month, and all lengths on one scale. Pure."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, log10

from tideover.page.figures import Figures, Month, Spread
from tideover.page.layout import Layout
from tideover.page.report_words import month_text, spreads
from tideover.page.shapes import Box, Dot, Drawing, Label, Line, Shape, text_width
from tideover.wording import MONTHS, length_text, round_length_text

COLUMNS_HEIGHT, WIDEST_COLUMN, NARROWEST_COLUMN = 150.0, 46.0, 4.0
LEGEND_ROW = 20.0
DECADES_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 604800.0)
DOT = 4.2
PlaceOf = Callable[[float], float]
LEAST_S = 0.001              # what took less lies at the left edge


def months_drawing(figures: Figures, layout: Layout) -> Drawing:
    """Given figures with at least one month, return a column for each month, in pieces by kind."""
    legend, top = _legend(figures.kinds, layout)
    base = top + COLUMNS_HEIGHT
    left, right = 34.0, layout.width - 6
    most = max(month.count for month in figures.months)
    slot = min((right - left) / len(figures.months), WIDEST_COLUMN * 1.8)
    shapes: list[Shape] = [*legend, *_count_lines(most, left, right, top, base)]
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
    return Drawing(f"months-{layout.name}", layout.width, base + 26, "Events a month, by kind",
                   "; ".join(f"{month_text(month)}: {month.count}" for month in figures.months), tuple(shapes))


def lengths_drawing(figures: Figures, layout: Layout) -> Drawing:
    """Given figures, return a row of dots for each sort of length, all on one scale whose steps are tenfold."""
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
    return Drawing(f"lengths-{layout.name}", layout.width, bottom + 26, "How long things took", about, tuple(shapes))


def _legend(kinds: Sequence[str], layout: Layout) -> tuple[list[Shape], float]:
    shapes: list[Shape] = []
    x, y = 34.0, 4.0
    for kind in kinds:
        width = 18 + text_width(kind, layout.text) + 16
        if x + width > layout.width and x > 34:
            x, y = 34.0, y + LEGEND_ROW
        shapes += [Box(x, y, 12, 12, f"kind-{kind}", round=2), Label(x + 18, y + 11, kind)]
        x += width
    return shapes, y + LEGEND_ROW + 10


def _count_lines(most: int, left: float, right: float, top: float, base: float) -> list[Shape]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, most) if most / step <= 4 or step >= most)
    shapes: list[Shape] = []
    for count in range(0, most + 1, step):
        y = base - count * (base - top) / most
        shapes += [Line(((left, y), (right, y)), "axis" if count == 0 else "lane-line"),
                   Label(left - 8, y + 4, str(count), "scale", "end")]
    return shapes


def _column(month: Month, kinds: Sequence[str], middle: float, width: float, base: float, unit: float) -> list[Shape]:
    shapes: list[Shape] = []
    y = base
    for kind in kinds:
        count = month.by_kind.get(kind, 0)
        if count:
            y -= count * unit
            shapes.append(Box(middle - width / 2, y, width, count * unit - 1, f"kind-{kind}",
                              f"{month_text(month)}: {count} {kind}", 1))
    return shapes


def _length_axis(x_of: PlaceOf, top: float, bottom: float, right: float, layout: Layout) -> list[Shape]:
    shapes: list[Shape] = []
    written_until = -100.0
    for length_s in DECADES_S:
        x = x_of(length_s)
        if x > right + 1 or length_s < LEAST_S or x < (layout.left or 0):
            continue
        shapes.append(Line(((x, top), (x, bottom)), "lane-line"))
        text = length_text(length_s)
        width = text_width(text, layout.text - 1)
        if x - width / 2 > written_until and x - width / 2 > 0 and x + width / 2 < layout.width:
            shapes.append(Label(x, bottom + 18, text, "scale", "middle"))
            written_until = x + width / 2 + 8
    return shapes


def _row(name: str, spread: Spread, top: float, height: float, x_of: PlaceOf, layout: Layout) -> list[Shape]:
    middle = top + height / 2 + (8 if layout.names_above else 0)
    shapes: list[Shape] = [Label(2, top + 15, name, "lane halo") if layout.names_above else
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
        shapes.append(Line(((x, middle - height * 0.3), (x, middle + height * 0.3)), "mid"))
    return shapes


def _need(need_s: float, x_of: PlaceOf, bottom: float, layout: Layout) -> list[Shape]:
    x = x_of(need_s)
    text = f"your hooks need {round_length_text(need_s)}"
    place = min(max(x - text_width(text, layout.text) / 2, 2.0), layout.width - text_width(text, layout.text) - 2)
    return [Line(((x, 18), (x, bottom)), "need"), Label(place, 12, text, "need-text")]
