"""The state's values: phases, cases, hook stages; which pauses end an event; how many ended events stay in memory.
Pure."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from tideover.effects import Coordinate
from tideover.model import Cause, ClockCheck, EntryKind, Event, HookRun, HookSpec, Kind, Outcome, Pause
from tideover.observations import FleetView, SlotState


class Phase(enum.Enum):
    """What an event waits for. The value is the word in journal, record, status, log and metrics."""

    OBSERVED = "observed"               # other machines' events, or kinds outside act_on: nothing is done
    SCHEDULED = "scheduled"             # preparation starts later
    WAITING_FOR_SLOT = "waiting-for-slot"       # the fleet's slot is not free yet
    PREPARING = "preparing"             # prepare hooks run
    WAITING_FOR_PEERS = "waiting-for-peers"     # prepared; other machines that the event names are not yet
    ACKNOWLEDGING = "acknowledging"     # the acknowledgement is being sent
    UNCONFIRMED = "unconfirmed"         # the acknowledgement's answer was lost; a fresh document decides
    HELD = "held"                       # not acknowledged: required failure, by hand, shared, no participants, refused
    ACKNOWLEDGED = "acknowledged"       # the platform accepted the acknowledgement; it starts the event next
    STARTED = "started"                 # the platform says Started
    CHECKING_CLOCK = "checking-clock"   # the clock is compared with time sources
    SETTLING = "settling"               # quiet time after a pause
    RECOVERING = "recovering"           # recover hooks run, or wait for another event's claim or for a retry
    RECOVERED = "recovered"             # all recovered; the event is still listed
    CLOSED = "closed"                   # over


STALL_S = 1.0
"""A stall of our own process this long, while an event is Started, counts as that event's pause (contract)."""

REMEMBERED_AT_MOST = 100
"""So many acknowledged events, and so many that are over, are remembered, in case one is listed again after it had
gone."""

OWN_AT_MOST = 64
"""So many events of this VM are carried at once, the earliest NotBefore first. A platform announces one or two; what a
document lists beyond that is not handled until there is room; the record says so."""

OTHERS_AT_MOST = 1000
"""So many events of other VMs, or of kinds outside act_on, are kept in the record at once: as many as a scale
set has machines."""

PAUSES_AT_MOST = 100
"""So many pauses are kept with one event for deciding; its record has more."""

CONNECT_AGAIN_S = 3.0
"""After a start of the agent applications have so long to connect again, before the others go on without them."""

AWAITING_PLATFORM = frozenset({Phase.PREPARING, Phase.WAITING_FOR_PEERS, Phase.ACKNOWLEDGING, Phase.UNCONFIRMED,
                               Phase.HELD, Phase.ACKNOWLEDGED})
"""The phases of an event of this VM that is prepared for and has not started."""

CLAIMING = AWAITING_PLATFORM | {Phase.STARTED, Phase.CHECKING_CLOCK, Phase.SETTLING}
"""The phases in which a case keeps the applications prepared."""


def ends_an_event(pause: Pause) -> bool:
    """Whether this pause, while an event is Started, is that event's: the machine's always, ours from a second on."""
    if pause.cause is Cause.PROCESS_STALL:
        return pause.length_s is not None and pause.length_s >= STALL_S
    return stopped_the_machine(pause)


def stopped_the_machine(pause: Pause) -> bool:
    """Whether the machine was away, not only this process."""
    return pause.cause in (Cause.VM_PAUSE, Cause.SUSPEND, Cause.RESTART)


class AckState(enum.Enum):
    """What is known of the platform's answer to the acknowledgement of one event."""

    OPEN = "open"               # not sent, or not answered
    REFUSED = "refused"         # 400 or 404: it is not sent again, except by an operator
    ACCEPTED = "accepted"       # a 200: settled for good


class RecoveredBy(enum.Enum):
    """What made an event recover its applications."""

    EVENT = "event"                     # its own course
    OPERATOR = "operator"               # a command
    SERVICE_STOP = "service-stop"       # the next start prepares again, unless the event has started


@dataclass(frozen=True, slots=True)
class FleetState:
    """What one event of this machine has to do with its fleet. The first four follow from the configuration and the
    event; `view` is what the store says, as read last."""

    is_shared: bool = False             # it names other machines, and all agree on its acknowledgement
    is_limited: bool = False            # the group has slots
    takes_slot: bool = False            # this machine has something to prepare for it
    waives_slot: bool = False           # on_unreachable = "proceed"
    view: FleetView = field(default_factory=FleetView)
    hold: str = ""                      # why this machine is not ready
    awaits_slot: bool = False           # HELD for want of a slot alone
    is_alone: bool = False              # an operator sends the acknowledgement, whatever the others say
    sent: int = 0                       # the newest claim for which an acknowledgement may have left in this boot
    sent_raw_s: float = 0.0             # when the first one of that claim was begun
    passes: int = 0                     # the claim that is passed on, for the platform does not answer; 0: none

    @property
    def uses_store(self) -> bool:
        """Whether the store may have anything of it."""
        return self.is_shared or self.is_limited

    @property
    def has_slot(self) -> bool:
        """Whether the acknowledgement need not wait for a slot."""
        if not (self.is_limited and self.takes_slot):
            return True
        return self.view.slot is SlotState.GRANTED or (self.is_waived and not self.is_shared)

    @property
    def is_waived(self) -> bool:
        """Whether the store is out of reach, and the configuration lets single events go on without a slot."""
        return self.waives_slot and not self.view.is_reached

    @property
    def is_guarded(self) -> bool:
        """Whether the acknowledgement is sent only while the store shows own claim and granted slot."""
        needs = self.is_shared or (self.is_limited and self.takes_slot)
        return needs and not self.is_alone and not (self.is_waived and not self.is_shared)


@dataclass(frozen=True, slots=True)
class Case:
    """One event's life so far. Raw seconds are CLOCK_MONOTONIC_RAW of this boot.

    Legal combinations of its flags, which a law holds in every reachable state: an event that is not `listed` waits for
    nothing of the platform (it is in checking-clock, settling or recovering); a `missed` one has begun or is not
    listed; `hooks_named` is set for unannounced events alone. `agent_was_down` and `rebooted` go with any.
    """

    event: Event
    phase: Phase
    listed: bool = True                 # in the newest document
    current_id: str = ""                # its id in the newest document, where the spelling differs from the first one
    due_raw_s: float | None = None      # NotBefore on the raw clock
    wake_raw_s: float | None = None     # SCHEDULED, WAITING_FOR_SLOT: when to prepare; SETTLING: when quiet is long
                                        # enough; UNCONFIRMED:
                                        # when to ask again, known once a newer document still shows it Scheduled
    ack_attempts: int = 0               # acknowledgements sent
    ack_resources: tuple[str, ...] = ()     # the VMs that the event named when the newest one was sent
    ack: AckState = AckState.OPEN
    lost_raw_s: float = 0.0             # UNCONFIRMED: when the answer was lost
    again_raw_s: float = 0.0            # UNCONFIRMED: not asked again before
    pending_pause: Pause | None = None  # a pause detected before a document showed the event Started
    pauses: tuple[Pause, ...] = ()
    since_raw_s: float = 0.0            # CHECKING_CLOCK: samples must be newer
    check_round: int = 0
    looked_raw_s: float = 0.0           # SETTLING: when the last step of the quiet time began
    clock: ClockCheck | None = None
    hooks_named: bool = False           # unannounced: its hooks' recover is wanted since the machine's newest pause
    missed: bool = False                # first seen Started, or it came and went while the agent was down
    agent_was_down: bool = False        # the agent was down; no document has listed the event since
    rebooted: bool = False              # another boot than the one it was prepared in
    recovered_by: RecoveredBy = RecoveredBy.EVENT
    observed_only: bool = False         # it was only observed where it would have been prepared ([policy] mode)
    fleet: FleetState | None = None     # None: no fleet has to do with it

    @property
    def id(self) -> str:
        return self.event.id

    @property
    def began(self) -> bool:
        """Whether a document has shown it Started."""
        return self.event.started

    @property
    def acknowledged(self) -> bool:
        return self.ack is AckState.ACCEPTED

    @property
    def is_recovered_early(self) -> bool:
        """Whether its applications were recovered before its end, by an operator or a stop of the service."""
        return self.recovered_by is not RecoveredBy.EVENT

    @property
    def is_prepared_again(self) -> bool:
        """Whether the next start of the agent prepares it again: only a stop of the service had recovered it."""
        return self.recovered_by is RecoveredBy.SERVICE_STOP and not self.began

    @property
    def announced(self) -> bool:
        return self.event.kind.info.is_announced

    @property
    def has_begun(self) -> bool:
        """Whether the platform has begun it, as far as is known: by a document, or by what it does to a machine."""
        return self.began or self.missed or self.rebooted or self.pending_pause is not None

    @property
    def reason(self) -> str:
        """Why its hooks are recovered: resumed | cancelled | restarted (the contract's TIDEOVER_REASON).

        A restart after which the event was still Scheduled was not its doing.
        """
        if self.rebooted:
            return "restarted"
        paused = any(ends_an_event(pause) and pause.cause is not Cause.RESTART for pause in self.pauses)
        return "resumed" if self.began or paused or self.missed else "cancelled"

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome.MISSED if self.missed and not self.rebooted else Outcome(self.reason)


def records_hook_runs(case: Case) -> bool:
    """Whether what becomes of a hook's run belongs into this case's record."""
    return case.phase is Phase.RECOVERING or (case.phase in CLAIMING and case.announced)


class Stage(enum.Enum):
    """The stage of one hook. A hook that is recovered, or was never prepared, is not in the state at all."""

    QUEUED = "queued"                       # prepare is wanted and has not started
    PREPARING = "preparing"                 # prepare runs
    PREPARE_RETRY = "prepare-retry"         # prepare ended with "not yet" and is tried again
    PREPARED = "prepared"                   # prepare has ended, with success or not
    STOPPING = "stopping"                   # prepare is being stopped because its event was removed
    RECOVER_PENDING = "recover-pending"     # recover is wanted and has not started
    RECOVERING = "recovering"               # recover runs
    RECOVER_NOT_YET = "recover-not-yet"     # recover ended with "not yet" and is tried again; later hooks wait for it
    RECOVER_RETRY = "recover-retry"         # recover failed and is tried again; later hooks do not wait for it
    RECOVER_FAILED = "recover-failed"       # all automatic retries are used up


RUNNING = frozenset({Stage.PREPARING, Stage.STOPPING, Stage.RECOVERING})
RETRIED_RECOVERS = frozenset({Stage.RECOVER_NOT_YET, Stage.RECOVER_RETRY})


class PrepareResult(enum.Enum):
    """How the newest prepare of a hook that has ended went."""

    NONE = "none"           # none has ended
    WORKED = "worked"
    FAILED = "failed"
    UNSAFE = "unsafe"       # its file was refused: withholds the acknowledgement, required or not


@dataclass(frozen=True, slots=True)
class HookState:
    """One hook whose preparation is wanted, or whose recovery is pending."""

    spec: HookSpec
    stage: Stage
    wanted_by: tuple[str, ...] = ()     # ids of the cases that asked for its preparation
    prepared_for: int = 0               # severity of the kind its newest ended prepare was run for; 0: no prepare has
                                        # ended since the newest start of a recover, or of the machine
    prepare_result: PrepareResult = PrepareResult.NONE
    needs_recover: bool = False         # a run before the present one may have changed something
    run: int = 0                        # number of its newest run
    attempt: int = 0
    limit_s: float = 0.0
    begun_raw_s: float = 0.0            # when its newest run was begun; nothing is decided by it; status shows it
    begun_at: datetime | None = None    # the same, for the record; None: an older journal did not keep it
    until_raw_s: float = 0.0            # "not yet" is tried again up to here
    again_raw_s: float = 0.0            # PREPARE_RETRY, RECOVER_NOT_YET, RECOVER_RETRY: not before
    failures: int = 0                   # of recover
    instance: str = ""                  # of an application: the one that its newest run was begun with
    resumed_instance: str = ""          # the same, while its newest run is one of before the agent's restart
    event_id: str = ""                  # whose run the newest one was
    kind: Kind = Kind.UNKNOWN
    reason: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything the next decision depends on."""

    cases: Mapping[str, Case] = field(default_factory=lambda: MappingProxyType({}))
    hooks: Mapping[str, HookState] = field(default_factory=lambda: MappingProxyType({}))
    boot_id: str = ""
    me: str = ""
    fresh: bool = False                 # a document has been seen since the agent's start
    runs: int = 0                       # the newest run number given
    settled: tuple[str, ...] = ()       # events whose acknowledgement got its 200, the newest last
    beyond: int = 0                     # events of the newest document that are not carried: there are too many
    over: tuple[str, ...] = ()          # events that were carried to their end and not missed, the newest last
    connect_raw_s: float = 0.0          # after a start of the agent: until then applications may connect again
    connected: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))      # application: its instance
    leaving: tuple[Coordinate, ...] = ()        # events that are over here and stand in the fleet's store still

    def with_case(self, case: Case) -> State:
        return replace(self, cases=MappingProxyType({**self.cases, case.id: case}))

    def without_case(self, event_id: str) -> State:
        return replace(self, cases=MappingProxyType({k: v for k, v in self.cases.items() if k != event_id}))

    def with_settled(self, event_id: str) -> State:
        """Given an event whose acknowledgement got its 200, remember it among the newest ones."""
        return replace(self, settled=(*self.settled, event_id)[-REMEMBERED_AT_MOST:])

    def with_over(self, event_id: str) -> State:
        """Given an event that is over and was not missed, remember it among the newest ones."""
        others = tuple(known for known in self.over if known != event_id)
        return replace(self, over=(*others, event_id)[-REMEMBERED_AT_MOST:])

    def with_hook(self, hook: HookState) -> State:
        return replace(self, hooks=MappingProxyType({**self.hooks, hook.spec.name: hook}))

    def with_connected(self, name: str, instance: str | None) -> State:
        """Given an application and its instance, None if its connection has ended, return the state with that."""
        others = {other: known for other, known in self.connected.items() if other != name}
        return replace(self, connected=MappingProxyType(others if instance is None else {**others, name: instance}))

    def is_reachable(self, spec: HookSpec) -> bool:
        """Whether a recover of this participant can be run now: of an application, while it is connected."""
        return not spec.is_application or spec.name in self.connected

    def without_hook(self, name: str) -> State:
        return replace(self, hooks=MappingProxyType({k: v for k, v in self.hooks.items() if k != name}))

    def claimed(self) -> bool:
        """Whether any announced event wants the applications to stay prepared."""
        return any(case.phase in CLAIMING and case.announced for case in self.cases.values())

    def awaits_clock(self) -> bool:
        """Whether an event waits for the clock, after an announced or an unannounced pause: no recover starts before,
        unless an operator asks for it."""
        is_early = any(case.phase is Phase.RECOVERING and case.is_recovered_early for case in self.cases.values())
        return not is_early and any(case.phase in (Phase.CHECKING_CLOCK, Phase.SETTLING)
                                    for case in self.cases.values())


Subject = Event | Pause | HookRun | ClockCheck | Outcome | None
"""What an entry happened to. An Outcome belongs to a case's phase `closed`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an event's record: what happened, why, and the noun it happened to."""

    event_id: str
    what: EntryKind | Phase
    note: str = ""
    subject: Subject = None     # what the record shows in full
