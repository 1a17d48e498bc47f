"""The drill's sample of an application that takes part over the socket: it holds its feed, and goes on with it.

It writes down when each run begins and ends, as the sample hooks do. Run as a program of its own, by its path, with the
socket and the file of the notes; it ends when its standard input does, so it never outlives the drill.
"""
from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from tideover.client import Application, Run

NAME = "feed"


def take_part(socket_path: str, notes: Path) -> None:
    """Given the agent's socket and the file of the notes, take part until standard input ends."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()
    with Application(NAME, socket_path=socket_path) as app:
        for run in app.runs():
            with run:
                _note(notes, run, "begun")
                _note(notes, run, "done")


def _note(notes: Path, run: Run, mark: str) -> None:
    clock = run.clock if run.phase == "recover" else "-"
    with notes.open("a", encoding="ascii") as file:
        file.write(f"{time.time():.9f} 15-{NAME} {run.phase} {mark} {clock}\n")


def _wait_for_the_end() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    take_part(sys.argv[1], Path(sys.argv[2]))
