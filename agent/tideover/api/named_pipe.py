r"""The door as a named pipe of this machine: the system, administrators and the agent's own user may ask.

`[paths] runtime` names the pipe (\\.\pipe\…); where it names a directory, as a second instance's does, the pipe's name
follows from it.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from tideover.winapi.handles import close_handle, create_event, set_event, wait_for_any
from tideover.winapi.pipes import PipeEnd, knock, open_door
from tideover.winapi.security import for_us_alone, security_attributes

PIPES = "\\\\.\\pipe\\"
LEAVE_S = 1.0               # for the one who asked to take the answer; what he has not taken by then is lost


class Channel:
    """One who asks and one who answers."""

    def __init__(self, end: PipeEnd, patience_s: float, answers: bool = False) -> None:
        self._end, self._patience_s, self._answers = end, patience_s, answers

    def send(self, data: bytes) -> None:
        """Raise OSError."""
        self._end.write(data, self._patience_s)

    def receive(self) -> bytes:
        """Return what comes next, b"" at the end. Raise OSError, TimeoutError among them."""
        return self._end.read(self._patience_s) or b""

    def peer(self) -> tuple[int, int | None]:
        """Return the process id of who answers; its user is not known. Raise OSError."""
        return self._end.server_process(), None

    def close(self) -> None:
        if self._answers:
            with contextlib.suppress(OSError):
                self._end.read(LEAVE_S)
        self._end.close()


class Listener:
    """Where one comes in. Given the pipe's name; raise OSError if it is taken."""

    def __init__(self, path: Path) -> None:
        self._name, self._attributes = pipe_name(str(path)), security_attributes(for_us_alone())
        self._closing = create_event()
        self._free = open_door(self._name, self._attributes, is_first=True)

    def accept(self, patience_s: float) -> Channel:
        """Wait for somebody; whoever says nothing for `patience_s` is not waited for. Raise OSError once closed."""
        here = self._free
        here.begin_listening()
        if wait_for_any([self._closing, here.event], None) == 0:
            here.close()
            close_handle(self._closing)
            raise OSError(errno.ESHUTDOWN, "closed")
        self._free = open_door(self._name, self._attributes, is_first=False)
        return Channel(here, patience_s, answers=True)

    def is_replaced(self) -> bool:
        """Never: the system lets nobody take a pipe's name while it is ours."""
        return False

    def close(self) -> None:
        set_event(self._closing)


def connect(path: Path, patience_s: float) -> Channel:
    """Given the pipe's name, return a channel to the agent behind it. Raise OSError."""
    return Channel(knock(pipe_name(str(path)), patience_s), patience_s)


def pipe_name(address: str) -> str:
    """Given a pipe's name or a path, return the name of the pipe that stands for it."""
    if address.startswith(PIPES):
        return address
    place = os.path.normcase(Path(address).absolute())
    return f"{PIPES}tideover-{hashlib.sha256(place.encode()).hexdigest()[:32]}"
