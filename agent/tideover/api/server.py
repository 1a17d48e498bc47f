"""Listens at the door and answers with what it is given to answer with. Knows no state, no journal, no engine."""
from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tideover import __version__
from tideover.api.door import API, Listener, read_line

LONGEST_QUESTION = 64 * 1024
PATIENCE_S = 5.0            # somebody who connects and says nothing does not hold the door for longer
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Server:
    """One thread that sleeps until somebody asks."""

    def __init__(self, path: Path, answers: Mapping[str, Answer]) -> None:
        """Given the socket's path and what to answer to each `ask`, listen. Raise OSError if that cannot be done."""
        self._answers = answers
        self._listener = Listener(path)
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)
        self._thread.start()

    def is_replaced(self) -> bool:
        """Return whether another process removed the socket or put something else in its place."""
        return self._listener.is_replaced()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                channel = self._listener.accept(PATIENCE_S)
            except OSError:
                return                      # closed
            with contextlib.closing(channel), contextlib.suppress(OSError):
                channel.send(self._reply(read_line(channel, LONGEST_QUESTION)) + b"\n")

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            answer = self._answers[question["ask"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _line({"ok": False, "why": "that is no question of this agent's"})
        return _line(answer(question))


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps({"api": API, "version": __version__} | answer).encode()
