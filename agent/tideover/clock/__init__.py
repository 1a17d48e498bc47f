"""The clock check: asks outside time whether this machine's clock is right, and says what is known with its bound.

Never sets the clock. `ClockChecker` serves the engine; `check_now` and `watch_clock` serve a person.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from tideover.clock.checker import ClockChecker
from tideover.clock.settings import ClockSettings

if TYPE_CHECKING:
    from tideover.clock.nouns import ClockReport, DaemonReport, ServerReport
    from tideover.clock.now import check_now, watch_clock
    from tideover.clock.surroundings import Surroundings

__all__ = ["ClockChecker", "ClockReport", "ClockSettings", "DaemonReport", "ServerReport", "Surroundings", "check_now",
           "watch_clock"]

_ELSEWHERE = {"ClockReport": "nouns", "DaemonReport": "nouns", "ServerReport": "nouns", "Surroundings": "surroundings",
              "check_now": "now", "watch_clock": "now"}


def __getattr__(name: str) -> object:
    """What only a person's command needs is imported when it is asked for: the agent waits without it."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
