"""Runs other programs for their output: argument list, deadline, bounded output; never a shell. POSIX."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

from tideover.clock.types import DEADLINE_S, MOST_BYTES, CommandResult

# Nothing of the agent's own environment; the language fixes what the programs print.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def run_command(arguments: Sequence[str], deadline_s: float = DEADLINE_S) -> CommandResult:
    """Given a program and its arguments, run it until the deadline at most and return what it printed."""
    name = arguments[0].rpartition("/")[2]
    program = shutil.which(arguments[0], path=_ENVIRONMENT["PATH"])
    if program is None:
        return CommandResult(trouble=f"{name} is not installed")
    try:
        # It stays in our session, whose children no other part of the agent reaps, in a group that can be ended whole.
        process = subprocess.Popen([program, *arguments[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=_ENVIRONMENT, cwd="/", process_group=0)
    except OSError as error:
        return CommandResult(trouble=f"{name} cannot be run: {error.strerror or error}")
    with process:
        return _outcome(name, process, deadline_s)


def _outcome(name: str, process: subprocess.Popen[bytes], deadline_s: float) -> CommandResult:
    output = _read(process, deadline_s)
    if output is None:
        os.killpg(process.pid, signal.SIGKILL)      # not reaped yet, so the number is still its own
        return CommandResult(trouble=f"{name} did not end within {deadline_s:.3g} s")
    text = output[:MOST_BYTES].decode("utf-8", "replace").strip()
    if process.wait() != 0:
        return CommandResult(text, f"{name} failed: {text[-200:] or f'exit status {process.returncode}'}")
    return CommandResult(text)


def _read(process: subprocess.Popen[bytes], deadline_s: float) -> bytes | None:
    """Read until the program has closed its output and ended, keeping the beginning. None: the deadline came first."""
    assert process.stdout is not None
    until_s, kept = time.monotonic() + deadline_s, b""
    while (left_s := until_s - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left_s)[0]:
            break
        piece = os.read(process.stdout.fileno(), MOST_BYTES)
        if not piece:
            return kept if _ends_within(process, until_s - time.monotonic()) else None
        kept += piece[:max(0, MOST_BYTES - len(kept))]
    return None


def _ends_within(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    try:
        process.wait(max(0.0, limit_s))
    except subprocess.TimeoutExpired:
        return False
    return True
