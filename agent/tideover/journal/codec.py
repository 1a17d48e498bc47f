"""Values to JSON and back, by their own type hints: one rule for every dataclass, so a new field needs no code here.

A field the text lacks takes its default (an older journal); a field it has beyond the class is dropped (a newer one
was refused before this is reached).
"""
from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

from tideover.text_safety import encodable


def to_json(value: object) -> str:
    """Given a noun, return its JSON text."""
    return plain_to_json(to_plain(value))


def plain_to_json(plain: object) -> str:
    """Given plain values, return their JSON text, which a database can hold whatever they are: a text that cannot be
    written would end the agent."""
    return encodable(json.dumps(plain, separators=(",", ":"), ensure_ascii=False))


def from_json(kind: type[Any], text: str) -> Any:
    """Given a class and its JSON text, return the noun. Raise ValueError, KeyError or TypeError if it is none."""
    return from_plain(kind, json.loads(text))


def from_plain(kind: type[Any], plain: Any) -> Any:
    """Given a class and plain JSON values, return the noun. Raise ValueError, KeyError or TypeError if they are
    none."""
    read: Callable[[Any], Any] = _reader(kind)      # type: ignore[arg-type]  # a class is hashable; mypy reads its own hash
    return read(plain)


def to_plain(value: object) -> Any:
    """Given a noun, return it as plain JSON values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Given a type hint, return what makes its value from plain JSON. Raise TypeError for a hint no noun uses."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = _reader(next(argument for argument in arguments if argument is not type(None)))
        return lambda plain: None if plain is None else inner(plain)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is frozenset:
        item = _reader(arguments[0])
        return lambda plain: frozenset(item(one) for one in plain)
    if origin is not None and issubclass(origin, Mapping):
        name, value = _reader(arguments[0]), _reader(arguments[1])
        return lambda plain: {name(key): value(one) for key, one in plain.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind)
    return _plain_reader(kind)


def _plain_reader(kind: Any) -> Callable[[Any], Any]:
    if kind is datetime:
        return read_moment
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind is float:
        return float
    if kind in (str, int, bool):
        return lambda plain: _checked(kind, plain)
    if kind is object:
        return lambda plain: plain
    raise TypeError(f"no noun has a field of type {kind!r}")


def read_moment(plain: str) -> datetime:
    """Given a moment's text, return it. Raise ValueError if it is none, or one without its zone."""
    at = datetime.fromisoformat(plain)
    if at.tzinfo is None:
        raise ValueError("a moment without its zone")
    return at


def _checked(kind: type[Any], plain: Any) -> Any:
    """A damaged text may still be JSON, with a number where a name stood: better reported here than found later."""
    if type(plain) is not kind:
        raise TypeError(f"{type(plain).__name__} where {kind.__name__} belongs")
    return plain


def _tuple_reader(arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    if arguments[-1] is Ellipsis:
        item = _reader(arguments[0])
        return lambda plain: tuple(item(one) for one in plain)
    items = [_reader(argument) for argument in arguments]
    return lambda plain: tuple(read(one) for read, one in zip(items, plain, strict=True))


def _dataclass_reader(kind: type[Any]) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}

    def read(plain: Any) -> Any:
        if missing := needed - plain.keys():
            raise KeyError(f"{kind.__name__} without {', '.join(sorted(missing))}")
        return kind(**{name: reader(plain[name]) for name, reader in readers.items() if name in plain})

    return read
