"""A program of the drill with all that it starts, as one process group or job: started, stopped, resumed, ended.

Linux: a process group. Windows: a job.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil


class DrillProgram:
    """Given a command, the file its output goes to and its environment, start it. Raise OSError. Its standard input
    stays open as long as we live."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], *,
                 in_new_session: bool = False, creation_flags: int = 0) -> None:
        """`in_new_session` is of Linux, `creation_flags` of Windows (CreateProcessW)."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                             env=environment, start_new_session=in_new_session,
                                             creationflags=creation_flags)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None: it runs (or is stopped). Negative: the signal that ended it, on Linux."""
        return self._process.poll()

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait until it has ended; return whether it has within the limit."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _let_go(self) -> None:
        """It was killed: wait for that, and close its standard input."""
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


if sys.platform == "win32":
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

else:
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
        """Given a state directory, end every process that was started as a hook there: after a killed agent."""
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
