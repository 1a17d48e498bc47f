"""What the agent answers to those who ask through its socket. Runs on the socket's thread: it reads the state (a value)
and brings news to the engine, nothing else."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tideover import observations as ob
from tideover.api.server import Answer
from tideover.engine import Engine
from tideover.journal import Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Case, Phase
from tideover.pause import MachineClocks
from tideover.status import status_of

TAKEN_S = 5.0       # for news to be taken in: the engine may be writing to a slow disk
CANNOT_ACKNOWLEDGE = {
    Phase.WATCHING: "it is not this VM's, or of a kind that is left alone",
    Phase.WAITING: "its preparation has not begun",
    Phase.PREPARING: "its preparation still runs",
    Phase.ASKING: "it is being acknowledged now",
    Phase.DOUBTING: "it is being acknowledged now; whether the last try counted is not known",
}


class Requests:
    """The answers of one agent."""

    def __init__(self, engine: Engine, journal: Path, about: Callable[[], dict[str, Any]]) -> None:
        """`about`: what the wiring knows beside the state."""
        self._engine, self._journal, self._about = engine, journal, about

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
            return {"ok": False, "why": "no such event is open; tideover status lists them"}
        if case.acknowledged:
            return {"ok": True, "why": "it is acknowledged already", "event_id": case.id}
        if case.phase is not Phase.HOLDING:
            return {"ok": False, "why": CANNOT_ACKNOWLEDGE.get(case.phase, "it has started or is over"),
                    "event_id": case.id}
        self._engine.tell_and_wait(ob.AcknowledgeRequested(case.id), TAKEN_S)
        return {"ok": True, "why": "the platform is being told", "event_id": case.id, "sent_before": case.ask_attempt}

    def _recover(self, question: Mapping[str, Any]) -> dict[str, Any]:
        case = self._find(question)
        if question.get("event") and case is None:
            return {"ok": False, "why": "no such event is open; tideover status lists them"}
        # Whoever asks looks at the status next, and must not find what stood there before.
        self._engine.tell_and_wait(ob.RecoverRequested(case.id if case else None), TAKEN_S)
        return {"ok": True, "why": "recover is asked for"}

    def _find(self, question: Mapping[str, Any]) -> Case | None:
        wanted = str(question.get("event") or "").casefold()
        for case in self._engine.state.cases.values():
            if wanted and case.id.casefold() == wanted:
                return case
        return None
