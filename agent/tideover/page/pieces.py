"""The pieces both pages are made of: figures at a glance, tables, drawings for desk and phone. Pure markup."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tideover.page.layout import LAYOUTS, Layout
from tideover.page.markup import Markup, tag
from tideover.page.shapes import Drawing, svg
from tideover.page.verdict import Tone

LOOKS: Mapping[Tone, str] = MappingProxyType({
    Tone.CARRIED: "good", Tone.WITHDRAWN: "calm", Tone.ATTENTION: "bad", Tone.OPEN: "open", Tone.PASSED: "calm",
    Tone.WATCHED: "calm",
})


NAME_SIGNS, NOTE_SIGNS = 120, 600      # of a stranger's words, at most


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at a glance, with a line beneath it."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    content: str
    look: str = ""


Rows = list[list[Cell | str]]


def badge(tone: Tone) -> Markup:
    words = tone.value
    return tag("span", words[0].upper() + words[1:], class_=f"tone {LOOKS[tone]}")


def at_a_glance(figures: Iterable[Figure]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", one.name),
                           tag("dd", one.value, tag("span", one.more, class_="more") if one.more else ""))
                       for one in figures), class_="figures")


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], look: str = "stacks") -> Markup:
    """Given heads and rows, return a table whose first column names its row; on a phone each row becomes a block."""
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    body = tag("tbody", *(tag("tr", *(_cell(cell, heads[index], index == 0) for index, cell in enumerate(row)))
                          for row in rows))
    return tag("table", head, body, class_=look)


def figure(draw: Callable[[Layout], Drawing], *caption: str) -> Markup:
    """Given what draws one layout, return both drawings; the sheet shows the one that fits."""
    drawings = (svg(draw(layout), layout.name) for layout in LAYOUTS)
    return tag("figure", *drawings, tag("figcaption", *caption) if caption else "")


def section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)


def lines(items: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items), class_="plain")


def _cell(cell: Cell | str, head: str, is_first: bool) -> Markup:
    given = cell if isinstance(cell, Cell) else Cell(cell)
    if is_first:
        return tag("th", given.content, scope="row", class_=given.look or None)
    return tag("td", given.content, class_=given.look or None, data_head=head or None)

