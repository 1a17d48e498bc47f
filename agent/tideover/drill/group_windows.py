"""A program of the drill with all that it starts, in a job: started, stopped as a machine stands still, ended."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tideover.winapi.console import ask_to_end
from tideover.winapi.jobs import Job
from tideover.winapi.processes import resume_process, suspend_process

HOW_STOPPED, HOW_KILLED = "suspended", "ended without a word"
_CREATE_SUSPENDED = 0x4


class Group:
    """Given a command, the file its output goes to and its environment, start it in a job. Raise OSError. Its standard
    input stays open as long as we live; and it dies with us."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._job = Job.create()
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP | _CREATE_SUSPENDED
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                             env=environment, creationflags=flags)
        # A virtual environment's python.exe starts the real one: the job has both.
        self._job.take_in(int(self._process._handle))       # type: ignore[attr-defined]  # Popen's own; no other way
        resume_process(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None: it runs (or is stopped)."""
        return self._process.poll()

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait until it has ended; return whether it has within the limit."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Let nothing of it run; return when that is so."""
        for pid in self._job.pids():
            suspend_process(pid)

    def go_on(self) -> None:
        for pid in self._job.pids():
            resume_process(pid)

    def ask_to_end(self) -> None:
        for pid in self._job.pids():
            ask_to_end(pid)

    def kill(self) -> None:
        """End all of it without a word, and wait for that."""
        with suppress(OSError):
            self._job.end()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def end_hooks_of(state: Path) -> None:
    """Nothing: a hook's job dies with the agent that started it."""


def why_no_place(path: Path) -> str | None:
    """Given a directory, return why no program can be run there; None if one can."""
    return None
