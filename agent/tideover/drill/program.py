"""A program of the drill as both systems have it: started with its output in a file, waited for, seen to its end."""
from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


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
