"""Errors for people (what failed, why, what to do) and the exit status of each.

Failures of the world that the agent lives with (a poll without an answer, a hook that failed) are
observations, not exceptions. These exceptions are for what stops a command or the start of the agent.
"""
from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_NO = 1            # the answer is "no"
EXIT_WRONG_USE = 2     # wrong use or configuration
EXIT_UNREACHABLE = 3   # the agent or the platform cannot be reached
EXIT_BUG = 70          # EX_SOFTWARE (sysexits.h): an unforeseen exception has ended the process


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not used, and what to do about it ("": nothing can be named)."""

    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.hint}" if self.hint else self.what


class TideoverError(Exception):
    """One sentence for a person: the operation that failed, its cause, and a hint what to do."""

    exit_status = EXIT_NO

    def __init__(self, operation: str, cause: str, hint: str) -> None:
        super().__init__(f"{operation}: {cause}. {hint}")
        self.operation, self.cause, self.hint = operation, cause, hint


class ConfigurationError(TideoverError):
    """The configuration cannot be used; `faults` holds one line for each fault found."""

    exit_status = EXIT_WRONG_USE

    def __init__(self, file: str, faults: tuple[str, ...]) -> None:
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"cannot use the configuration {file}", f"{count} found", "Fix the lines below:")
        self.file, self.faults = file, faults


class WrongUseError(TideoverError):
    """The command was called in a way that cannot work."""

    exit_status = EXIT_WRONG_USE


class UnconfirmedError(WrongUseError):
    """What was asked for needs the owner's confirmation: an answer at a terminal, or --yes."""


class BusyError(WrongUseError):
    """The state directory is taken by an agent that cannot be asked, or cannot be used at the moment: another try may
    work, so that a service manager must not take it for a configuration that is wrong."""

    exit_status = EXIT_UNREACHABLE


class UnreachableError(TideoverError):
    """The agent or the platform cannot be reached."""

    exit_status = EXIT_UNREACHABLE


def system_reason(trouble: OSError) -> str:
    """Given what the operating system refused, return why, as a part of a sentence."""
    return (trouble.strerror or str(trouble)).lower()
