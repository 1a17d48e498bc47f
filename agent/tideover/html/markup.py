"""HTML and SVG markup: whatever is not markup already is escaped. Pure.

An event's description, a hook's output and the names in both are untrusted text. They come in through
`show_controls` and leave through `tag`, which escapes every plain string; only what `tag` itself has made is taken as
it is. A plain string is finished text of ours and is typeset on its way; verbatim text goes through
`untrusted` or `verbatim`.
"""
from __future__ import annotations

import re
from html import escape

from tideover.humanize import UNITS
from tideover.text_safety import show_controls

# --- Typography: a number never parts from its unit

THIN = "\u202f"          # a narrow space that no line breaks at
FIRM = "\u00a0"          # an ordinary one that no line breaks at
MINUS = "\u2212"

_UNIT = rf"(?:(?:{'|'.join(UNITS)})\b|%)"
_BEFORE_UNIT = re.compile(rf"(?<=\d) (?={_UNIT})")
_AFTER_SIGN = re.compile(r"± (?=\d)")
_HYPHEN_AS_MINUS = re.compile(rf"(?<![\w.:/-])-(?=\d[\d.]* {_UNIT})")


def typeset(text: str) -> str:
    """Given our own finished text, return it as a page shows it: in one piece "4.184 s ± 31 ms", and a minus is one."""
    if not any(sign.isdigit() for sign in text):
        return text
    text = _HYPHEN_AS_MINUS.sub(MINUS, text)
    return _AFTER_SIGN.sub(f"±{FIRM}", _BEFORE_UNIT.sub(THIN, text))


# --- Markup

VOID = frozenset({"br", "meta"})


class Markup(str):
    """Text that is markup already. Nothing but this module and constant text makes one."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: object) -> Markup:
    """Given an element's name, its content and attributes, return it as markup. Plain strings are escaped.

    An attribute that is None or False is left out; a trailing underscore is dropped (`class_`) and others become
    hyphens (`stroke_width`); viewBox and its like are spelled as they are.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None
                      and value is not False)
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*content)}</{name}>")


def join(*content: str) -> Markup:
    """Given pieces, return them one after the other as markup; plain strings are typeset and escaped."""
    return Markup("".join(piece if isinstance(piece, Markup) else escape(typeset(piece)) for piece in content))


def verbatim(text: str) -> Markup:
    """Given text, return it as markup to the letter."""
    return Markup(escape(text))


def untrusted(text: object, most: int | None = None) -> Markup:
    """Given untrusted text, return it as markup that cannot change the direction of the text around it."""
    return tag("bdi", verbatim(show_controls(text, most)))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(_written(value), quote=True)}"'


def _written(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
