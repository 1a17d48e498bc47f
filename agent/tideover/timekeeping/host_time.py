"""When a hardware clock that lives on messages of its host may be believed. Reads no clock.

Hyper-V's clock is the last message's time plus the reference counter since (drivers/hv/hv_util.c). The counter stands
still with the guest, so after a resume the clock is late by the whole pause, and looks as right as ever, until the
next message, which comes every 5 s.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.timekeeping.agreement import NS, drift_ns

MESSAGES_APART_NS = 6 * NS      # the host's 5 s, with room
_NOISE_NS = 100_000             # two messages differ by their own latency; one message does not differ from itself


@dataclass(frozen=True, slots=True)
class Reading:
    """The hardware clock's distance from the raw clock at one instant, known to ± width_ns."""

    raw_ns: int
    distance_ns: int
    width_ns: int


def is_fresh(readings: Sequence[Reading], since_ns: int) -> bool:
    """Given readings in order (at least one) and the resume, does the newest rest on a message sent after it?

    It does when the distance has moved between two readings after the resume, or stayed for longer than the host is
    ever silent.
    """
    newest = readings[-1]
    return any(_has_moved(one, newest) or newest.raw_ns - one.raw_ns >= MESSAGES_APART_NS
               for one in readings[:-1] if one.raw_ns >= since_ns)


def _has_moved(before: Reading, after: Reading) -> bool:
    noise_ns = _NOISE_NS + before.width_ns + after.width_ns + drift_ns(after.raw_ns - before.raw_ns)
    return abs(after.distance_ns - before.distance_ns) > noise_ns
