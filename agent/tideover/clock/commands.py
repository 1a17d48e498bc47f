"""Runs other programs of the system for their output: argument list, deadline, bounded output; never a shell."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tideover.clock.types import DEADLINE_S, MOST_BYTES, CommandResult

# Nothing of the agent's own environment. On Linux the language fixes what the programs print; those of Windows print in
# the system's language and code page, and no option changes that.
if sys.platform == "win32":
    from tideover.winapi.base import system_directory

    _DIRECTORY, _ENCODING = system_directory(), "oem"
    _ENVIRONMENT = {"SystemRoot": _DIRECTORY.rpartition("\\")[0], "PATH": _DIRECTORY}
    _SUFFIX, _CREATION_FLAGS = ".exe", subprocess.CREATE_NO_WINDOW
else:
    _DIRECTORY, _ENCODING = "/", "utf-8"
    _ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    _SUFFIX, _CREATION_FLAGS = "", 0


def run_command(arguments: Sequence[str], deadline_s: float = DEADLINE_S) -> CommandResult:
    """Given a program and its arguments, run it until the deadline at most and return the beginning of what it printed.

    The program must be one of the system's: what it prints until the deadline is held in memory.
    """
    name = Path(arguments[0]).name
    program = shutil.which(arguments[0] + _SUFFIX, path=_ENVIRONMENT["PATH"])
    if program is None:
        return CommandResult(trouble=f"{name} is not installed")
    try:
        # It stays in our session, whose children no other part of the agent reaps, in a group that can be ended whole:
        # subprocess.run would end the program alone, and what it has started would live on.
        process = subprocess.Popen([program, *arguments[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=_ENVIRONMENT, cwd=_DIRECTORY, process_group=0,
                                   creationflags=_CREATION_FLAGS)
    except OSError as error:
        return CommandResult(trouble=f"{name} cannot be run: {error.strerror or error}")
    with process:
        try:
            output, _ = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return CommandResult(trouble=f"{name} did not end within {deadline_s:.3g} s")
    text = output[:MOST_BYTES].decode(_ENCODING, "replace").strip()
    if process.returncode:
        return CommandResult(text, f"{name} failed: {text[-200:] or f'exit status {process.returncode}'}")
    return CommandResult(text)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
        process.communicate()       # its reader threads end with the program
    else:
        os.killpg(process.pid, signal.SIGKILL)      # not reaped yet, so the number is still its own
