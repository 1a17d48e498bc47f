"""A program of the drill with its process group: started, stopped as in a pause of the machine, ended. Linux."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tideover.drill.program import DrillProgram

STATE_S = 1.0               # for the kernel to show a process as stopped
LOOK_S = 0.002
AT_REST = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
HOW_STOPPED, HOW_KILLED = "by SIGSTOP", "SIGKILL"


class ProcessGroup(DrillProgram):
    """Starts it in a session of its own."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(command, log, environment, in_new_session=True)

    def stop(self) -> None:
        """Let nothing of it run; return when that is so."""
        self._signal(signal.SIGSTOP)
        until = time.monotonic() + STATE_S
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(self.pid).status() not in AT_REST and time.monotonic() < until:
                time.sleep(LOOK_S)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of it without a word, and wait for that."""
        self._signal(signal.SIGKILL)
        self._let_go()

    def _signal(self, number: signal.Signals) -> None:
        """To its whole group; nothing where it is gone."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def end_hooks_of(state: Path) -> None:
    """Given a state directory, end every process that was started as a hook there: after an agent that was killed."""
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}         # None: it has ended, or is another user's
        if environment.get("TIDEOVER_STATE_DIR", "").startswith(f"{state}/"):
            with suppress(psutil.Error):
                process.kill()


def why_no_place(path: Path) -> str | None:
    """Given a directory, return why no program can be run there; None if one can."""
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"no program may be run from {path.parent} (it is mounted noexec)"
    return None
