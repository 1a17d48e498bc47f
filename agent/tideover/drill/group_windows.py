"""A program of the drill with all that it starts, in a job: started, stopped as in a pause of the machine, ended."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tideover.drill.program import DrillProgram
from tideover.winapi.base import request_stop
from tideover.winapi.processes import Job

HOW_STOPPED, HOW_KILLED = "suspended", "ended without notice"
_CREATE_SUSPENDED = 0x4


class ProcessGroup(DrillProgram):
    """Starts it in a job: it dies with us."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._job = Job.create()
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP | _CREATE_SUSPENDED
        super().__init__(command, log, environment, creation_flags=flags)
        # A virtual environment's python.exe starts the real one: the job has both.
        self._job.take_in(int(self._process._handle))       # type: ignore[attr-defined]  # Popen's own; no other way
        psutil.Process(self.pid).resume()

    def stop(self) -> None:
        """Let nothing of it run; return when that is so."""
        for pid in self._job.pids():
            with suppress(psutil.Error):        # it has ended meanwhile
                psutil.Process(pid).suspend()

    def go_on(self) -> None:
        for pid in self._job.pids():
            with suppress(psutil.Error):
                psutil.Process(pid).resume()

    def ask_to_end(self) -> None:
        for pid in self._job.pids():
            request_stop(pid)

    def kill(self) -> None:
        """End all of it without a word, and wait for that."""
        with suppress(OSError):
            self._job.end()
        self._let_go()


def end_hooks_of(state: Path) -> None:
    """Nothing: a hook's job dies with the agent that started it."""


def why_no_place(path: Path) -> str | None:
    """Given a directory, return why no program can be run there; None if one can."""
    return None
