"""What a page does to a finished text and a terminal cannot: a number never parts from its unit. Pure."""
from __future__ import annotations

import re

from tideover.wording import UNITS

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
