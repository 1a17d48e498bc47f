"""How the program says lengths and moments of time, wherever people read them: on a terminal and on a page. Pure.

One vocabulary, so that a pause is told alike wherever it is told. What the record holds is written by the lifecycle and
the clock themselves, and documents (--json) hold seconds; neither is made here.
"""
from __future__ import annotations

from tideover.wording.lengths import (
    NOT_KNOWN,
    UNITS,
    bounded_text,
    countdown_text,
    distance_text,
    length_text,
    offset_text,
    round_length_text,
)
from tideover.wording.moments import MONTHS, Times, moment_text, zone_text

__all__ = [
    "MONTHS", "NOT_KNOWN", "UNITS", "Times", "bounded_text", "countdown_text", "distance_text", "length_text",
    "moment_text", "offset_text", "round_length_text", "zone_text",
]
