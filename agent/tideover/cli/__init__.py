"""The command line: `main`, its exit status, Ctrl-C, and the short way of `tideover run` past all other commands.

No logic of the agent lives here.

`tideover run` is the one command that stays in memory all day, so it takes the short way in, past everything the other
commands need. Little is imported before `main` has set the handling of Ctrl-C.
"""
from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType

from tideover.errors import EXIT_BUG, EXIT_OK, ConfigurationError, TideoverError


def main(arguments: list[str] | None = None) -> int:
    """Given the command line (None: this process's own, whose streams and signals are put right first), do what it says
    and return the exit status."""
    if arguments is not None:
        return _do(arguments)
    _end_at_interrupt()
    from tideover.system.process import open_missing_streams, speak_utf8
    open_missing_streams()
    speak_utf8()
    sys.excepthook = _bug
    threading.excepthook = _bug_beside
    status = _do(sys.argv[1:])
    _end_at_interrupt()
    return status


def _end_at_interrupt() -> None:
    """From now on Ctrl-C ends the process at once and without a word: there is nothing to put away. A process that was
    started with it ignored goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _do(words: list[str]) -> int:
    from tideover.cli.endings import flush_output, interrupted, lacking
    from tideover.system.process import give_up_output
    try:
        status = _run_words(words)
        flush_output()
        return status
    except TideoverError as trouble:
        failure = trouble
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:
        give_up_output()                # the reader went away (a pager, head): an error message would have no reader
        return EXIT_OK
    except (OSError, MemoryError, ImportError, RuntimeError) as trouble:
        sentence = lacking(trouble)
        if sentence is None:
            raise
        failure = sentence
    try:
        flush_output()
    except TideoverError as second:
        print_error(second)
    print_error(failure)
    return failure.exit_status


def print_error(trouble: TideoverError) -> None:
    """Say on standard error what failed, why, and what to do."""
    from tideover.cli import endings
    endings.print_error(trouble, trouble.faults if isinstance(trouble, ConfigurationError) else ())


def config_argument(words: list[str]) -> str:
    """Given words that are --config FILE or nothing, return the file, or "". Raise TideoverError for anything else."""
    named = _plain_run(["run", *words])
    if named is None:
        from tideover.errors import WrongUseError
        raise WrongUseError("cannot serve", f"unknown arguments: {' '.join(words)}", "Only --config FILE is accepted.")
    return named


def _run_words(words: list[str]) -> int:
    config = _plain_run(words)
    if config is not None:
        return _run(config)
    if words[:1] == ["__complete"]:     # a shell's, at a press of a key: without click
        from tideover.cli.completion_words import print_words
        return print_words(words[1:])
    from tideover.cli.app import run_command
    return run_command(words)


def _plain_run(words: list[str]) -> str | None:
    """The file (or "") where the words are `run` with nothing but --config; None for anything else. Read here and not
    by click, which the agent would hold in memory all its life (0.9 MiB)."""
    rest = list(words)
    config = ""
    for index, word in enumerate(rest):
        if word == "--config" and index + 1 < len(rest):
            config = rest[index + 1]
            del rest[index:index + 2]
            break
        if word.startswith("--config="):
            config = word.partition("=")[2]
            del rest[index]
            break
    return config if rest == ["run"] else None


def _run(config: str) -> int:
    from pathlib import Path

    from tideover.lean_imports import load_requests
    load_requests()
    from tideover.daemon.main import start_agent
    return start_agent(Path(config) if config else None, drill=os.environ.get("TIDEOVER_DRILL") == "1")


def _bug(kind: type[BaseException], trouble: BaseException, where: TracebackType | None) -> None:
    """An unforeseen exception ended the command: print its trace and exit with EX_SOFTWARE."""
    if issubclass(kind, KeyboardInterrupt):
        from tideover.cli.endings import interrupted
        interrupted()
    from tideover.system.process import log_trace
    log_trace(kind, trouble, where)
    os._exit(EXIT_BUG)


def _bug_beside(met: threading.ExceptHookArgs) -> None:
    """An exception on a helper thread of a command. The thread's task has answered "failed" with the reason: what the
    system lacks needs no trace as well. The agent replaces this by its log."""
    from tideover.cli.endings import lacking
    from tideover.system.process import log_trace
    if not isinstance(met.exc_value, Exception) or lacking(met.exc_value) is None:
        log_trace(met.exc_type, met.exc_value, met.exc_traceback)
