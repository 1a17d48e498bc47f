"""What one observation means for one case: the columns of the table. Values only."""
from __future__ import annotations

from dataclasses import dataclass

from tideover.model import ClockCheck, Event, Pause
from tideover.observations import AckOutcome


@dataclass(frozen=True, slots=True)
class Began:
    """The newest document shows it Started."""

    event: Event


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The newest document still shows it Scheduled; the document was asked for at `asked_raw_s`."""

    event: Event
    asked_raw_s: float


@dataclass(frozen=True, slots=True)
class Vanished:
    """A well-formed document no longer lists it."""


@dataclass(frozen=True, slots=True)
class Woken:
    """The time it waited for has come."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All hooks it wanted have settled. `hold`: why the platform must not be told, None if it may."""

    hold: str | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The acknowledgement has its answer."""

    outcome: AckOutcome
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    pause: Pause


@dataclass(frozen=True, slots=True)
class Judged:
    check: ClockCheck


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The machine has started anew."""


@dataclass(frozen=True, slots=True)
class AgentRestarted:
    """The agent has started anew on a machine that went on."""


@dataclass(frozen=True, slots=True)
class Released:
    """No hook is owed a recover any more."""


@dataclass(frozen=True, slots=True)
class ToldToAcknowledge:
    """By hand."""


@dataclass(frozen=True, slots=True)
class ToldToRecover:
    """By hand, or because the service is being stopped (`stopping`)."""

    stopping: bool


Signal = (Began | Scheduled | Vanished | Woken | Prepared | Answered | Paused | Judged | Rebooted | AgentRestarted
          | Released | ToldToAcknowledge | ToldToRecover)
COLUMNS: tuple[type[Signal], ...] = (
    Began, Scheduled, Vanished, Woken, Prepared, Answered, Paused, Judged, Rebooted, AgentRestarted,
    Released, ToldToAcknowledge, ToldToRecover)
