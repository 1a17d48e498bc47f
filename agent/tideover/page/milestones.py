"""The turning points of an event: which rows of its record they are, and the words a drawing has for them. Pure."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.model import Verdict
from tideover.page.account import Account, Move

WORDS: Mapping[str, str] = MappingProxyType({
    "noticed": "noticed", "acknowledged": "told to go ahead", "acknowledgement refused": "go-ahead refused",
    "started": "started", "restarted": "started anew", "pause": "running again", "recovering": "recovery begins",
    "lingering": "all recovered", "left the list": "left the list", "recover owed": "recovery failed",
})
"""Rows that are turning points wherever they stand; the others below depend on the rows around them."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """`row`: its place among the record's rows, from 0. `number`: what the drawing calls it, from 1."""

    number: int
    row: int
    move: Move
    words: str


def milestones(account: Account) -> tuple[Milestone, ...]:
    """Given an account, return its turning points in the record's order."""
    found = [(row, move, words) for row, move in enumerate(account.moves) if (words := _words(account, row, move))]
    return tuple(Milestone(number, row, move, words) for number, (row, move, words) in enumerate(found, start=1))


def _words(account: Account, row: int, move: Move) -> str:
    if move.what == "clock":
        return next((f"clock {verdict.value}" for verdict in Verdict if move.note.startswith(verdict.value)),
                    "clock judged")
    if move.what == "holding":
        return "held back" if account.acknowledged is None and move.note else ""
    if move.what in ("recovering", "lingering") and not account.runs:
        return ""
    if move.what == "closed":
        before = {earlier.what for earlier in account.moves[:row]}
        return "all recovered" if account.runs and "recovering" in before and "lingering" not in before else ""
    if move.what == "started" and account.moves[0].at == move.at:
        return ""
    if move.what == "pause" and move.note.startswith("clock-step"):
        return "clock set"
    return WORDS.get(move.what, "")
