"""The interface between the agent and a service manager, whichever it is. Values and protocols only."""
from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class StopReason(enum.Enum):
    """Why this service is being stopped."""

    STOP = "stop"               # it is stopped, or the reason is not known
    RESTART = "restart"         # it is started again at once, as an upgrade does
    SHUTDOWN = "shutdown"       # the machine goes down


class AgentControl(Protocol):
    """What can be requested of the agent. Any thread, any signal handler: each only raises a flag and wakes the
    loop."""

    def request_stop(self) -> None: ...

    def request_reload(self) -> None:
        """The configuration may have changed."""

    def check_clocks(self) -> None:
        """The machine was asleep, or its clock was set, so its operating system says."""


class ServiceManager(Protocol):
    """Who started the agent, wants to hear how it is, and ends it."""

    longest_silence_s: float | None
    """No wait of the agent's loop may be longer; None: any may."""

    def listen(self, orders: AgentControl) -> None:
        """From now on, pass on what is requested; a stop also if it was requested before."""

    def still_starting(self, seconds: float) -> None:
        """Its start takes up to so many seconds more."""

    def ready(self) -> None:
        """The agent runs."""

    def reloading(self) -> None:
        """It changes its configuration; `ready` follows."""

    def watchdog_ping(self) -> None:
        """Its loop turns; called far more often than needed."""

    def set_status(self, words: str) -> None:
        """Given one line about how it is, show it in the service's status."""

    def stopping(self) -> None:
        """It ends."""

    def stop_reason(self) -> StopReason:
        """Return why it is ended. May take two seconds."""

    @property
    def write_line(self) -> Callable[[str, str], None] | None:
        """What takes a level of `logs.LEVELS` and a line, where this manager's logs are read; None: it reads our
        standard error."""


# --- The state of the service, as `tideover service status` shows it

@dataclass(frozen=True, slots=True)
class ServiceReport:
    """How the service is, in systemd's words; Windows' are translated."""

    is_installed: bool
    is_enabled: bool
    state: str              # active | inactive | failed | activating | deactivating | …
    detail: str             # the service manager's own word: running | dead | auto-restart | stopped | …
    pid: int | None
    restarts: int | None    # None: this service manager does not count them
    status_text: str        # the last status that the agent reported (systemd: StatusText)
    unit: str               # the unit's file, or the command that Windows starts; "" where there is none

    @property
    def is_active(self) -> bool:
        return self.state == "active"
