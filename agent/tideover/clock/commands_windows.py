"""Runs programs of Windows for their output: argument list, deadline, bounded output; never a shell."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tideover.clock.types import DEADLINE_S, MOST_BYTES, CommandResult
from tideover.winapi.base import system_directory


def run_command(arguments: Sequence[str], deadline_s: float = DEADLINE_S) -> CommandResult:
    """Given a program of the system directory and its arguments, run it until the deadline at most and return what it
    printed, in whatever language the system speaks."""
    system = Path(system_directory())
    name, program = arguments[0], system / f"{arguments[0]}.exe"
    if not program.is_file():
        return CommandResult(trouble=f"{name} is not installed")
    environment = {"SystemRoot": str(system.parent), "PATH": str(system)}
    try:
        done = subprocess.run([str(program), *arguments[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment, cwd=system, timeout=deadline_s, check=False,
                              creationflags=subprocess.CREATE_NO_WINDOW)
    except OSError as error:
        return CommandResult(trouble=f"{name} cannot be run: {error.strerror or error}")
    except subprocess.TimeoutExpired:
        return CommandResult(trouble=f"{name} did not end within {deadline_s:.3g} s")
    text = done.stdout[:MOST_BYTES].decode("oem", "replace").strip()
    if done.returncode:
        return CommandResult(text, f"{name} failed: {text[-200:] or f'exit status {done.returncode}'}")
    return CommandResult(text)
