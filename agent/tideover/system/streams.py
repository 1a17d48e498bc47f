"""The standard streams of a process: that they are there, what is written on them, and how a command that cannot write
any more ends."""
from __future__ import annotations

import io
import os
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType

TRACE_LIMIT_S = 1.0


def open_missing_streams() -> None:
    """Open the null device for each of the descriptors 0, 1 and 2 that this process was started without: a file that it
    opens later must not become its standard output, and what is written there is wanted by no one."""
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


def tell_trace(kind: type[BaseException] | None, trouble: BaseException | None, where: TracebackType | None) -> None:
    """Given what ends this process, write its trace on standard error, whose reader is waited for `TRACE_LIMIT_S`."""
    text = "".join(traceback.format_exception(kind, trouble, where))

    def write() -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
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
