"""Asks whoever may not answer, side by side, and waits for all of them together until one deadline."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tideover.threads import start_task

Question = Callable[[], Any]


def ask_all(questions: Mapping[str, Question], limit_s: float) -> dict[str, Any]:
    """Given questions by name, return the answers that came within the limit; what comes later is left alone."""
    answers: dict[str, Any] = {}
    until_s = time.monotonic() + limit_s
    threads = [start_task(f"doctor-{name}", partial(_answer, answers, name, question))
               for name, question in questions.items()]
    for thread in threads:
        if thread is not None:
            thread.join(max(0.0, until_s - time.monotonic()))
    return dict(answers)


def _answer(answers: dict[str, Any], name: str, question: Question) -> None:
    answers[name] = question()
