"""The clock check: asks outside time whether this machine's clock is right, and says what is known with its bound.

Never sets the clock. `ClockChecker` serves the engine; `check_now` and `watch_clock` serve a person.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from tideover.clock.checker import ClockChecker
from tideover.clock.types import ClockCheckSettings

if TYPE_CHECKING:
    from tideover.clock.host import HostAccess
    from tideover.clock.on_demand import check_now, watch_clock
    from tideover.clock.types import ClockReport, DaemonReport, ServerReport

__all__ = [
    "ClockCheckSettings",
    "ClockChecker",
    "ClockReport",
    "DaemonReport",
    "HostAccess",
    "ServerReport",
    "check_now",
    "watch_clock",
]

_LAZY = ("tideover.clock.types.ClockReport", "tideover.clock.types.DaemonReport", "tideover.clock.types.ServerReport",
         "tideover.clock.host.HostAccess", "tideover.clock.on_demand.check_now", "tideover.clock.on_demand.watch_clock")


def __getattr__(name: str) -> object:
    """Names that only a command needs are imported when they are used: the running agent never loads them."""
    for path in _LAZY:
        module, _, attribute = path.rpartition(".")
        if attribute == name:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
