"""A validator for the part of JSON Schema 2020-12 that our schemas use; it refuses a schema that uses more."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
NOTES = {"$schema", "$defs", "title", "description", "default", "format", "examples"}
KNOWN = NOTES | {"type", "enum", "const", "pattern", "items", "properties", "required", "additionalProperties", "patternProperties",
                 "propertyNames", "anyOf", "$ref", "minimum", "maximum"}


def errors(value: Any, schema: Any, root: Any = None, at: str = "$") -> Iterator[str]:
    """What of the value does not obey the schema, and where."""
    root = schema if root is None else root
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        yield from errors(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema and all(any(errors(value, one, root, at)) for one in schema["anyOf"]):
        yield f"{at}: none of {schema['anyOf']}: {value!r}"
    if "type" in schema and not any(_is(value, name) for name in _several(schema["type"])):
        yield f"{at}: no {schema['type']}: {value!r}"
        return
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        yield f"{at}: none of {schema.get('enum', schema.get('const'))}: {value!r}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at}: not like {schema['pattern']}: {value!r}"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        yield f"{at}: less than {schema['minimum']}: {value!r}"
    if isinstance(value, (int, float)) and value > schema.get("maximum", value):
        yield f"{at}: more than {schema['maximum']}: {value!r}"
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from errors(item, schema["items"], root, f"{at}[{number}]")
    if isinstance(value, dict):
        yield from _members(value, schema, root, at)


def _members(value: dict[str, Any], schema: Any, root: Any, at: str) -> Iterator[str]:
    yield from (f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, inner in value.items():
        if "propertyNames" in schema:
            yield from errors(name, schema["propertyNames"], root, f"{at}.{name} (its name)")
        rules = [schema["properties"][name]] if name in schema.get("properties", {}) else [
            rule for pattern, rule in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        others = schema.get("additionalProperties", True)
        if not rules and others is False:
            yield f"{at}: has {name}, which is not known"
        for rule in rules or ([others] if isinstance(others, dict) else []):
            yield from errors(inner, rule, root, f"{at}.{name}")


def _several(types: Any) -> list[str]:
    return [types] if isinstance(types, str) else types


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
