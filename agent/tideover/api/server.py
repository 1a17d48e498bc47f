"""Listens on the socket and answers with what it is given to answer with. Knows no state, no journal, no engine."""
from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST_QUESTION = 64 * 1024
PATIENCE_S = 5.0            # somebody who connects and says nothing does not hold the door for longer
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Server:
    """One thread that sleeps until somebody asks."""

    def __init__(self, path: Path, answers: Mapping[str, Answer]) -> None:
        """Given the socket's path and what to answer to each `ask`, listen. Raise OSError if that cannot be done."""
        self._path, self._answers = path, answers
        with contextlib.suppress(FileNotFoundError):
            path.unlink()                   # the state directory's lock says that no other agent is behind it
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError:
                return                      # closed
            with channel, contextlib.suppress(OSError):
                channel.settimeout(PATIENCE_S)
                channel.sendall(self._reply(_read_line(channel)) + b"\n")

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            answer = self._answers[question["ask"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return json.dumps({"ok": False, "why": "that is no question of this agent's"}).encode()
        return json.dumps(answer(question)).encode()


def _read_line(channel: socket.socket) -> bytes:
    received = b""
    while b"\n" not in received and len(received) < LONGEST_QUESTION:
        part = channel.recv(4096)
        if not part:
            break
        received += part
    return received
