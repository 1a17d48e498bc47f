"""A finding: what is so on this machine and, where something is wrong, what to do. Values only."""
from __future__ import annotations

import enum
from dataclasses import dataclass


class FindingLevel(enum.Enum):
    """NOTE: it works, and somebody should know all the same. BAD: something will not work here."""

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
    return Finding(topic, FindingLevel.GOOD, single_line(what))


def remark(topic: str, what: str, do: str = "") -> Finding:
    return Finding(topic, FindingLevel.NOTE, single_line(what), single_line(do))


def bad(topic: str, what: str, do: str) -> Finding:
    return Finding(topic, FindingLevel.BAD, single_line(what), single_line(do))


def single_line(text: str) -> str:
    """Given text that may hold a stranger's words, return it as one line without control characters."""
    return "".join(sign if sign.isprintable() else "·" for sign in " ".join(text.split()))
