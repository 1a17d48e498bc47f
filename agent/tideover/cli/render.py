"""The parts of a command's output (paragraph, key-value pair, table, style), and texts that several commands share.
Pure.
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tideover.humanize import NOT_KNOWN, bounded_text, length_text, offset_text
from tideover.model import ClockCheck, Verdict

# --- The parts. A text may hold foreign text: `terminal` makes it safe

class Style(enum.Enum):
    """How a text is meant, for a terminal with colours. The words alone must say it as well."""

    PLAIN = "plain"
    HEAD = "head"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class StyledText:
    """A piece of text in one style."""

    text: str
    tone: Style = Style.PLAIN


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of its own."""

    value: StyledText


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A label and what stands behind it; `more` stands below it, in lines of their own."""

    label: str
    value: StyledText
    more: tuple[StyledText, ...] = ()


@dataclass(frozen=True, slots=True)
class TableRow:
    """As many cells as the table has heads; `below` stands under them, across the table."""

    cells: tuple[StyledText, ...]
    below: tuple[StyledText, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is printed."""

    heads: tuple[str, ...]
    rows: tuple[TableRow, ...]


Part = Paragraph | KeyValue | Table


def key_value(label: str, text: str, tone: Style = Style.PLAIN, *more: StyledText) -> KeyValue:
    """Given a label and its text, return the fact."""
    return KeyValue(label, StyledText(text, tone), more)


def table_row(*cells: str | StyledText, below: tuple[StyledText, ...] = ()) -> TableRow:
    """Given cells as text or with a tone, return the row."""
    return TableRow(tuple(StyledText(cell) if isinstance(cell, str) else cell for cell in cells), below)


# --- Texts that several commands share

NAMED_AT_MOST = 3           # machines of one event; --json has all
VERDICT_TONES = {Verdict.GOOD: Style.GOOD, Verdict.BAD: Style.BAD}         # any other leaves a doubt


def names_text(names: Sequence[str]) -> str:
    """Given names of machines, return the first few, and how many more there are."""
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def pause_length_text(length_s: float | None, uncertainty_s: float | None) -> str:
    """Given a pause's length, return it with its bounds, as a fact: "5.003 s ± 31 ms"."""
    return f"length {NOT_KNOWN}" if length_s is None else bounded_text(length_s, uncertainty_s)


def clock_fact(check: ClockCheck, checked: str) -> KeyValue:
    """Given a check and its time in words, return it as a fact."""
    parts = [check.verdict.value + (f" ({check.reason})" if check.reason else "")]
    if check.offset_s is not None:
        parts.append(offset_text(check.offset_s, check.error_bound_s))
    if check.good_after_s is not None:
        parts.append(f"good after {length_text(check.good_after_s)}")
    if check.checked_at is not None:
        parts.append(checked)
    return key_value("Clock", ", ".join(parts), VERDICT_TONES.get(check.verdict, Style.WARN))


def count_text(count: int, what: str = "time") -> str:
    """Given a number and a noun, return both, the noun in its number."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
