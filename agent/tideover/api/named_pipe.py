r"""The API's listener and connection on Windows: the named pipe, its name, and who may open it.

The system, administrators and the agent's own user may ask.

`[paths] runtime` names the pipe (\\.\pipe\…); where it names a directory, as a second instance's does, the pipe's name
follows from it.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tideover.http_server import CLOSE_S, CONNECTIONS_AT_MOST, OnProblem
from tideover.threads import Loop, start_task
from tideover.winapi.pipes import PipeEnd, PipeListener, connect_pipe
from tideover.winapi.security import for_us_alone

PIPES = "\\\\.\\pipe\\"
LEAVE_S = 1.0               # for the one who asked to take the answer; what he has not taken by then is lost


class Channel:
    """One who asks and one who answers."""

    def __init__(self, end: PipeEnd, timeout_s: float, answers: bool = False) -> None:
        self._end, self._timeout_s, self._answers = end, timeout_s, answers

    def send(self, data: bytes) -> None:
        """Raise OSError."""
        self._end.write(data, self._timeout_s)

    def receive(self) -> bytes:
        """Return what comes next, b"" at the end. Raise OSError, TimeoutError among them."""
        return self._end.read(self._timeout_s) or b""

    def peer(self) -> tuple[int, int | None]:
        """Return the process id of who answers; its user is not known. Raise OSError."""
        return self._end.server_process(), None

    def close(self) -> None:
        if self._answers:
            with contextlib.suppress(OSError):
                self._end.read(LEAVE_S)
        self._end.close()


class ApiListener:
    """Where one comes in. Given the pipe's name; raise OSError if it is taken. Each who is in has a thread: Windows can
    wait for 64 things at once, and one may take long to answer."""

    def __init__(self, path: Path, reply: Callable[[bytes], bytes], timeout_s: float, longest_question: int,
                 on_problem: OnProblem) -> None:
        """`reply`: given a line, what is answered; any thread, and it may take long."""
        self._reply = reply
        self._timeout_s, self._longest_question = timeout_s, longest_question
        self._listener = PipeListener(pipe_name(str(path)), for_us_alone())
        self._talking: set[Channel] = set()
        self._loop = Loop("api", partial(self._listener.accept_each, self._begin, on_problem))
        self._loop.start()

    def is_replaced(self) -> bool:
        """Never: no other process can take the pipe's name while this one has it."""
        return False

    def close(self) -> None:
        self._listener.close()
        if self._loop.end(CLOSE_S):
            self._listener.release()

    def _begin(self, end: PipeEnd) -> None:
        if len(self._talking) >= CONNECTIONS_AT_MOST:
            end.close()
            return
        channel = Channel(end, self._timeout_s, answers=True)
        self._talking.add(channel)
        start_task("api-answer", partial(self._converse, channel), partial(self._end, channel))

    def _converse(self, channel: Channel) -> None:
        with contextlib.suppress(OSError):
            line = bytearray()
            while len(line) < self._longest_question and b"\n" not in line and (part := channel.receive()):
                line += part
            channel.send(self._reply(bytes(line)))
        self._end(channel)

    def _end(self, channel: Channel, reason: str = "") -> None:
        if channel in self._talking:
            self._talking.discard(channel)
            channel.close()


def connect(path: Path, timeout_s: float) -> Channel:
    """Given the pipe's name, return a channel to the agent behind it. Raise OSError."""
    return Channel(connect_pipe(pipe_name(str(path)), timeout_s), timeout_s)


def pipe_name(address: str) -> str:
    """Given a pipe's name or a path, return the name of the pipe that stands for it."""
    if address.startswith(PIPES):
        return address
    place = os.path.normcase(Path(address).absolute())
    return f"{PIPES}tideover-{hashlib.sha256(place.encode()).hexdigest()[:32]}"
