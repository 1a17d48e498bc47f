"""Settings written out: the effective ones with their origin, the file of all defaults, and the JSON Schema."""
from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

from tideover.model import Kind
from tideover.settings.keys import (
    ANNOUNCED_IN_ORDER,
    HOOK,
    HOOK_NAME,
    NAMED_TABLES,
    TABLES,
    KeyTable,
    PlatformDefault,
    SettingKey,
)
from tideover.settings.reader import default_settings
from tideover.settings.toml import KeyOrigin
from tideover.settings.types import dotted, inline_table, listed, quoted
from tideover.settings.values import LINUX, PlatformPaths, Settings, options_for

_HEAD = """\
# The configuration of tideover. Every key is listed with its default; remove the # before a key to change it.
# Durations are text: "250ms", "5s", "2m", "1h", "365d". After a change, `tideover config check` tells what is wrong
# with it, and `tideover config show` prints what holds.
"""
HIDDEN = "(hidden; --secrets shows it)"
_EXAMPLE = "example"      # the hook whose table the file shows


class EffectiveValue(NamedTuple):
    key: str
    value: str            # as the file would write it
    origin: str           # "default" or "FILE line N"

    @property
    def native(self) -> Any:
        """The value as a reader of the file gets it: text, a boolean, a list, a table; a duration is text there."""
        return tomllib.loads(f"value = {self.value}")["value"]


def show_hidden(shown: EffectiveValue) -> EffectiveValue:
    """Given a key as it is shown, return it without its value where that may be secret: a variable of a hook's, or an
    argument of the notification program."""
    if shown.key == "notify.command":
        return shown._replace(value=listed(HIDDEN if place else word for place, word in enumerate(shown.native)))
    if not shown.key.endswith(".environment"):
        return shown
    return shown._replace(value=inline_table(dict.fromkeys(shown.native, HIDDEN)))


def effective_values(settings: Settings, origin: Mapping[str, KeyOrigin]) -> list[EffectiveValue]:
    """Given settings and the lines of the keys their file names, return every key that counts, in the table's order."""
    return [EffectiveValue(name, value, origin[name].full if name in origin else "default")
            for name, value in _effective(settings, origin)]


def _effective(settings: Settings, origin: Mapping[str, KeyOrigin]) -> Iterator[tuple[str, str]]:
    for table in TABLES:
        yield from _rows(tuple(table.name.split(".")), table.keys, section_of(settings, table))
        if table.name == "policy":
            yield from _exceptions(settings, table, origin)
        if table.name == "hooks":
            for named in NAMED_TABLES:
                for name, options in getattr(settings, named.name).items():
                    yield from _rows((named.name, name), named.keys, options)


def section_of(settings: Settings, table: KeyTable) -> Any:
    """Given settings and a table, return the values of that table."""
    return reduce(getattr, table.name.split("."), settings)


def _rows(path: tuple[str, ...], keys: Iterable[SettingKey], values: object) -> Iterator[tuple[str, str]]:
    for key in keys:
        yield dotted((*path, key.name)), key.takes.write(getattr(values, key.field))


def _exceptions(settings: Settings, table: KeyTable, origin: Mapping[str, KeyOrigin]) -> Iterator[tuple[str, str]]:
    """Tell of a kind's policy what its table says and what differs from [policy]."""
    for kind, policy in settings.policy_by_kind.items():
        telling = [key for key in table.keys if kind in key.kinds
                   and (f"policy.{kind.value}.{key.name}" in origin
                        or getattr(policy, key.field) != getattr(settings.policy, key.field))]
        yield from _rows((table.name, kind.value), telling, policy)


def render_default_file(platform: PlatformPaths = LINUX) -> str:
    """Return a configuration file that changes nothing: each key stands in it, explained, as a comment."""
    return "\n".join([_HEAD.rstrip("\n"), *_lines(platform), ""])


def _lines(platform: PlatformPaths) -> Iterator[str]:
    for table in TABLES:
        yield from _heading(table.about, f"[{table.name}]")
        for key in table.keys:
            yield from _explained(key, _default_text(key, platform))
        if table.name == "policy":
            yield from _kinds_own(table)
    yield from _example_hook()


def _heading(about: str, header: str) -> list[str]:
    return ["", "", f"# {about}", header]


def _explained(key: SettingKey, value: str) -> list[str]:
    reason = f": {key.takes.reason}" if key.takes.reason else ""
    return ["", f"# {key.about}", f"# Takes {key.takes.expected}{reason}.", f"#{key.name} = {value}"]


def _default_text(key: SettingKey, platform: PlatformPaths) -> str:
    if key.default is PlatformDefault.PLATFORM:
        return quoted(getattr(platform, key.name))
    return key.takes.write(key.takes.read(key.default))


def _kinds_own(table: KeyTable) -> Iterator[str]:
    """Write the tables of those kinds that have defaults of their own."""
    names = [key.name for key in table.keys if key.kinds]
    about = f"Settings of one kind: {', '.join(names)} (the last one for a freeze only)."
    for kind in Kind:
        rows = [key for key in table.keys if kind in key.kinds and kind in key.by_kind]
        if rows:
            yield from _heading(about, f"[policy.{kind.value}]")
            yield from (f"#{key.name} = {key.takes.write(key.by_kind[kind])}" for key in rows)


def _example_hook() -> Iterator[str]:
    """Write one hook's table, last: under any other header a forgotten # before its own would change that table."""
    options = options_for(default_settings(), _EXAMPLE)
    yield from _heading(HOOK.about, f"#[{HOOK.name}.{_EXAMPLE}]")
    for key in HOOK.keys:
        yield from _explained(key, key.takes.write(getattr(options, key.field)))


# --- The JSON Schema, for editors and for programs that make configurations

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration_schema() -> dict[str, Any]:
    """Return the schema of a configuration file and of a drop-in, as TOML becomes JSON. It says what has the right
    form; whether a duration is in its range, and an address is one, `tideover config check` says."""
    tables = {table.name: _table(table.about, table.keys) for table in TABLES}
    for name in [name for name in tables if "." in name]:
        parent, _, own_name = name.rpartition(".")
        tables[parent]["properties"][own_name] = tables.pop(name)
    policy = next(table for table in TABLES if table.name == "policy")
    for kind in ANNOUNCED_IN_ORDER:
        own = [key for key in policy.keys if kind in key.kinds]
        tables["policy"]["properties"][kind.value] = _table(f"For {kind.value} events.", own)
    for named in NAMED_TABLES:
        tables[named.name] = {"type": "object", "description": named.about, "additionalProperties": False,
                              "patternProperties": {f"^{HOOK_NAME.pattern}$": _table(named.about, named.keys)}}
    return {"$schema": DIALECT, "title": "Configuration of tideover", "type": "object",
            "properties": tables, "additionalProperties": False}


def _table(about: str, keys: Iterable[SettingKey]) -> dict[str, Any]:
    return {"type": "object", "description": about, "properties": {key.name: _key(key) for key in keys},
            "additionalProperties": False}


def _key(key: SettingKey) -> dict[str, Any]:
    about = f"{key.about} Takes {key.takes.expected}."
    default = {} if key.default is None or key.default is PlatformDefault.PLATFORM else {"default": key.default}
    return {**key.takes.schema, "description": about, **default}
