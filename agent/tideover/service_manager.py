"""What a service manager and the agent say to each other, whichever manager it is. Words only; nothing is done here."""
from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol


class Ending(enum.Enum):
    """Why this service is being stopped."""

    STOP = "stop"               # somebody stops it, or nobody knows
    RESTART = "restart"         # it is started again at once, as an upgrade does
    SHUTDOWN = "shutdown"       # the machine goes down


class Orders(Protocol):
    """What the agent can be told. Any thread, any signal handler: each only raises a flag and wakes the loop."""

    def end_soon(self) -> None: ...

    def read_soon(self) -> None:
        """The configuration may have changed."""

    def look_now(self) -> None:
        """The machine was asleep, or its clock was set, so its operating system says."""


class ServiceManager(Protocol):
    """Who started the agent, wants to hear how it is, and ends it."""

    longest_silence_s: float | None
    """No wait of the agent's loop may be longer; None: any may."""

    def listen(self, orders: Orders) -> None:
        """From now on, pass on what the agent is told; that it is to end also if that was said before."""

    def still_starting(self, seconds: float) -> None:
        """Its start takes up to so many seconds more."""

    def ready(self) -> None:
        """The agent runs."""

    def reloading(self) -> None:
        """It changes its configuration; `ready` follows."""

    def feed(self) -> None:
        """Its loop turns; called far more often than needed."""

    def say(self, words: str) -> None:
        """Given one line about how it is, show it to whoever asks."""

    def stopping(self) -> None:
        """It ends."""

    def why_we_end(self) -> Ending:
        """Return why it is ended. May take two seconds."""

    @property
    def write_line(self) -> Callable[[str, str], None] | None:
        """What takes a level of `logs.LEVELS` and a line, where this manager's logs are read; None: it reads our
        standard error."""
