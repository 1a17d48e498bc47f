"""systemd: readiness, status line, watchdog and reload by sd_notify(3); silent where systemd does not listen."""
from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tideover.service_manager import AgentControl, StopReason
from tideover.system.process import with_reserve

ASK_LIMIT_S = 2.0       # systemctl waits without end for a manager that hangs
READY_LIMIT_S = 1.0     # a message that systemd must get; the others are dropped where its queue is full
FEEDS = 3               # chances to feed the watchdog within its period: one may be missed
CGROUP = Path("/proc/self/cgroup")


class Systemd:
    """systemd, or no service manager, where it does nothing. Implements `supervision.ServiceManager`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        period_s = watchdog_period_s(environ)
        self._feed = watchdog_feeder(period_s) if period_s else None
        self.longest_silence_s = period_s / FEEDS if period_s else None

    def listen(self, orders: AgentControl) -> None:
        """It speaks in signals, which the process hears by itself."""

    def still_starting(self, seconds: float) -> None:
        notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def ready(self) -> None:
        notify("READY=1", READY_LIMIT_S)

    def reloading(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", READY_LIMIT_S)

    def watchdog_ping(self) -> None:
        if self._feed is not None:
            self._feed()

    def set_status(self, words: str) -> None:
        notify(f"STATUS={words}")

    def stopping(self) -> None:
        notify("STOPPING=1", READY_LIMIT_S)

    def stop_reason(self) -> StopReason:
        return why_we_end(self._environ)

    @property
    def write_line(self) -> None:
        """It reads our standard error."""


def notify(message: str, limit_s: float = 0.0) -> bool:
    """Given a state such as READY=1, send it to the socket NOTIFY_SOCKET names; return whether it was taken.

    Where the socket's queue is full, wait for `limit_s` at most.
    """
    if sys.platform == "win32":
        return False
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]        # an abstract socket (unix(7))
    try:
        with_reserve(lambda: _send(address, message.encode(), limit_s))      # a watchdog that is not fed ends us
    except OSError:
        return False
    return True


def _send(address: str, message: bytes, limit_s: float) -> None:
    if sys.platform != "win32":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(limit_s)
            channel.connect(address)
            channel.sendall(message)


def watchdog_period_s(environ: Mapping[str, str]) -> float | None:
    """Given our environment, return how often systemd wants a sign of life (sd_watchdog_enabled(3)); None: never."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 or None


def watchdog_feeder(period_s: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], None]:
    """Given the watchdog's period, return what feeds it; called far more often than needed, it says nothing new."""
    fed_at = -period_s

    def feed() -> None:
        nonlocal fed_at
        now = clock()
        if now - fed_at >= period_s / FEEDS / 2 and notify("WATCHDOG=1"):
            fed_at = now

    return feed


def why_we_end(environ: Mapping[str, str]) -> StopReason:
    """Given our environment, ask the service manager why it stops us. Blocks for `ASK_LIMIT_S` at most.

    A job to start shutdown.target is what systemd itself calls "stopping" (systemctl(1), is-system-running).
    """
    if not environ.get("INVOCATION_ID"):
        return StopReason.STOP                  # not run as a service (systemd.exec(5))
    import subprocess
    try:
        asked = subprocess.run(["systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"], text=True,
                               capture_output=True, timeout=ASK_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return StopReason.STOP
    return ending_among(asked.stdout, _own_unit())


def ending_among(jobs: str, unit: str) -> StopReason:
    """Given the lines of `systemctl list-jobs` (number, unit, type, state) and our unit's name, return why we end."""
    wanted = {tuple(line.split()[1:3]) for line in jobs.splitlines()}
    if ("shutdown.target", "start") in wanted:
        return StopReason.SHUTDOWN
    if (unit, "restart") in wanted:
        return StopReason.RESTART
    return StopReason.STOP


def _own_unit() -> str:
    """The name of the unit we run in (cgroups(7)); "" where that cannot be known."""
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return ""
    units = [part for line in lines for part in line.split("/") if part.endswith(".service")]
    return units[-1] if units else ""
