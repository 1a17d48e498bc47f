"""This process: its standard streams, their encoding, its heap, and descriptors in reserve for when none is left."""
from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tideover.threads import start_task

# --- Memory of this process

ARENA_MAX = -8               # M_ARENA_MAX, mallopt(3)


def use_one_heap() -> None:
    """Before the first thread: let all threads allocate from one heap. glibc makes one for each thread, up to eight a
    processor, and keeps what is free in each; Python's threads run one at a time and need but one. Does nothing where
    there is no such call (musl, Windows)."""
    import ctypes
    set_option = None if sys.platform == "win32" else getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(ARENA_MAX, 1)


def return_free_memory() -> None:
    """Give the system back what is free on the heap. The C library keeps it otherwise: what the parts of a program used
    up to be loaded would stay resident for as long as an agent runs. Does nothing where there is no such call (musl,
    Windows)."""
    import ctypes
    gc.collect()
    trim = None if sys.platform == "win32" else getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


# --- Standard streams

TRACE_LIMIT_S = 1.0


def open_missing_streams() -> None:
    """Open the null device for each of the descriptors 0, 1 and 2 that this process was started without: a file that it
    opens later must not become its standard output, and what is written there is dropped."""
    if sys.platform != "win32":
        for number in (0, 1, 2):
            try:
                os.fstat(number)
            except OSError:
                opened = os.open(os.devnull, os.O_RDWR)     # the lowest number that is free
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
                os.set_inheritable(number, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))     # noqa: SIM115  (as long as we live)


def give_up_output() -> None:
    """Nothing more can be written on standard output: what still waits in its buffer is dropped, so that the end of the
    process does not fail over it."""
    _point_to_null(sys.stdout)


def give_up_errors() -> None:
    """The same for standard error."""
    _point_to_null(sys.stderr)


def log_trace(kind: type[BaseException] | None, trouble: BaseException | None, where: TracebackType | None) -> None:
    """Given what ends this process, write its trace on standard error, whose reader is waited for `TRACE_LIMIT_S`."""
    text = "".join(traceback.format_exception(kind, trouble, where))

    def write() -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()

    writing = start_task("trace", write)
    if writing is not None:
        writing.join(TRACE_LIMIT_S)


def _point_to_null(stream: object) -> None:
    try:
        number = stream.fileno()        # type: ignore[attr-defined]
        null = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):
        return
    os.dup2(null, number)
    os.close(null)


if sys.platform == "win32":
    def speak_utf8() -> None:
        """Windows has a page of 256 characters for what goes to a file or a program, another one in each country; ours
        is UTF-8 everywhere. A console takes any character already."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

else:
    def speak_utf8() -> None:
        """Nothing: the locale says what it is, and Python takes UTF-8 where that says nothing."""


# --- Descriptors kept open for nothing, so that there are some to give up when no more can be opened
# Hooks must be found and started, an event acknowledged and a clock asked also in a process that has reached its limit
# (EMFILE), or on a machine that has (ENFILE). Windows knows no such limit: nothing is kept there.

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
KEPT = 0 if sys.platform == "win32" else 12     # two hooks being started side by side need six each
T = TypeVar("T")


class Reserve:
    """Descriptors to give up. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self._users = 0

    def fill(self) -> None:
        """Keep as many as are wanted, or as the system gives."""
        with self._lock, contextlib.suppress(OSError):
            while not self._users and len(self._kept) < KEPT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))

    @contextlib.contextmanager
    def available(self) -> Iterator[None]:
        """Inside, what was kept can be opened for something else."""
        with self._lock:
            self._users += 1
            while self._kept:
                os.close(self._kept.pop())
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self.fill()


RESERVE = Reserve()             # the limit is the process's, and so is what is kept of it


def with_reserve(act: Callable[[], T]) -> T:
    """Do it; where no descriptor is left for it, do it once more with those of the reserve. Raise what it raises."""
    try:
        return act()
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
    with RESERVE.available():
        return act()
