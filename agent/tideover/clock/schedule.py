"""When one check asks again. Pure arithmetic on seconds."""
from __future__ import annotations

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_LATER_S = 15.0
_CLOSE_S, _MOST_CLOSE = 1.0, 8       # of eight samples the one with the least delay is within 0.3 ms over the Internet
_RAREST_S = 64.0                     # of following; a time daemon's own usual poll


def pause_before(round_number: int, is_close: bool) -> float:
    """Given which question comes next (1 = the second) and whether only time is in the way, return the pause.

    A wrong clock takes its time to be mended, so the questions grow rarer. A bound that is too wide shrinks with
    each further sample, and a hardware clock may hear from its host any second, so the first few come quickly.
    """
    if is_close and round_number <= _MOST_CLOSE:
        return _CLOSE_S
    return _PAUSES_S[round_number - 1] if round_number <= len(_PAUSES_S) else _LATER_S


def pause_while_following(round_number: int, spacing_s: float) -> float:
    """Given which question comes next (1 = the first after the verdict) and how often the most willing source may be
    asked, return the pause: doubled each time from a second, or from that spacing, up to about a minute.
    """
    return max(spacing_s, min(_RAREST_S, max(1.0, spacing_s) * 2.0 ** (round_number - 1)))
