#!/usr/bin/env python3
"""Draws the pictures of the documents: the terminal of a real drill, and the page of an event that a drill played.

    python docs/draw_screens.py            draws them again into docs/pictures/
    python docs/draw_screens.py DIRECTORY  draws them there

Both are SVG made of text: drill.svg has the characters and colours that `tideover drill` sent to a terminal, event.svg
the page of `tideover show --html`, whole, in a foreignObject. `tests/test_docs_screens.py` checks that what a drill
prints today is what the pictures show, numbers apart."""
from __future__ import annotations

import html
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "agent"))

from tideover import __version__  # noqa: E402
from tideover.drill import DrillEnvironment, DrillPlan, run_drill  # noqa: E402
from tideover.html import event_page  # noqa: E402
from tideover.humanize import Times  # noqa: E402
from tideover.model import Kind  # noqa: E402

COMMAND = ("tideover", "drill", "--pause", "2s")
COLUMNS = 104
CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 18       # pixels; the font's size is 14
PAGE_WIDTH, PAGE_HEIGHT = 1104, 1000                # of the page's top
STYLE = re.compile(r"\x1b\[([\d;]*)m")
COLOURS = {"31": "#ff8d83", "32": "#66c584", "33": "#f0a24e", "35": "#d39be6", "36": "#6cc7d8"}
VOID = {"meta", "br", "hr", "img", "input", "link"}
ATTRIBUTES = {"viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio"}     # html.parser lowers their case


# --- The terminal

def terminal_text() -> str:
    """What a drill sends to a terminal of COLUMNS columns. Raise RuntimeError if it fails."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent / "agent"), "COLUMNS": str(COLUMNS), "LINES": "50",
                   "TERM": "xterm-256color", "LANG": "C.UTF-8", "TIDEOVER_CONFIG": ""}
    environment.pop("NO_COLOR", None)
    drill = subprocess.Popen([sys.executable, "-m", *COMMAND], env=environment, stdin=subprocess.DEVNULL,
                             stdout=writer, stderr=writer)
    os.close(writer)
    sent = b""
    try:
        while piece := os.read(reader, 65536):
            sent += piece
    except OSError:                 # Linux: the last writer has closed the terminal
        pass
    os.close(reader)
    if drill.wait() != 0:
        raise RuntimeError(f"the drill failed:\n{sent.decode(errors='replace')}")
    return sent.decode().replace("\r\n", "\n")


def terminal_svg(text: str) -> str:
    """Given what was sent to a terminal, return its picture."""
    lines = [f"$ {' '.join(COMMAND)}", *text.rstrip("\n").split("\n")]
    width, height = round(COLUMNS * CELL_WIDTH + 2 * MARGIN), len(lines) * LINE_HEIGHT + 2 * MARGIN
    rows = [f'<text x="{MARGIN}" y="{MARGIN + LINE_HEIGHT * number + 14}">{"".join(_spans(line))}</text>'
            for number, line in enumerate(lines)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        "<title>A drill in a terminal</title>",
        '<style>text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #dfe5ea;'
        " white-space: pre }</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#171c22"/>', *rows, "</svg>", ""])


def _spans(line: str) -> Iterator[str]:
    colour, at = None, 0
    for found in STYLE.finditer(line):
        yield _span(line[at:found.start()], colour)
        codes = [code for code in found[1].split(";") if code in COLOURS]
        colour, at = (COLOURS[codes[-1]] if codes else None), found.end()
    yield _span(line[at:], colour)


def _span(text: str, colour: str | None) -> str:
    escaped = html.escape(text, quote=False)
    return f'<tspan fill="{colour}">{escaped}</tspan>' if colour and text else escaped


# --- The page

def page_text() -> str:
    """The page of the event that a drill plays. Raise RuntimeError if the drill fails."""
    plan = DrillPlan(Kind.FREEZE, 2.0, acknowledged=True)
    with DrillEnvironment(plan) as stage:
        outcome = run_drill(stage, plan, lambda line: None)
    if not outcome.held or outcome.record is None:
        raise RuntimeError(f"the drill failed: {outcome.evidence.broken or outcome.findings}")
    return event_page(outcome.record, Times(datetime.now(UTC), True), __version__)


class _Body(HTMLParser):
    """Reads a page and keeps its style sheet, and its body as XML."""

    def __init__(self) -> None:
        super().__init__()
        self.style, self.body = "", ""
        self._part = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "body"):
            self._part = tag
        elif self._part == "body":
            words = "".join(f' {ATTRIBUTES.get(key, key)}="{html.escape(value or "")}"' for key, value in attrs)
            space = ' xmlns="http://www.w3.org/2000/svg"' if tag == "svg" else ""
            self.body += f"<{tag}{space}{words}{'/' if tag in VOID else ''}>"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "body"):
            self._part = ""
        elif self._part == "body" and tag not in VOID:
            self.body += f"</{tag}>"

    def handle_data(self, data: str) -> None:
        if self._part == "style":
            self.style += data
        elif self._part == "body":
            self.body += html.escape(data, quote=False)


def page_svg(page: str) -> str:
    """Given a page, return the picture of its top."""
    read = _Body()
    read.feed(page)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_WIDTH}" height="{PAGE_HEIGHT}"'
        f' viewBox="0 0 {PAGE_WIDTH} {PAGE_HEIGHT}">',
        "<title>The page of an event</title>",
        f"<style>{html.escape(read.style, quote=False)}\n"
        ".screen { background: var(--paper); color: var(--ink) } .edge { fill: none; stroke: var(--rule) }</style>",
        f'<foreignObject width="{PAGE_WIDTH}" height="{PAGE_HEIGHT}">',
        f'<div xmlns="http://www.w3.org/1999/xhtml" class="screen" style="height: {PAGE_HEIGHT}px; overflow: hidden">'
        f"<body>{read.body}</body></div>",
        "</foreignObject>",
        f'<rect class="edge" x="0.5" y="0.5" width="{PAGE_WIDTH - 1}" height="{PAGE_HEIGHT - 1}" rx="8"/>',
        "</svg>", ""])


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "pictures"
    place.mkdir(parents=True, exist_ok=True)
    (place / "drill.svg").write_text(terminal_svg(terminal_text()))
    (place / "event.svg").write_text(page_svg(page_text()))


if __name__ == "__main__":
    main()
