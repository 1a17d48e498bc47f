"""What the service control manager of Windows tells the agent, and hears from it. Knows its numbers; never calls it.

Implements `supervision.ServiceManager`. The controls arrive on another thread than the agent's, and may arrive before
the agent is there to hear them.
"""
from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tideover.service.windows.watchdog import LONGEST_SILENCE_S, Watchdog
from tideover.supervision import Ending, Orders

STOP_HINT_S = 90.0
"""How long a stop may take, told to whoever waits for it: on_stop = "recover" gives its hooks 75 s."""
START_HINT_S = 30.0

POWER_RESUMED = frozenset({0x12, 0x07})
"""PBT_APMRESUMEAUTOMATIC, PBT_APMRESUMESUSPEND: https://learn.microsoft.com/windows/win32/power/wm-powerbroadcast"""


class Control(enum.IntEnum):
    """https://learn.microsoft.com/windows/win32/api/winsvc/nc-winsvc-lphandler_function_ex"""

    STOP = 1
    INTERROGATE = 4
    SHUTDOWN = 5
    PARAMCHANGE = 6
    POWEREVENT = 13
    PRESHUTDOWN = 15
    TIMECHANGE = 16
    MAKE_WAY = 128              # ours, of the range for services' own: ended to be started again at once, by an upgrade


class Accepted(enum.IntFlag):
    """https://learn.microsoft.com/windows/win32/api/winsvc/ns-winsvc-service_status"""

    NOTHING = 0
    STOP = 0x1
    SHUTDOWN = 0x4
    PARAMCHANGE = 0x8
    POWEREVENT = 0x40
    PRESHUTDOWN = 0x100
    TIMECHANGE = 0x200


class Standing(enum.IntEnum):
    """How a service is, in its manager's numbers (the same page)."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


WHILE_RUNNING = (Accepted.STOP | Accepted.PRESHUTDOWN | Accepted.PARAMCHANGE | Accepted.POWEREVENT
                 | Accepted.TIMECHANGE)
"""PRESHUTDOWN, not SHUTDOWN; a service may accept one of the two. It comes before the other services are ended and
leaves time of its own, while SHUTDOWN is cut off for all services together after some seconds."""

ENDINGS = {Control.STOP: Ending.STOP, Control.MAKE_WAY: Ending.RESTART,
           Control.PRESHUTDOWN: Ending.SHUTDOWN, Control.SHUTDOWN: Ending.SHUTDOWN}


@dataclass(frozen=True, slots=True)
class Told:
    """What the service control manager is told."""

    standing: Standing
    accepted: Accepted
    checkpoint: int = 0         # counts up while something is pending
    hint_s: float = 0.0         # how long that takes, at most
    exit_status: int = 0        # ours, when stopped; 0: all is well


class ServiceControl:
    """The agent's service manager, as far as it is Windows'. Any thread."""

    longest_silence_s: float | None = LONGEST_SILENCE_S

    def __init__(self, report: Callable[[Told], None], write_line: Callable[[str, str], None],
                 watchdog: Watchdog) -> None:
        """`report` brings a `Told` to the service control manager; `write_line` is given a level and a log line."""
        self._report, self._write_line, self._watchdog = report, write_line, watchdog
        self._lock = threading.RLock()      # what is told must be told in the order in which it became true
        self._orders: Orders | None = None
        self._ending: Ending | None = None
        self._told = Told(Standing.START_PENDING, Accepted.NOTHING)
        self._checkpoint = 0

    # --- what Windows says ------------------------------------------------------------------------------------------

    def heard(self, control: int, detail: int = 0) -> None:
        """Given a control and, for a power event, which, pass it on. Unknown ones are ignored, as Windows wants it."""
        if control == Control.INTERROGATE:
            with self._lock:
                self._report(self._told)
        elif control in ENDINGS:
            self._end(ENDINGS[Control(control)])
        elif control == Control.PARAMCHANGE and self._orders is not None:
            self._orders.read_soon()
        elif _is_reason_to_look(control, detail) and self._orders is not None:
            self._orders.look_now()

    def _end(self, why: Ending) -> None:
        with self._lock:
            self._ending = why
            orders = self._orders
            self._tell(Standing.STOP_PENDING, hint_s=STOP_HINT_S)
        if orders is not None:
            orders.end_soon()

    # --- what the agent says ----------------------------------------------------------------------------------------

    def listen(self, orders: Orders) -> None:
        with self._lock:
            self._orders = orders
            is_ending = self._ending is not None
        if is_ending:
            orders.end_soon()

    def starting(self) -> None:
        """The process runs; the agent does not yet."""
        self._tell(Standing.START_PENDING, hint_s=START_HINT_S)

    def still_starting(self, seconds: float) -> None:
        self._tell(Standing.START_PENDING, hint_s=seconds)

    def ready(self) -> None:
        with self._lock:
            if self._ending is None:
                self._tell(Standing.RUNNING)

    def reloading(self) -> None:
        """Windows has no word for it."""

    def feed(self) -> None:
        """Windows does not ask; a watchdog of ours does."""
        self._watchdog.feed()

    def say(self, words: str) -> None:
        """Windows does not listen."""

    def stopping(self) -> None:
        self._watchdog.rest()
        with self._lock:
            if self._told.standing is not Standing.STOP_PENDING:
                self._tell(Standing.STOP_PENDING, hint_s=STOP_HINT_S)

    def stopped(self, exit_status: int) -> None:
        """Given our exit status: the last that is said. Other than 0, the recovery actions start the service again."""
        self._tell(Standing.STOPPED, exit_status=exit_status)

    def why_we_end(self) -> Ending:
        return self._ending or Ending.STOP

    def write_line(self, level: str, line: str) -> None:
        self._write_line(level, line)

    def _tell(self, standing: Standing, *, hint_s: float = 0.0, exit_status: int = 0) -> None:
        is_pending = standing in (Standing.START_PENDING, Standing.STOP_PENDING)
        accepted = WHILE_RUNNING if standing is Standing.RUNNING else Accepted.NOTHING
        with self._lock:
            self._checkpoint = self._checkpoint + 1 if is_pending else 0
            self._told = Told(standing, accepted, self._checkpoint, hint_s, exit_status)
            self._report(self._told)


def _is_reason_to_look(control: int, detail: int) -> bool:
    return control == Control.TIMECHANGE or (control == Control.POWEREVENT and detail in POWER_RESUMED)
