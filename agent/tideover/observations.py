"""The observations that the lifecycle can be given, a class each, and their fields. Values only."""
from __future__ import annotations

import enum
from dataclasses import dataclass

from tideover.model import ClockCheck, Document, HookPhase, HookReport, HookSpec, Kind, Pause


@dataclass(frozen=True, slots=True)
class Witness:
    """A hook's private directory that was there at the start: its prepare was begun, whatever the journal says.

    `spec`: the hook as it was prepared, without its environment; None: nothing is noted down beside the directory.
    """

    name: str
    spec: HookSpec | None = None
    event_id: str = ""
    kind: Kind = Kind.UNKNOWN
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The agent has started. `down_s`: wall time since the journal's last row, None if there was none. `found`: the
    private directories that hooks have now. `runs_from`: a new journal numbers runs from there, for an application that
    sees a number again repeats its answer to it."""

    boot_id: str
    down_s: float | None = None
    found: tuple[Witness, ...] = ()
    runs_from: int = 0


@dataclass(frozen=True, slots=True)
class AnotherVm:
    """The platform's id of this VM is another one than the journal's: a copy of its disk, or rebuilt from it."""

    vm_id: str


@dataclass(frozen=True, slots=True)
class Polled:
    """A source answered with a well-formed document.

    `me`: this VM's own name at that source; `vm_id`: the platform's id of this VM, "" where it is not known.
    `clock_is_good`: outside time has lately found this machine's wall clock right.
    """

    document: Document
    me: str
    vm_id: str = ""
    clock_is_good: bool = False


class PollTrouble(enum.Enum):
    """What kind of failure a poll was, for counting; the sentence says the rest."""

    NO_ANSWER = "no-answer"         # no connection, too late, incomplete, not HTTP
    NO_DOCUMENT = "no-document"     # a 200 whose body is none
    THROTTLED = "throttled"         # 429
    REFUSED = "refused"             # any other 4xx
    REDIRECTED = "redirected"       # 3xx
    SERVER_ERROR = "server-error"   # 5xx
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A source gave no document. Says nothing about any event."""

    reason: str
    trouble: PollTrouble = PollTrouble.OTHER


@dataclass(frozen=True, slots=True)
class Resumed:
    """The machine, or this process, runs again; or the wall clock was set (cause clock-step)."""

    pause: Pause


@dataclass(frozen=True, slots=True)
class PauseProved:
    """More evidence of a pause that was reported before. `pause`: the same pause with all its evidence."""

    pause: Pause


@dataclass(frozen=True, slots=True)
class HookSettled:
    """One run of one hook has ended. The three names say which run was asked for."""

    name: str
    phase: HookPhase
    run: int
    report: HookReport


@dataclass(frozen=True, slots=True)
class ApplicationConnected:
    """An application has connected. `instance`: its own word for its process; the same one goes on where it was."""

    name: str
    instance: str


@dataclass(frozen=True, slots=True)
class ApplicationGone:
    """The connection of an application has ended."""

    name: str


class AckOutcome(enum.Enum):
    ACCEPTED = "accepted"       # 200
    REFUSED = "refused"         # 400, 404 and their like: asking again is pointless
    LOST = "lost"               # no answer, 429, 5xx: it is not known whether it counted
    WITHHELD = "withheld"       # not sent: the fleet's store does not show that this machine may send it


@dataclass(frozen=True, slots=True)
class AckSettled:
    """An acknowledgement has its outcome."""

    event_id: str
    attempt: int
    outcome: AckOutcome
    reason: str = ""


class SlotState(enum.Enum):
    """What one event of this machine has of the slots of its group."""

    NONE = "none"                   # it is not entered
    WAITING = "waiting"             # none is free
    GRANTED = "granted"
    NOT_GRANTED = "not-granted"     # it is entered, so that others wait, and does not acknowledge
    RELEASED = "released"           # an operator gave it up


@dataclass(frozen=True, slots=True)
class FleetView:
    """What the fleet's store says of one event, as this machine has read it."""

    slot: SlotState = SlotState.NONE
    taken_from: str = ""                # the machines whose silent entry this one has replaced
    says: str = ""                      # READY, NOT_READY or OVER, as this machine's entry has it; "": it has none
    not_ready: tuple[tuple[str, str], ...] = ()     # machines and reasons, the first few
    not_ready_count: int = 0
    claim: int = 0                      # its number; 0: nothing was claimed
    claimed_by: str = ""                # a machine's folded name
    claim_is_mine: bool = False
    result: int | None = None           # the platform's answer to the claimant
    is_too_late: bool = False           # this machine wants its consent back, and it may be used already
    is_reached: bool = True             # False: the store has not answered for some seconds


@dataclass(frozen=True, slots=True)
class FleetSeen:
    """The fleet's store says something new of an event."""

    event_id: str
    view: FleetView


@dataclass(frozen=True, slots=True)
class FleetLeft:
    """The fleet's store has nothing of this machine for an event any more."""

    event_id: str


@dataclass(frozen=True, slots=True)
class ClockJudged:
    """The clock check asked for by `round` of this event has its answer."""

    event_id: str
    round: int
    check: ClockCheck


@dataclass(frozen=True, slots=True)
class ClockFollowed:
    """The clock was watched on after its verdict. Moves nothing; it is for the record.

    `state`: converged | following | stuck | remedied (the time daemon was made to measure again).
    """

    event_id: str
    state: str
    check: ClockCheck


@dataclass(frozen=True, slots=True)
class Due:
    """The time of a WakeAt has come. `key` is the effect's."""

    key: str


@dataclass(frozen=True, slots=True)
class AcknowledgeRequested:
    """An operator asks to acknowledge this event. `alone`: without the other machines that it names."""

    event_id: str
    alone: bool = False


@dataclass(frozen=True, slots=True)
class RecoverRequested:
    """An operator asks to run pending recovers (of one event, or all), or no agent can start. `clock`: its verdict
    then, for the hooks; `because`: what the record says."""

    event_id: str | None = None
    clock: ClockCheck | None = None
    because: str = "by hand"


@dataclass(frozen=True, slots=True)
class ForgetRequested:
    """An operator gives up the pending recovery of one participant."""

    name: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The service is being stopped, and applications are recovered first (on_stop = "recover")."""


Observation = (Restarted | AnotherVm | Polled | PollFailed | Resumed | PauseProved | HookSettled
               | ApplicationConnected | ApplicationGone | AckSettled | FleetSeen | FleetLeft | ClockJudged
               | ClockFollowed | Due | AcknowledgeRequested | RecoverRequested | ForgetRequested | StopRequested)
