"""The effects that the lifecycle can ask for (run a hook, acknowledge, check the clock …) and their fields. Values
only.

An effect is wanted as long as the state asks for it, and has an identity (`key`): the engine starts what is newly
wanted and cancels what is no longer wanted. Each handler brings exactly one answer for each key it was given, within
a bound, whatever happens; an answer to a cancelled effect is allowed, and is ignored unless it is still waited for.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from tideover.model import HookPhase, HookSpec, Kind, Verdict


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the decision knows for a run; None: not known. `pause_s`, `clock` and the rest are of a recover."""

    not_before: datetime | None = None
    seconds_left: float | None = None
    expected_pause_s: float | None = None
    pause_s: float | None = None
    pause_uncertainty_s: float | None = None
    clock: Verdict = Verdict.UNKNOWN
    clock_offset_s: float | None = None     # > 0: this machine is ahead


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run one hook once. Answer: HookSettled(name, phase, run). Called off: end its process tree, answer STOPPED.

    Wanted again with another `limit_s`, the run under way ends by that one; nothing else of it changes.
    """

    spec: HookSpec
    phase: HookPhase
    run: int                        # rises with each run of this hook; names the run, also over a restart
    attempt: int                    # TIDEOVER_ATTEMPT: which try of this phase it is, from 1
    limit_s: float                  # lived seconds until its tree is ended; may be made shorter while it runs
    event_id: str
    kind: Kind
    reason: str = ""                # recover: resumed | cancelled | restarted
    facts: RunFacts = RunFacts()
    resumed_instance: str = ""      # of an application: the one that was sent this run before the agent's restart

    @property
    def key(self) -> str:
        return f"hook:{self.spec.name}:{self.phase.value}:{self.run}"


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Acknowledge one event (StartRequests), once. Answer: AckSettled."""

    event_id: str
    attempt: int
    spelling: str = ""              # the id as it is sent: the newest document has it so; "": as `event_id`
    is_guarded: bool = False        # of a fleet: sent only while its store shows own claim and granted slot

    @property
    def key(self) -> str:
        return f"acknowledge:{self.event_id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class CheckClock:
    """Judge the clock by outside samples newer than `since_raw_s`. Answer: ClockJudged, good or at the deadline."""

    event_id: str
    round: int
    since_raw_s: float

    @property
    def key(self) -> str:
        return f"clock:{self.event_id}:{self.round}"


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Post Due(key) when the raw monotonic clock has reached this. No answer comes before."""

    key: str
    at_raw_s: float


@dataclass(frozen=True, slots=True)
class WatchClosely:
    """An event is near or has started: the pause watch ticks faster. No answer."""

    @property
    def key(self) -> str:
        return "watch-closely"


class SlotWish(enum.Enum):
    """What one event of this machine wants of the slots of its group."""

    NONE = "none"
    TAKE = "take"           # a slot, and wait for it
    ENTER = "enter"         # be entered: with a slot if one is free, else without
    AWAY = "away"           # be entered, without a slot unless there is one already
    LEAVE = "leave"         # give back what there is
    RELEASED = "released"   # none any more, of a shared event: an operator gave it up


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Keep what the fleet's store says of this machine and one event as it is here, and look at what the others say.
    Answers: FleetSeen, after each change; FleetLeft once, when nothing of this machine is left (`leaves`)."""

    event_id: str
    source: str
    kind: Kind
    resources: tuple[str, ...]
    not_before: str                 # RFC 3339 or ""
    phase: str
    slot: SlotWish = SlotWish.NONE
    had_slot: bool = False          # it was entered: if that is gone, another machine took it over
    has_waited: bool = False        # for a slot, until the last moment: one that becomes free later is not for it
    is_shared: bool = False         # it names other machines too
    says: str | None = None         # READY, NOT_READY or OVER of the documents; None: what is written stays
    why: str = ""
    may_claim: bool = False
    sent: int = 0                   # the newest claim number with which an acknowledgement may be on its way
    passes: int = 0                 # the claim number that is passed on to another machine; 0: none
    result: int | None = None       # the platform's answer to this machine's acknowledgement
    due_raw_s: float | None = None  # NotBefore on the raw clock
    leaves: bool = False            # the event is over here

    @property
    def key(self) -> str:
        return f"fleet:{self.event_id}"


Effect = RunHook | Acknowledge | CheckClock | WakeAt | WatchClosely | Coordinate
