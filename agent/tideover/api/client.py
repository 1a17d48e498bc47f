"""Asks the agent through its socket."""
from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tideover.errors import UnreachableError

PATIENCE_S = 10.0
LONGEST_ANSWER = 16 * 1024 * 1024


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Given the socket and a question, return the answer. Raise UnreachableError if no agent answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(PATIENCE_S)
            channel.connect(str(path))
            channel.sendall(json.dumps(question).encode() + b"\n")
            received = _read_all(channel)
        answer = json.loads(received)
    except (OSError, ValueError) as trouble:
        cause = getattr(trouble, "strerror", None) or str(trouble)
        raise UnreachableError("cannot ask the agent", f"{path}: {cause.lower()}",
                               "Is it running? systemctl status tideover") from trouble
    return dict(answer) if isinstance(answer, dict) else {"ok": False, "why": "the agent gave no answer"}


def _read_all(channel: socket.socket) -> bytes:
    received = bytearray()
    while len(received) < LONGEST_ANSWER and (part := channel.recv(65536)):
        received += part
    return bytes(received)
