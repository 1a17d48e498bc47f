"""A finding: what is so on this machine and, where something is wrong, what to do. Values only."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from tideover.text_safety import dot_controls


class FindingLevel(enum.Enum):
    """NOTE: it works, with a limit worth knowing. BAD: something will not work here."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one topic, and one about what to do ("" where there is nothing to be done)."""

    topic: str
    state: FindingLevel
    what: str
    do: str = ""


def good(topic: str, what: str) -> Finding:
    return Finding(topic, FindingLevel.GOOD, _one_line(what))


def remark(topic: str, what: str, do: str = "") -> Finding:
    return Finding(topic, FindingLevel.NOTE, _one_line(what), _one_line(do))


def bad(topic: str, what: str, do: str) -> Finding:
    return Finding(topic, FindingLevel.BAD, _one_line(what), _one_line(do))


def _one_line(text: str) -> str:
    return dot_controls(" ".join(text.split()))
