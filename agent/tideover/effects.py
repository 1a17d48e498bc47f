"""What we want done. The only way out of the lifecycle; nothing here does it.

An effect is wanted as long as the state asks for it, and has an identity (`key`): the engine starts what is newly
wanted and cancels what is no longer wanted. Each handler brings exactly one answer for each key it was given, within
a bound, whatever happens; an answer to a cancelled effect is allowed, and is ignored unless it is still waited for.
"""
from __future__ import annotations

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


Effect = RunHook | Acknowledge | CheckClock | WakeAt | WatchClosely
