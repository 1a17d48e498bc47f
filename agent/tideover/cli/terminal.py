"""Layout on a terminal: its width and colours, columns, line breaks; control characters made visible.

What it prints is made safe here.

Where there is no terminal each row is one line, for grep and awk; on a narrow one the columns that do not fit move
below their row. Nothing is ever cut off: ids and paths stay whole, to be copied.

Not on rich: its tables fold or crop what does not fit, so that this layout would stay; it would replace the colours and
the width of characters, by estimate 45 lines, for 33 ms and 2 MiB of each `tideover status` (186 ms without) and for
four packages.
"""
from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO

from tideover.cli.render import KeyValue, Paragraph, Part, Style, StyledText, Table, TableRow
from tideover.humanize import UNITS
from tideover.text_safety import dot_controls

# --- Width and colour

NARROWEST, WIDEST = 60, 140     # lines are laid out for no less, and text for no more: longer ones are hard to read
CODES: Mapping[Style, str] = {Style.HEAD: "1", Style.GOOD: "32", Style.WARN: "33", Style.BAD: "31", Style.FAINT: "2"}


@dataclass(frozen=True, slots=True)
class Terminal:
    """`width` None: there is no terminal, so lines are left whole."""

    width: int | None = None
    colour: bool = False

    def painted(self, text: StyledText, columns: int = 0) -> str:
        """Given a text, return it harmless, in its colour, filled up with blanks to `columns`."""
        shown = dot_controls(text.text)
        code = CODES.get(text.tone) if self.colour else None
        filling = " " * (columns - columns_of(shown))
        return f"\x1b[{code}m{shown}\x1b[0m{filling}" if code and shown else shown + filling


def this_terminal(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Terminal:
    """Given a stream (None: standard output), return what it is. NO_COLOR as at no-color.org: set and not empty."""
    if not (stream or sys.stdout).isatty():
        return Terminal()
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Terminal(min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns)), colour)


def columns_of(text: str) -> int:
    """Given printable text, return how many columns of a terminal it takes: wide signs two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
               for sign in text)


# --- Layout

GAP = "  "
BETWEEN = " · "
INDENT = "    "             # of what stands below a row
MAY_BREAK = re.compile(rf"(?<!±) (?!(?:{'|'.join(UNITS)}|ago)\b|±|\d\d:)")     # a number keeps its unit, a day its time
LAST_AT_LEAST = 40          # columns; a last column with less to wrap in moves below


def render_lines(parts: Iterable[Part], terminal: Terminal) -> list[str]:
    """Given the parts of an output, return its lines."""
    blocks: list[list[str]] = []
    for _, group in groupby(parts, key=type):
        same = list(group)
        if facts := [part for part in same if isinstance(part, KeyValue)]:
            blocks.append(list(_facts(facts, terminal)))
        for part in same:
            if isinstance(part, Table):
                blocks.append(table_lines(part, terminal))
            elif isinstance(part, Paragraph):
                blocks.append(list(_painted(terminal, "", "", part.value)))
    return [line for block in blocks for line in (*block, "")][:-1]


def _facts(facts: list[KeyValue], terminal: Terminal) -> Iterator[str]:
    column = max(columns_of(one.label) for one in facts)
    for one in facts:
        head = terminal.painted(StyledText(one.label, Style.FAINT), column) + GAP
        margin = " " * column + GAP
        yield from _painted(terminal, head, margin, one.value)
        for text in one.more:
            yield from _painted(terminal, margin, margin, text)


def table_lines(table: Table, terminal: Terminal) -> list[str]:
    """Given a table, return its lines, heads first."""
    all_cells = [_heads(table), *(one.cells for one in table.rows)]
    widths = [max(columns_of(dot_controls(cells[index].text)) for cells in all_cells)
              for index in range(len(table.heads))]
    shown = _fitting(table, widths, terminal.width)
    lines = _row_lines(TableRow(_heads(table)[:shown]), widths, terminal)
    for one in table.rows:
        lines += _row_lines(TableRow(one.cells[:shown]), widths, terminal)
        lines += _below(table, one, shown, terminal)
    return lines


def _heads(table: Table) -> tuple[StyledText, ...]:
    return tuple(StyledText(head, Style.HEAD) for head in table.heads)


def _fitting(table: Table, widths: list[int], width: int | None) -> int:
    """How many columns stand side by side; the last of all may be wrapped where it stands."""
    if width is None or sum(widths) + len(GAP) * (len(widths) - 1) <= width:
        return len(widths)
    before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    words = [columns_of(word) for one in table.rows for word in dot_controls(one.cells[-1].text).split()]
    if before + max(LAST_AT_LEAST, *words, 0) <= width:
        return len(widths)
    room, shown = width, 0
    for column in widths:
        room -= column + (len(GAP) if shown else 0)
        if room < 0:
            break
        shown += 1
    return max(1, shown)


def _row_lines(one: TableRow, widths: list[int], terminal: Terminal) -> list[str]:
    *first, last = one.cells
    head = "".join(terminal.painted(cell, width) + GAP for cell, width in zip(first, widths, strict=False))
    margin = " " * sum(width + len(GAP) for width in widths[:len(first)])
    lines = list(_painted(terminal, head, margin, last))
    return [line.rstrip() for line in lines]


def _below(table: Table, one: TableRow, shown: int, terminal: Terminal) -> Iterator[str]:
    """The cells that have no column, with their heads, as many to a line as fit; then what stands below the row."""
    room = (terminal.width or WIDEST) - len(INDENT)
    line, length = "", 0
    for head, cell in zip(table.heads[shown:], one.cells[shown:], strict=True):
        labelled = f"{head.lower()} {dot_controls(cell.text)}"
        if dot_controls(cell.text) in ("", "-"):
            continue
        if length and length + len(BETWEEN) + columns_of(labelled) > room:
            yield INDENT + line
            line, length = "", 0
        if columns_of(labelled) > room:
            yield from _painted(terminal, INDENT, INDENT, StyledText(labelled, cell.tone))
            continue
        painted = terminal.painted(StyledText(head.lower(), Style.FAINT)) + " " + terminal.painted(cell)
        before = BETWEEN if line else ""
        line, length = line + before + painted, length + len(before) + columns_of(labelled)
    if line:
        yield INDENT + line
    for text in one.below:
        yield from _painted(terminal, INDENT, INDENT, text)


def _painted(terminal: Terminal, first: str, margin: str, text: StyledText) -> Iterator[str]:
    """Given what stands before the first line and before the others, yield the text's lines. `margin` is as wide as
    `first` is when shown."""
    room = None if terminal.width is None else terminal.width - len(margin)
    for index, line in enumerate(wrapped(dot_controls(text.text), room)):
        yield (margin if index else first) + terminal.painted(StyledText(line, text.tone))


def wrapped(text: str, room: int | None, first_more: int = 0) -> list[str]:
    """Given one line of text, the columns there are, and how many more the first line has, return its lines; what is
    one word is never cut in two."""
    if room is None or columns_of(text) <= room + first_more:
        return [text]
    lines: list[str] = []
    for word in MAY_BREAK.split(text):
        if lines and columns_of(lines[-1]) + 1 + columns_of(word) <= room + (first_more if len(lines) == 1 else 0):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def wrapped_line(text: str, width: int | None, hanging: int = 0) -> list[str]:
    """Given one line of text, a terminal's columns (None: there is no terminal) and by how many columns its further
    lines are indented more, return its lines, harmless and all as far from the left as it was."""
    indent = text[:len(text) - len(text.lstrip(" "))]
    room = None if width is None else width - len(indent) - hanging
    return [indent + " " * (hanging if index else 0) + line
            for index, line in enumerate(wrapped(dot_controls(text.lstrip(" ")), room, hanging))]
