"""The parts of what is told. A text may hold a stranger's words: whoever prints it makes it harmless. Values only."""
from __future__ import annotations

import enum
from dataclasses import dataclass


class Tone(enum.Enum):
    """How a text is meant, for whoever can show it in colour. The words alone must say it as well."""

    PLAIN = "plain"
    HEAD = "head"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Sentence:
    """A paragraph of its own."""

    said: Text


@dataclass(frozen=True, slots=True)
class Fact:
    """A label and what stands behind it; `more` stands below it, in lines of their own."""

    label: str
    said: Text
    more: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """As many cells as the table has heads; `below` stands under them, across the table."""

    cells: tuple[Text, ...]
    below: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


Part = Sentence | Fact | Table


def fact(label: str, text: str, tone: Tone = Tone.PLAIN, *more: Text) -> Fact:
    """Given a label and its text, return the fact."""
    return Fact(label, Text(text, tone), more)


def row(*cells: str | Text, below: tuple[Text, ...] = ()) -> Row:
    """Given cells as text or with a tone, return the row."""
    return Row(tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells), below)
