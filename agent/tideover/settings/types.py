"""The shapes a key's value can take: what is expected, how it is read, how it is written back.

A shape is a value made of words and two functions, so that a row of the table in `keys` says everything about its key.
Reading gives a value of Python, or raises Misfit saying what was found instead.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tideover.model import Kind
from tideover.settings.durations import read_duration, write_duration
from tideover.settings.faults import found_secret_text, found_text
from tideover.settings.literals import inline_table, listed, quoted

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UMASK = re.compile("0?[0-7]{3}")
OURS = "TIDEOVER_"                 # the agent tells hooks by these; an owner's could contradict them


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that does not fit. `below`: the key inside this one, where it has keys of its own."""

    found: str
    near: str = ""
    likely: tuple[str, ...] = ()
    because: str = ""
    below: tuple[str, ...] = ()


class Misfit(Exception):
    """A value is not of its key's shape; carries everything that is wrong with it."""

    def __init__(self, *wrongs: Wrong) -> None:
        super().__init__(*(wrong.found for wrong in wrongs))
        self.wrongs = wrongs


@dataclass(frozen=True, slots=True)
class Shape:
    expected: str                          # completes "expected …"
    read: Callable[[object], object]
    write: Callable[[Any], str]
    unit: str = ""                         # what the value's name gets appended
    reason: str = ""                       # why the range is what it is
    is_path: bool = False                  # whether it is absolute depends on the platform: the reader asks


def one_of(choices: tuple[str, ...]) -> Shape:
    def read(raw: object) -> object:
        if isinstance(raw, str) and raw in choices:
            return raw
        raise Misfit(Wrong(found_text(raw), raw if isinstance(raw, str) else "", choices))

    return Shape(_either(choices), read, quoted)


def duration(shortest: str, longest: str, reason: str) -> Shape:
    low, high = read_duration(shortest), read_duration(longest)
    if low is None or high is None:
        raise ValueError(f"no range: {shortest} to {longest}")

    def read(raw: object) -> object:
        seconds = read_duration(raw) if isinstance(raw, str) else None
        if seconds is None:
            raise Misfit(Wrong(found_text(raw)))
        if not low <= seconds <= high:
            raise Misfit(Wrong(found_text(raw), because=reason))
        return seconds

    return Shape(f'a duration from "{shortest}" to "{longest}"', read,
                 lambda seconds: quoted(write_duration(seconds)), unit="_s", reason=reason)


def kinds_among(allowed: tuple[Kind, ...]) -> Shape:
    names = tuple(kind.value for kind in allowed)

    def read(raw: object) -> object:
        if not isinstance(raw, list):
            raise Misfit(Wrong(found_text(raw)))
        strangers = [item for item in raw if not isinstance(item, str) or item not in names]
        if strangers:
            near = strangers[0] if isinstance(strangers[0], str) else ""
            raise Misfit(Wrong(_several(strangers), near, names))
        return frozenset(Kind(item) for item in raw)

    return Shape(f"a list of {_either(names)}", read,
                 lambda kinds: listed(kind.value for kind in Kind if kind in kinds))


def optional(expected: str, understand: Callable[[str], object], write: Callable[[Any], str] = quoted) -> Shape:
    """Given words, and a reading of text that gives None for what does not fit, return a shape where "" is None."""
    def read(raw: object) -> object:
        if raw == "":
            return None
        value = understand(raw) if isinstance(raw, str) and raw.isprintable() else None
        if value is None:
            raise Misfit(Wrong(found_text(raw)))
        return value

    return Shape(f'{expected}, or ""', read, lambda value: quoted("") if value is None else write(value))


def list_of(expected: str, understand: Callable[[str], object], write: Callable[[Any], str]) -> Shape:
    def read(raw: object) -> object:
        if not isinstance(raw, list):
            raise Misfit(Wrong(found_text(raw)))
        values = [understand(item) if isinstance(item, str) else None for item in raw]
        strangers = [item for item, value in zip(raw, values, strict=True) if value is None]
        if strangers:
            raise Misfit(Wrong(_several(strangers)))
        return tuple(values)

    return Shape(f"a list of {expected}", read, lambda values: listed(write(value) for value in values))


def _read_flag(raw: object) -> object:
    if isinstance(raw, bool):
        return raw
    raise Misfit(Wrong(found_text(raw)))


def _read_path(raw: object) -> object:
    if isinstance(raw, str) and raw.strip() and raw.isprintable():
        return without_last_slash(raw)
    raise Misfit(Wrong(found_text(raw)))


def _read_environment(raw: object) -> object:
    if not isinstance(raw, dict):
        raise Misfit(Wrong(found_secret_text(raw)))
    wrongs = [wrong for name, value in raw.items() for wrong in _wrong_variable(name, value)]
    if wrongs:
        raise Misfit(*wrongs)
    return MappingProxyType(dict(raw))


def _wrong_variable(name: str, value: object) -> Iterable[Wrong]:
    if not _VARIABLE.fullmatch(name):
        yield Wrong(f"the name {quoted(name)}", below=(name,), because="letters, digits and _, no digit first")
    elif name.upper().startswith(OURS):
        yield Wrong(f"the name {name}", below=(name,), because="the names in TIDEOVER_ are the agent's own")
    elif not isinstance(value, str) or "\0" in value:
        yield Wrong(found_secret_text(value), below=(name,))


def _read_umask(raw: object) -> object:
    if isinstance(raw, str) and _UMASK.fullmatch(raw):
        return int(raw, 8)
    raise Misfit(Wrong(found_text(raw)))


def without_last_slash(path: str) -> str:
    """Given a path, return it without slashes at its end; the root of a disk keeps its one."""
    bare = path.rstrip("/")
    return bare if bare and not bare.endswith(":") else path


def _several(strangers: list[object]) -> str:
    shown = ", ".join(found_text(item) for item in strangers[:3])
    rest = len(strangers) - 3
    return f"{shown} and {rest} more in it" if rest > 0 else f"{shown} in it"


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _write_flag(value: bool) -> str:
    return "true" if value else "false"


def _write_environment(value: Mapping[str, str]) -> str:
    return inline_table(value)


FLAG = Shape("true or false", _read_flag, _write_flag)
PATH = Shape("an absolute path", _read_path, quoted, is_path=True)
UMASK = Shape('three octal digits in quotes, such as "022"', _read_umask, lambda mask: quoted(f"{mask:03o}"))
ENVIRONMENT = Shape('text for each name, as in { NAME = "value" }', _read_environment, _write_environment)
