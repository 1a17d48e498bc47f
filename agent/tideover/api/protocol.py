"""Listens at the door and answers with what it is given to answer with. Knows no state, no journal, no engine."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tideover import __version__
from tideover.api.door import API, Listener
from tideover.listening import Told, tell_nobody

LONGEST_QUESTION = 64 * 1024
PATIENCE_S = 5.0            # for a question to be asked, and then for its answer to be taken
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Server:
    """Whoever asks is answered by himself: one answer that takes long keeps nobody else waiting."""

    def __init__(self, path: Path, answers: Mapping[str, Answer], told: Told = tell_nobody) -> None:
        """Given the socket's path and what to answer to each `ask`, listen. `told`: why nobody can be let in, None when
        that is over. Raise OSError if nobody can listen there."""
        self._answers = answers
        self._listener = Listener(path, self._reply, PATIENCE_S, LONGEST_QUESTION, told)

    def is_replaced(self) -> bool:
        """Return whether another process removed the socket or put something else in its place."""
        return self._listener.is_replaced()

    def close(self) -> None:
        self._listener.close()

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            answer = self._answers[question["ask"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _line({"ok": False, "why": "that is no question of this agent's"})
        return _line(answer(question))


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps({"api": API, "version": __version__} | answer).encode() + b"\n"
