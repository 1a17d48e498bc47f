"""Asks whoever may not answer, side by side, and waits for all of them together until one deadline."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

Question = Callable[[], Any]


def ask_all(questions: Mapping[str, Question], limit_s: float) -> dict[str, Any]:
    """Given questions by name, return the answers that came within the limit; what comes later is left alone."""
    answers: dict[str, Any] = {}
    threads = [threading.Thread(target=_answer, args=(answers, name, question), daemon=True, name=f"doctor-{name}")
               for name, question in questions.items()]
    until_s = time.monotonic() + limit_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return dict(answers)


def _answer(answers: dict[str, Any], name: str, question: Question) -> None:
    answers[name] = question()
