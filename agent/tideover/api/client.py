"""Asks the agent at its door."""
from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tideover.api.door import connect, read_line
from tideover.errors import UnreachableError

PATIENCE_S = 10.0
LONGEST_ANSWER = 16 * 1024 * 1024


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Given the socket and a question, return the answer. Raise UnreachableError if no agent answers."""
    try:
        with contextlib.closing(connect(path, PATIENCE_S)) as channel:
            channel.send(json.dumps(question).encode() + b"\n")
            received = read_line(channel, LONGEST_ANSWER)
        answer = json.loads(received)
    except (OSError, ValueError) as trouble:
        cause = getattr(trouble, "strerror", None) or str(trouble)
        raise UnreachableError("cannot ask the agent", f"{path}: {cause.lower()}",
                               "Is it running? tideover service status") from trouble
    return dict(answer) if isinstance(answer, dict) else {"ok": False, "why": "the agent gave no answer"}
