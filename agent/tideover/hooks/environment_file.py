"""The variables that the configuration sets for a hook: the rules of `environment_file`. No text repeats a value."""
from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from tideover.errors import Refusal, system_reason
from tideover.hooks.environment import NAME
from tideover.hooks.trust import untrusted_component
from tideover.settings import HookOptions

LARGEST_BYTES = 128 * 1024      # Linux takes no variable beyond that (execve(2), MAX_ARG_STRLEN)
RESERVED = "TIDEOVER_"          # the agent's own variables, as in the `environment` table


class UnusableEnvironmentFileError(Exception):
    """The file cannot be used. `is_denied`: this user may not read it."""

    def __init__(self, refusal: Refusal, *, is_denied: bool = False) -> None:
        super().__init__(str(refusal))
        self.refusal, self.is_denied = refusal, is_denied


@dataclass(frozen=True, slots=True)
class OwnerVariables:
    """What a hook is given, and why the file is not part of it; None: it is, or there is none.

    `is_unknown`: this user may not read the file, so a command of another user than the agent's cannot judge it."""

    variables: Mapping[str, str] = field(default_factory=dict)
    trouble: Refusal | None = None
    is_unknown: bool = False


def owner_variables(options: HookOptions) -> OwnerVariables:
    """Given a hook's options, return the variables of its table and of its file, which is read now. A variable that
    both set has the file's value."""
    if options.environment_file is None:
        return OwnerVariables(options.environment)
    try:
        return OwnerVariables({**options.environment, **read_environment_file(options.environment_file)})
    except UnusableEnvironmentFileError as error:
        return OwnerVariables(options.environment, error.refusal, error.is_denied)


def read_environment_file(path: str) -> dict[str, str]:
    """Given an absolute path, return the variables of the file. Raise UnusableEnvironmentFileError if it is missing or
    faulty, or if another user could change or read it."""
    try:
        reason = untrusted_component(path, is_secret=True)
        if reason is not None:
            raise UnusableEnvironmentFileError(Refusal(f"environment_file {path}: {reason.what}", reason.hint))
        text = _content(path)
    except OSError as error:
        why = system_reason(error)
        raise UnusableEnvironmentFileError(
            Refusal(f"environment_file {path} cannot be read ({why})", "correct the path or the file"),
            is_denied=isinstance(error, PermissionError)) from None
    return _variables(path, text)


def _content(path: str) -> bytes:
    """Opened without waiting: opening a pipe would wait for a writer."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnusableEnvironmentFileError(
                Refusal(f"environment_file {path} is not a regular file", "name a file of text"))
        return file.read(LARGEST_BYTES + 1)


def _variables(path: str, content: bytes) -> dict[str, str]:
    """Values are taken as they stand: no quotes, no escapes, no expansion."""
    if len(content) > LARGEST_BYTES:
        raise UnusableEnvironmentFileError(
            Refusal(f"environment_file {path} is longer than 128 KiB", "leave lines out"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableEnvironmentFileError(
            Refusal(f"environment_file {path} is not UTF-8", "save it as UTF-8")) from None
    found = {}
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        name, equals, value = bare.partition("=")
        fault = _fault(name, equals, value)
        if fault:
            raise UnusableEnvironmentFileError(Refusal(f"environment_file {path}, line {number}: {fault}"))
        found[name] = value
    return found


def _fault(name: str, equals: str, value: str) -> str:
    if not equals or not NAME.fullmatch(name):
        return "expected NAME=value, the name of letters, digits and _, not starting with a digit"
    if name.upper().startswith(RESERVED):
        return "names that begin with TIDEOVER_ are reserved for the agent"
    return "a value cannot contain a NUL character" if "\0" in value else ""
