r"""The transport of applications on Windows: named pipe, a thread for each connection, the client's user.

Every user may open the pipe to read and write; to serve under its name is for the system, administrators and the
agent's own user. The system lets a server take a client's identity only after it has read something of it.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tideover.api.named_pipe import pipe_name
from tideover.settings.values import PathsSettings
from tideover.threads import Loop, start_task
from tideover.winapi.base import close_handle, create_event, reset_event, set_event, wait_for_any
from tideover.winapi.pipes import PipeEnd, PipeListener
from tideover.winapi.security import SYSTEM, find_account, for_every_user, own_sid

SUPERUSER = SYSTEM
CONNECTIONS_AT_MOST = 1024      # each has a thread
WRITE_AT_ONCE = 65536
NEWS_AT_ONCE = 64               # between two looks at the time
LEAVE_S = 1.0                   # for a client to take the last line
CLOSE_S = 2.0


class PipeChannel:
    """One client's connection. `send` and `close` come from the server's thread, `converse` is the connection's own."""

    def __init__(self, end: PipeEnd, tell: Callable[[PipeChannel, bytes | None], None]) -> None:
        """`tell`: what has arrived, b"" for nothing yet, None at the end."""
        self.user: str | None = None
        self.is_closed = False
        self._end, self._tell = end, tell
        self._lock = threading.Lock()
        self._output = bytearray()
        self._wake: int | None = create_event()
        self._is_taken = True           # what was read: no more is read before that
        self._is_writing = self._lingers = self.is_gone = False

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return len(self._output)

    def send(self, data: bytes) -> None:
        """Does not wait for the client. Raise OSError if it is gone."""
        if self.is_gone:
            raise BrokenPipeError("the client has left")
        with self._lock:
            self._output += data
        self._wake_up()

    def go_on(self) -> None:
        """What has arrived was taken."""
        self._is_taken = True
        self._wake_up()

    def close(self, last: bytes = b"") -> None:
        """`last`: sent before, if the client takes it."""
        if not self.is_closed:
            with self._lock:
                self._output += last
            self._lingers, self.is_closed = bool(last), True
            self._wake_up()

    def converse(self) -> None:
        """Read and write until one of both ends it."""
        self._tell(self, b"")
        try:
            while not self.is_closed:
                self._step(None)
            if self._lingers:
                self._send_the_rest()
        except OSError:
            self.is_gone = True
            self._tell(self, None)
        finally:
            self.release()

    def release(self) -> None:
        """Give back what the system has given."""
        self.is_gone = True
        self._end.close()
        with self._lock:
            wake, self._wake = self._wake, None
        if wake is not None:
            close_handle(wake)

    def _step(self, seconds: float | None) -> bool:
        """Wait for something to do, and do it; return whether there was anything in time. Raise OSError at the end."""
        wake, end = self._wake, self._end
        assert wake is not None
        reset_event(wake)
        if self.is_closed and seconds is None:          # closed just before: its wake-up was reset
            return True
        reads = self._is_taken and not self.is_closed
        if reads:
            end.begin_reading()
        if self._output and not self._is_writing:
            end.begin_writing(bytes(self._output[:WRITE_AT_ONCE]))
            self._is_writing = True
        awaited = [wake, *([end.event] if reads else []), *([end.written] if self._is_writing else [])]
        if wait_for_any(awaited, seconds) is None:
            return False
        if self._is_writing and (size := end.finish_writing()):
            self._is_writing = False
            with self._lock:
                del self._output[:size]
        if reads:
            self._take(end.finish_reading())
        return True

    def _take(self, data: bytes | None) -> None:
        if data is None:
            raise BrokenPipeError("the client has left")
        if data:
            self._is_taken = False
            if self.user is None:
                self.user = self._end.client_user()
            self._tell(self, data)

    def _send_the_rest(self) -> None:
        while self._output and self._step(LEAVE_S):
            pass
        if not self._output:
            self._end.read(LEAVE_S)         # what the client has not read when this end is closed is lost

    def _wake_up(self) -> None:
        with self._lock:
            if self._wake is not None:
                set_event(self._wake)


class PipeTransport:
    """Listens under a pipe's name. Raise OSError if that fails."""

    def __init__(self, path: Path, on_problem: Callable[[str | None], None]) -> None:
        self._news: queue.SimpleQueue[tuple[PipeChannel, bytes | None] | None] = queue.SimpleQueue()
        self._channels: set[PipeChannel] = set()
        self._all_gone = threading.Condition()
        self._listener = PipeListener(str(path), for_every_user(), may_be_held=True)
        self._loop = Loop("applications-pipe", partial(self._listener.accept_each, self._begin, on_problem))
        self._loop.start()

    def wait(self, seconds: float | None) -> Iterator[tuple[PipeChannel, bytes | None]]:
        """Yield connections, each with what has arrived: b"" for a new one, None at its end."""
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=seconds)
            for _ in range(NEWS_AT_ONCE):
                if news is not None and not news[0].is_closed:
                    yield news
                    if news[1]:
                        news[0].go_on()
                news = self._news.get_nowait()
            self._news.put(news)

    def is_replaced(self) -> bool:
        """Never: no other process can take the pipe's name while this one has it."""
        return False

    def listen_again(self) -> None:
        """Nothing: see `is_replaced`."""

    def wake(self) -> None:
        """End the wait. Any thread."""
        self._news.put(None)

    def close(self) -> None:
        """End all connections, and listen no more. When nothing waits any more."""
        self._listener.close()
        if self._loop.end(CLOSE_S):
            self._listener.release()
        for channel in list(self._channels):
            channel.close()
        with self._all_gone:
            self._all_gone.wait_for(lambda: not self._channels, CLOSE_S)

    def _begin(self, end: PipeEnd) -> None:
        if len(self._channels) >= CONNECTIONS_AT_MOST:
            end.close()
            return
        channel = PipeChannel(end, self._tell)
        self._channels.add(channel)

        def converse() -> None:
            channel.converse()
            self._forget(channel)

        def failed(reason: str) -> None:
            del reason                      # it was reported, or there is no thread
            channel.release()
            self._tell(channel, None)
            self._forget(channel)

        start_task("application", converse, failed)

    def _forget(self, channel: PipeChannel) -> None:
        with self._all_gone:
            self._channels.discard(channel)
            self._all_gone.notify_all()

    def _tell(self, channel: PipeChannel, data: bytes | None) -> None:
        self._news.put((channel, data))


def address_of(paths: PathsSettings) -> str:
    """Return where applications connect: the name of the agent's own pipe, and what says that this one is theirs."""
    return pipe_name(paths.socket) + "-applications"


def connections_possible() -> int:
    """Return how many connections this process can carry."""
    return CONNECTIONS_AT_MOST


def find_user(name: str | None) -> str | None:
    """Given an account's name, None: the one this agent runs as, return its security identifier; None if there is no
    such account."""
    return own_sid() if name is None else find_account(name)
