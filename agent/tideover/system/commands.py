"""Another program, run within a time and an amount of output, and ended with all that it has started.

For programs that only answer a question: what they print is read to the bound and no further, so that one that prints
without end costs neither memory nor a processor. Hooks are run by `hooks/`.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

if sys.platform == "win32":
    import threading
    from functools import partial
    from typing import IO

    from tideover.threads import start_task

    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW
else:
    import selectors

    _CREATION_FLAGS = 0

LOOK_S = 0.05               # between two looks whether a program has ended whose output another one still holds open
READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """What a program printed, and how it ended. `status`: its exit status; a negative number is a signal's.

    `was_cut`: it printed more than the bound, so it was ended, and this is the beginning."""

    output: bytes
    errors: bytes
    status: int
    was_cut: bool


def start_command(arguments: Sequence[str] | str, environment: Mapping[str, str], directory: str | None = None, *,
                  with_errors: bool = False) -> subprocess.Popen[bytes]:
    """Given a program with its arguments, its whole environment and its directory, start it in a process group of its
    own; `finish_command` must follow. `with_errors`: what it prints as errors is kept apart. Raise OSError."""
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE if with_errors else subprocess.STDOUT, env=dict(environment),
                            cwd=directory, process_group=0, creationflags=_CREATION_FLAGS)


def finish_command(process: subprocess.Popen[bytes], deadline_s: float, most_bytes: int) -> CommandEnd:
    """Given a program that was started, and how many bytes of each output are read, wait for its end; whatever is left
    of its process group is killed. Raise subprocess.TimeoutExpired if it has not ended by the deadline, in seconds from
    now."""
    with process:
        try:
            outputs, was_cut = _read(process, deadline_s, most_bytes)
        finally:
            _kill(process)
    return CommandEnd(outputs[0], outputs[1], process.returncode, was_cut)


if sys.platform == "win32":
    def _read(process: subprocess.Popen[bytes], deadline_s: float, most_bytes: int) -> tuple[list[bytes], bool]:
        found, ended = [bytearray(), bytearray()], [threading.Event(), threading.Event()]

        def read(place: int, pipe: IO[bytes] | None) -> None:
            try:
                while pipe is not None and len(found[place]) <= most_bytes:
                    part = os.read(pipe.fileno(), READ_BYTES)
                    if not part:
                        break
                    found[place] += part
            finally:
                ended[place].set()

        end_s = time.monotonic() + deadline_s
        for place, pipe in enumerate((process.stdout, process.stderr)):
            start_task("command-output", partial(read, place, pipe), lambda _: None)
        for one in ended:
            if not one.wait(max(0.0, end_s - time.monotonic())):
                raise subprocess.TimeoutExpired(process.args, deadline_s)
        was_cut = any(len(one) > most_bytes for one in found)
        if not was_cut:
            process.wait(max(0.0, end_s - time.monotonic()))
        return [bytes(one[:most_bytes]) for one in found], was_cut

    def _kill(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()

else:
    def _read(process: subprocess.Popen[bytes], deadline_s: float, most_bytes: int) -> tuple[list[bytes], bool]:
        end_s = time.monotonic() + deadline_s
        found = [bytearray(), bytearray()]
        with selectors.PollSelector() as open_pipes:       # epoll would need one more descriptor
            for place, pipe in enumerate((process.stdout, process.stderr)):
                if pipe is not None:
                    open_pipes.register(pipe, selectors.EVENT_READ, place)
            while open_pipes.get_map():
                has_ended = _has_exited(process)        # asked first: what it printed before is in the pipe by now
                ready = open_pipes.select(0.0 if has_ended else min(LOOK_S, max(0.0, end_s - time.monotonic())))
                for key, _ in ready:
                    part = os.read(key.fd, READ_BYTES)
                    found[key.data] += part
                    if not part:
                        open_pipes.unregister(key.fileobj)
                if any(len(one) > most_bytes for one in found):
                    return [bytes(one[:most_bytes]) for one in found], True
                if has_ended and not ready:
                    break           # its output is held open by another program, and all that it printed was read
                if not has_ended and time.monotonic() >= end_s:
                    raise subprocess.TimeoutExpired(process.args, deadline_s)
        while not _has_exited(process):
            if time.monotonic() >= end_s:
                raise subprocess.TimeoutExpired(process.args, deadline_s)
            time.sleep(LOOK_S / 10)
        return [bytes(one) for one in found], False

    def _has_exited(process: subprocess.Popen[bytes]) -> bool:
        """It is not reaped yet, so that its number stays its own until its group has been killed."""
        try:
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _kill(process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass                    # nothing is left of it
