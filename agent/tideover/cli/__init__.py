"""The doors: what people type. No logic of the agent lives here.

`tideover run` is the one command that stays in memory all day, so it takes the short way in, past everything the other
commands need.
"""
from __future__ import annotations

import sys
from pathlib import Path

from tideover.errors import ConfigurationError, TideoverError
from tideover.system.streams import speak_utf8


def main(arguments: list[str] | None = None) -> int:
    """Given the command line, do what it says and return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    speak_utf8()
    try:
        config = _plain_run(words)
        if config is not None:
            return _run(config)
        from tideover.cli.app import run_command
        return run_command(words)
    except TideoverError as trouble:
        tell(trouble)
        return trouble.exit_status


def tell(trouble: TideoverError) -> None:
    """Say on standard error what failed, why, and what to do."""
    print(f"tideover: {trouble}", file=sys.stderr)
    if isinstance(trouble, ConfigurationError):
        for fault in trouble.faults:
            print(f"  {fault}", file=sys.stderr)


def configuration_named(words: list[str]) -> str:
    """Given words that are --config FILE or nothing, return the file, or "". Raise TideoverError for anything else."""
    named = _plain_run(["run", *words])
    if named is None:
        from tideover.errors import WrongUseError
        raise WrongUseError("cannot serve", f"unknown words: {' '.join(words)}", "It takes --config FILE only.")
    return named


def _plain_run(words: list[str]) -> str | None:
    """The file (or "") where the words are `run` with nothing but --config; None for anything else."""
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
    import os

    from tideover.daemon import start_agent
    return start_agent(Path(config) if config else None, drill=os.environ.get("TIDEOVER_DRILL") == "1")
