"""The clock check: asks outside time whether this machine's clock is right, and says what is known with its bound.

Never sets the clock. `ClockChecker` serves the engine, `check_now` a person.
"""
from __future__ import annotations

from tideover.clock.checker import ClockChecker
from tideover.clock.nouns import ClockReport, ClockSettings, ServerReport
from tideover.clock.now import check_now

__all__ = ["ClockChecker", "ClockReport", "ClockSettings", "ServerReport", "check_now"]
