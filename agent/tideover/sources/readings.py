"""Clock readings for the sources: what an exchange's deadline, a poll's interval and an answer's moment count on."""
from __future__ import annotations

import time
from datetime import UTC, datetime

from tideover.model import Moment


def read_raw_s() -> float:
    """Return seconds of a clock that nobody sets or slews (Windows: the performance counter)."""
    if hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    return time.perf_counter()


def read_moment() -> Moment:
    """Return the present instant on both clocks."""
    return Moment(datetime.now(UTC), read_raw_s())
