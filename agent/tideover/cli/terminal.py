"""What the commands write to: how wide it is, whether it shows colour; and the one gate to it that makes all text
harmless. Whatever a stranger wrote (an event's description, a hook's output), no byte of it steers a terminal."""
from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from tideover.telling.parts import Text, Tone

NARROWEST, WIDEST = 60, 140     # lines are laid out for no less, and text for no more: longer ones are hard to read
CODES: Mapping[Tone, str] = {Tone.HEAD: "1", Tone.GOOD: "32", Tone.WARN: "33", Tone.BAD: "31", Tone.FAINT: "2"}


@dataclass(frozen=True, slots=True)
class Terminal:
    """`width` None: there is no terminal, so lines are left whole."""

    width: int | None = None
    colour: bool = False

    def painted(self, text: Text, columns: int = 0) -> str:
        """Given a text, return it harmless, in its colour, filled up with blanks to `columns`."""
        shown = harmless(text.text)
        code = CODES.get(text.tone) if self.colour else None
        filling = " " * (columns - columns_of(shown))
        return f"\x1b[{code}m{shown}\x1b[0m{filling}" if code and shown else shown + filling


def this_terminal(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Terminal:
    """Given a stream (None: standard output), return what it is. NO_COLOR as at no-color.org: set and not empty."""
    if not (stream or sys.stdout).isatty():
        return Terminal()
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Terminal(min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns)), colour)


def harmless(text: str) -> str:
    """Given text, return it as one line in which nothing steers: a dot stands for each control character, escape,
    mark of direction and lone surrogate."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else " " if sign in "\n\t" else "·" for sign in text.rstrip())


def harmless_json(document: object, indent: int | None = 2) -> str:
    """Given a document, return it as JSON in which all that steers is written as \\u…."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


def columns_of(text: str) -> int:
    """Given printable text, return how many columns of a terminal it takes: wide signs two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
               for sign in text)
