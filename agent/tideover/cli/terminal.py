"""Lays out what is told for a terminal's width. Decides nothing about what is said.

Where there is no terminal each row is one line, for grep and awk; on a narrow one the columns that do not fit move
below their row. Nothing is ever cut off: ids and paths stay whole, to be copied.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from tideover.cli.terminal import WIDEST, Terminal, columns_of, harmless
from tideover.telling.parts import Fact, Part, Row, Sentence, Table, Text, Tone
from tideover.wording import UNITS

GAP = "  "
BETWEEN = " · "
INDENT = "    "             # of what stands below a row
MAY_BREAK = re.compile(rf"(?<!±) (?!(?:{'|'.join(UNITS)}|ago)\b|±|\d\d:)")     # a number keeps its unit, a day its time
LAST_AT_LEAST = 40          # columns; a last column with less to wrap in moves below


def lines_of(parts: Iterable[Part], terminal: Terminal) -> list[str]:
    """Given what is told, return its lines."""
    blocks: list[list[str]] = []
    for _, group in groupby(parts, key=type):
        same = list(group)
        if facts := [part for part in same if isinstance(part, Fact)]:
            blocks.append(list(_facts(facts, terminal)))
        for part in same:
            if isinstance(part, Table):
                blocks.append(table_lines(part, terminal))
            elif isinstance(part, Sentence):
                blocks.append(list(_painted(terminal, "", "", part.said)))
    return [line for block in blocks for line in (*block, "")][:-1]


def _facts(facts: list[Fact], terminal: Terminal) -> Iterator[str]:
    column = max(columns_of(one.label) for one in facts)
    for one in facts:
        head = terminal.painted(Text(one.label, Tone.FAINT), column) + GAP
        margin = " " * column + GAP
        yield from _painted(terminal, head, margin, one.said)
        for text in one.more:
            yield from _painted(terminal, margin, margin, text)


def table_lines(table: Table, terminal: Terminal) -> list[str]:
    """Given a table, return its lines, heads first."""
    all_cells = [_heads(table), *(one.cells for one in table.rows)]
    widths = [max(columns_of(harmless(cells[index].text)) for cells in all_cells) for index in range(len(table.heads))]
    shown = _fitting(table, widths, terminal.width)
    lines = _row_lines(Row(_heads(table)[:shown]), widths, terminal)
    for one in table.rows:
        lines += _row_lines(Row(one.cells[:shown]), widths, terminal)
        lines += _below(table, one, shown, terminal)
    return lines


def _heads(table: Table) -> tuple[Text, ...]:
    return tuple(Text(head, Tone.HEAD) for head in table.heads)


def _fitting(table: Table, widths: list[int], width: int | None) -> int:
    """How many columns stand side by side; the last of all may be wrapped where it stands."""
    if width is None or sum(widths) + len(GAP) * (len(widths) - 1) <= width:
        return len(widths)
    before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    words = [columns_of(word) for one in table.rows for word in harmless(one.cells[-1].text).split()]
    if before + max(LAST_AT_LEAST, *words, 0) <= width:
        return len(widths)
    room, shown = width, 0
    for column in widths:
        room -= column + (len(GAP) if shown else 0)
        if room < 0:
            break
        shown += 1
    return max(1, shown)


def _row_lines(one: Row, widths: list[int], terminal: Terminal) -> list[str]:
    *first, last = one.cells
    head = "".join(terminal.painted(cell, width) + GAP for cell, width in zip(first, widths, strict=False))
    margin = " " * sum(width + len(GAP) for width in widths[:len(first)])
    lines = list(_painted(terminal, head, margin, last))
    return [line.rstrip() for line in lines]


def _below(table: Table, one: Row, shown: int, terminal: Terminal) -> Iterator[str]:
    """The cells that have no column, with their heads, as many to a line as fit; then what stands below the row."""
    room = (terminal.width or WIDEST) - len(INDENT)
    line, length = "", 0
    for head, cell in zip(table.heads[shown:], one.cells[shown:], strict=True):
        said = f"{head.lower()} {harmless(cell.text)}"
        if harmless(cell.text) in ("", "-"):
            continue
        if length and length + len(BETWEEN) + columns_of(said) > room:
            yield INDENT + line
            line, length = "", 0
        if columns_of(said) > room:
            yield from _painted(terminal, INDENT, INDENT, Text(said, cell.tone))
            continue
        painted = terminal.painted(Text(head.lower(), Tone.FAINT)) + " " + terminal.painted(cell)
        before = BETWEEN if line else ""
        line, length = line + before + painted, length + len(before) + columns_of(said)
    if line:
        yield INDENT + line
    for text in one.below:
        yield from _painted(terminal, INDENT, INDENT, text)


def _painted(terminal: Terminal, first: str, margin: str, text: Text) -> Iterator[str]:
    """Given what stands before the first line and before the others, yield the text's lines. `margin` is as wide as
    `first` is when shown."""
    room = None if terminal.width is None else terminal.width - len(margin)
    for index, line in enumerate(wrapped(harmless(text.text), room)):
        yield (margin if index else first) + terminal.painted(Text(line, text.tone))


def wrapped(text: str, room: int | None) -> list[str]:
    """Given one line of text and the columns there are, return its lines; what is one word is never cut in two."""
    if room is None or columns_of(text) <= room:
        return [text]
    lines: list[str] = []
    for word in MAY_BREAK.split(text):
        if lines and columns_of(lines[-1]) + 1 + columns_of(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
