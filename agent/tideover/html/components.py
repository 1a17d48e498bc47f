"""Parts that pages share: key figures, tables, badges, the head with its content security policy. Pure.

The policy in the head forbids everything but this one style sheet, by its hash: markup that were ever to slip into a
page could neither run, nor fetch, nor style itself.

Not on Jinja2: nearly half of this package is drawings, which stay code, and what is left is sentences chosen by the
record; the functions that make markup are under 200 lines, escape by type, and are checked by mypy, which sees no
templates.
"""
from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from tideover.html.markup import LAYOUTS, Drawing, Markup, PageLayout, join, svg, tag
from tideover.html.summary import Severity
from tideover.model import Kind

# --- Style sheet and document: one file, no script, nothing fetched

def style_sheet() -> Markup:
    """Return the one style sheet: the file beside this module, and the colour of each kind of event."""
    kinds = "".join(f".kind-{kind.value} {{ fill: {kind.info.colour} }}\n" for kind in Kind)
    return Markup(files("tideover.html").joinpath("style.css").read_text(encoding="utf-8") + kinds)


def html_document(title: str, *body: str) -> str:
    """Given the page's title and the content of its body, return the whole file's text."""
    sheet = style_sheet()
    digest = b64encode(sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag("head", tag("meta", charset="utf-8"),
               tag("meta", http_equiv="Content-Security-Policy", content=policy),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="referrer", content="no-referrer"),
               tag("meta", name="robots", content="noindex"),
               tag("title", title), tag("style", sheet))
    return join(Markup("<!doctype html>\n"), tag("html", head, tag("body", *body), lang="en"), "\n")


# --- Components

LOOKS: Mapping[Severity, str] = MappingProxyType({
    Severity.CARRIED: "good", Severity.WITHDRAWN: "calm", Severity.ATTENTION: "bad", Severity.OPEN: "open",
    Severity.PASSED: "calm",
    Severity.WATCHED: "calm",
})


NAME_SIGNS, NOTE_SIGNS = 120, 600      # of untrusted text, at most


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number at a glance, with a line beneath it."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell: its markup, and its style's class."""

    content: str
    look: str = ""


TableRows = list[list[TableCell | str]]


def badge(tone: Severity) -> Markup:
    words = tone.value
    return tag("span", words[0].upper() + words[1:], class_=f"tone {LOOKS[tone]}")


def at_a_glance(figures: Iterable[KeyFigure]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", one.name),
                           tag("dd", one.value, tag("span", one.more, class_="more") if one.more else ""))
                       for one in figures), class_="figures")


def table(heads: Sequence[str], rows: Iterable[Sequence[TableCell | str]], look: str = "stacks") -> Markup:
    """Given heads and rows, return a table whose first column names its row; on a phone each row becomes a block."""
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    body = tag("tbody", *(tag("tr", *(_cell(cell, heads[index], index == 0) for index, cell in enumerate(row)))
                          for row in rows))
    return tag("table", head, body, class_=look)


def figure(draw: Callable[[PageLayout], Drawing], *caption: str) -> Markup:
    """Given what draws one layout, return both drawings; the sheet shows the one that fits."""
    drawings = (svg(draw(layout), layout.name) for layout in LAYOUTS)
    return tag("figure", *drawings, tag("figcaption", *caption) if caption else "")


def section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)


def lines(items: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items), class_="plain")


def _cell(cell: TableCell | str, head: str, is_first: bool) -> Markup:
    given = cell if isinstance(cell, TableCell) else TableCell(cell)
    if is_first:
        return tag("th", given.content, scope="row", class_=given.look or None)
    return tag("td", given.content, class_=given.look or None, data_head=head or None)
