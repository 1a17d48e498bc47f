"""The JSON Schema of the configuration, for editors and for who makes configurations by a program. Pure."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tideover.settings.keys import ANNOUNCED_IN_ORDER, HOOK, HOOK_NAME, TABLES, PlatformDefault, SettingKey

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
    tables[HOOK.name] = {"type": "object", "description": HOOK.about, "additionalProperties": False,
                         "patternProperties": {f"^{HOOK_NAME.pattern}$": _table(HOOK.about, HOOK.keys)}}
    return {"$schema": DIALECT, "title": "Configuration of tideover", "type": "object",
            "properties": tables, "additionalProperties": False}


def _table(about: str, keys: Iterable[SettingKey]) -> dict[str, Any]:
    return {"type": "object", "description": about, "properties": {key.name: _key(key) for key in keys},
            "additionalProperties": False}


def _key(key: SettingKey) -> dict[str, Any]:
    about = f"{key.about} Takes {key.takes.expected}."
    default = {} if key.default is None or key.default is PlatformDefault.PLATFORM else {"default": key.default}
    return {**key.takes.schema, "description": about, **default}
