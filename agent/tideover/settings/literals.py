"""How a value is written in TOML, always on one line, with everything that does not print escaped."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quoted(text: str) -> str:
    """Given any text, return it as a TOML string; one with backslashes is put in single quotes where it can be."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    safe = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(mark if mark.isprintable() else _escaped(mark) for mark in safe) + '"'


def listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def inline_table(pairs: Mapping[str, str]) -> str:
    inside = ", ".join(f"{dotted((name,))} = {quoted(value)}" for name, value in pairs.items())
    return f"{{ {inside} }}" if inside else "{}"


def dotted(path: Iterable[str]) -> str:
    """Given the parts of a key, return it as a file would write it: hook.haproxy.kinds, hook."odd name"."""
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in path)


def _escaped(mark: str) -> str:
    code = ord(mark)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
