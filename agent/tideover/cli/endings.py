"""How a command ends: failed writes, missing memory or packages as one sentence, Ctrl-C and SIGTERM.

`tideover run` comes through here too, so nothing that only the other commands need (click) is imported.
"""
from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tideover.errors import EXIT_BUG, TideoverError, system_reason
from tideover.system.process import give_up_errors, give_up_output
from tideover.text_safety import dot_controls

SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@contextmanager
def until_interrupted() -> Iterator[None]:
    """What stands inside goes on until Ctrl-C or SIGTERM, either of which is its regular end."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def raise_at_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt: a command has begun that may have something to put away."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted() -> int:
    """A command was interrupted and has put away what it had: end the process by the signal, so that a shell or script
    that waits for it knows. Return an exit status where the process cannot end so."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
    return EXIT_BUG


def flush_output() -> None:
    """Write the command's output. Raise TideoverError if that cannot be done; a reader that has gone wants no more
    of it and is no failure."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_output()
    except OSError as trouble:
        give_up_output()
        raise _unwritten(trouble) from trouble


def _unwritten(trouble: OSError) -> TideoverError:
    return TideoverError("cannot write the output", _reason(trouble), "Free disk space, or redirect the output.")


def lacking(trouble: Exception) -> TideoverError | None:
    """Given what ended a command, return the sentence that says so; None where it is a fault of ours. A failed write
    names no file; the commands' own files are written by parts that say so themselves."""
    if isinstance(trouble, MemoryError):
        return TideoverError("cannot continue", "out of memory", "Raise the memory limit (ulimit -v, MemoryMax of the "
                                                                 "unit).")
    if isinstance(trouble, OSError):
        if trouble.errno in FULL and trouble.filename is None:
            return _unwritten(trouble)
        file = f" ({trouble.filename})" if isinstance(trouble.filename, str) else ""
        if trouble.errno in SCARCE:
            hint = "Raise the limit (see ulimit -a), or reduce what this user runs."
        else:
            hint = "Fix the cause and retry."
        return TideoverError("cannot continue", _reason(trouble) + file, hint)
    if isinstance(trouble, ImportError):
        return TideoverError("cannot load a part of the program", _one_line(str(trouble)),
                             "Check that the installation is complete and that the limits (ulimit -a) allow enough "
                             "memory and files.")
    if "can't start new thread" in str(trouble):
        return TideoverError("cannot continue", "no thread can be started", "Raise the limit (ulimit -u, ulimit -v).")
    return None


def print_error(trouble: TideoverError, faults: tuple[str, ...] = ()) -> None:
    """Say on standard error what failed, why, and what to do; where that cannot be written, say nothing. A name in it
    may come from anywhere (an argument, a file): nothing of it steers the terminal."""
    lines = [f"tideover: {dot_controls(str(trouble))}", *(f"  {dot_controls(fault)}" for fault in faults)]
    try:
        if sys.stderr.isatty():
            from tideover.cli.terminal import this_terminal, wrapped_line
            width = this_terminal(sys.stderr).width
            lines = [part for line in lines for part in wrapped_line(line, width, 2)]
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        give_up_errors()


def _reason(trouble: OSError) -> str:
    return system_reason(trouble)


def _one_line(text: str) -> str:
    return " ".join(text.split())
