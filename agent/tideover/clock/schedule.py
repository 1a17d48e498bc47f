"""When one check asks again. Pure arithmetic on seconds."""
from __future__ import annotations

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_LATER_S = 15.0
_CLOSE_S, _MOST_CLOSE = 1.0, 8       # of eight samples the one with the least delay is within 0.3 ms over the Internet


def pause_before(round_number: int, is_open: bool) -> float:
    """Given which question comes next (1 = the second) and whether only the bound is in the way, return the pause.

    A wrong clock takes its time to be mended, so the questions grow rarer. A bound that is too wide shrinks with
    each further sample, so the first few come quickly.
    """
    if is_open and round_number <= _MOST_CLOSE:
        return _CLOSE_S
    return _PAUSES_S[round_number - 1] if round_number <= len(_PAUSES_S) else _LATER_S
