"""Clock readings for the sources: what an exchange's deadline, a poll's interval and an answer's moment count on."""
from __future__ import annotations

from datetime import UTC, datetime

from tideover.model import Moment
from tideover.system.clocks import read_raw_s


def read_moment() -> Moment:
    """Return the present instant on both clocks."""
    return Moment(datetime.now(UTC), read_raw_s())
