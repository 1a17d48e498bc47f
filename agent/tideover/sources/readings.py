"""Clock readings for the sources: what an exchange's deadline, a poll's interval and an answer's moment count on."""
from __future__ import annotations

from datetime import UTC, datetime

from tideover.model import Moment
from tideover.system.clocks import raw_ns


def read_raw_s() -> float:
    """Return seconds of a clock that nobody sets or slews."""
    return raw_ns() / 1e9


def read_moment() -> Moment:
    """Return the present instant on both clocks."""
    return Moment(datetime.now(UTC), read_raw_s())
