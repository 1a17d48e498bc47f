"""A finding: what is so on this machine and, where something is wrong, what to do. Values only."""
from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """NOTE: it works, and somebody should know all the same. BAD: something will not work here."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one topic, and one about what to do ("" where there is nothing to be done)."""

    topic: str
    state: State
    what: str
    do: str = ""


def good(topic: str, what: str) -> Finding:
    return Finding(topic, State.GOOD, one_line(what))


def note(topic: str, what: str, do: str = "") -> Finding:
    return Finding(topic, State.NOTE, one_line(what), one_line(do))


def bad(topic: str, what: str, do: str) -> Finding:
    return Finding(topic, State.BAD, one_line(what), one_line(do))


def one_line(text: str) -> str:
    """Given text that may hold a stranger's words, return it as one line without control characters."""
    return "".join(sign if sign.isprintable() else "·" for sign in " ".join(text.split()))
