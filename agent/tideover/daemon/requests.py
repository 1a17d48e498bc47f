"""What the agent answers to those who ask through its socket. Runs on the socket's thread: it reads the state (a value)
and brings news to the engine, nothing else."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tideover import observations as ob
from tideover.api.server import Answer
from tideover.clock import ClockSettings
from tideover.engine import Engine
from tideover.journal import Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Case, Phase
from tideover.model import ClockCheck, fold_case
from tideover.pause import MachineClocks
from tideover.settings import Settings
from tideover.status import recover_owed, status_of

TAKEN_S = 5.0       # for news to be taken in: the engine may be writing to a slow disk
CANNOT_ACKNOWLEDGE = {
    Phase.WATCHING: "it is not this VM's, or of a kind that is left alone",
    Phase.WAITING: "its preparation has not begun",
    Phase.PREPARING: "its preparation still runs",
    Phase.ASKING: "it is being acknowledged now",
    Phase.DOUBTING: "it is being acknowledged now; whether the last try counted is not known",
}
ACKNOWLEDGED = "it is acknowledged already"
NOT_OPEN, LIST = "no such event is open", "tideover status lists them."
LOOK = "tideover status tells what it waits for."


class Requests:
    """The answers of one agent."""

    def __init__(self, engine: Engine, journal: Path, about: Callable[[], dict[str, Any]],
                 check_clock: Callable[[], ClockCheck]) -> None:
        """`about`: what the wiring knows beside the state. `check_clock`: one look; may block for a second."""
        self._engine, self._journal, self._about, self._check_clock = engine, journal, about, check_clock

    def answers(self) -> Mapping[str, Answer]:
        return {"status": self._status, "acknowledge": self._acknowledge, "recover": self._recover}

    def _status(self, question: Mapping[str, Any]) -> dict[str, Any]:
        about = self._about()
        failures = about["source"]["failures"]
        status = status_of(self._engine.state, self._rows(), MachineClocks().moment(), failures)
        return {"ok": True, "status": status | about}

    def _rows(self) -> list[Any]:
        """A second reader of the journal: the engine's own belongs to the engine's thread."""
        try:
            with closing(Journal.reading(self._journal)) as journal:
                return journal.newest_rows()
        except (JournalUnreadable, JournalUnwritable):
            return []

    def _acknowledge(self, question: Mapping[str, Any]) -> dict[str, Any]:
        case = self._find(question)
        if case is None:
            return {"ok": False, "why": NOT_OPEN, "do": LIST}
        if case.acknowledged:
            return {"ok": True, "why": ACKNOWLEDGED, "event_id": case.id}
        if case.phase is not Phase.HOLDING:
            return {"ok": False, "why": _why_not(case), "do": LOOK, "event_id": case.id}
        self._engine.tell_and_wait(ob.AcknowledgeRequested(case.id), TAKEN_S)
        return {"ok": True, "why": "the platform is being told", "event_id": case.id, "sent_before": case.ask_attempt}

    def _recover(self, question: Mapping[str, Any]) -> dict[str, Any]:
        case = self._find(question)
        if question.get("event") and case is None:
            return {"ok": False, "why": NOT_OPEN, "do": LIST}
        were_owed = recover_owed(self._engine.state)
        # Whoever asks looks at the status next, and must not find what stood there before.
        clock = self._check_clock() if were_owed else None
        self._engine.tell_and_wait(ob.RecoverRequested(case.id if case else None, clock), TAKEN_S)
        return {"ok": True, "why": "recover is asked for", "were_owed": were_owed}

    def _find(self, question: Mapping[str, Any]) -> Case | None:
        wanted = fold_case(str(question.get("event") or ""))
        for case in self._engine.state.cases.values():
            if wanted and fold_case(case.id) == wanted:
                return case
        return None


def check_clock(settings: Settings) -> ClockCheck:
    """Given the owner's settings, look at the clock once; blocks for about a second at most."""
    from tideover.clock.now import check_now
    return check_now(ClockSettings.of(settings)).check


def _why_not(case: Case) -> str:
    """Why a case cannot be acknowledged, in words that are true of it: not every one that is past its preparation has
    started."""
    if case.phase in CANNOT_ACKNOWLEDGE:
        return CANNOT_ACKNOWLEDGE[case.phase]
    if case.began:
        return "it has started"
    if not case.listed:
        return "it has left the platform's list"
    if case.given_back:
        return "its applications were recovered by hand, so nothing is prepared for it"
    return "the machine was away since it was prepared for"
