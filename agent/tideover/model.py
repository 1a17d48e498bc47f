"""The nouns: kinds of events with their words and severity, events, hooks, pauses, outcomes, clock checks.
Values only.
"""
from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import overload

_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def fold_case(name: str) -> str:
    """Given an EventId, a VM's name or a VM's id, return the text by which two spellings of it are the same.

    Only ASCII letters lose their case: Azure varies no other, and `casefold` takes two names for one (ß and SS).
    """
    return name.translate(_LOWER)


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on two clocks: aware UTC for records, CLOCK_MONOTONIC_RAW seconds since boot for durations."""

    utc: datetime
    raw_s: float


class Kind(enum.Enum):
    """What is announced (or, for the last two, noticed without an announcement)."""

    FREEZE = "freeze"
    REBOOT = "reboot"
    REDEPLOY = "redeploy"
    PREEMPT = "preempt"
    TERMINATE = "terminate"
    UNKNOWN = "unknown"                  # a kind the platform added after we were built
    UNANNOUNCED = "unannounced"          # a pause of the VM without an event
    LIVE_MIGRATION = "live-migration"    # the physical host changed (Hyper-V on premises)


    @property
    def info(self) -> KindInfo:
        return KIND_INFO[self]


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What is known of one kind of event, wherever it is needed."""

    severity: int                       # an application prepared for one kind is prepared for all that are no harder
    noun: str                           # in a sentence: "the platform withdrew …"
    azure: str = ""                     # Azure's EventType; "": it announces none such
    notice_s: float | None = None       # Azure's shortest notice (Scheduled Events docs, Linux); None: none documented
    verb: str = ""                      # "the platform … this machine", where the machine is gone for it
    is_announced: bool = True           # by a platform
    ends_by_pause: bool = False         # the applications are still there after it; others end when they are removed
    deletes_machine: bool = False
    colour: str = "var(--edge)"         # of its columns in a report: a variable of html/style.css


KIND_INFO: Mapping[Kind, KindInfo] = MappingProxyType({
    Kind.FREEZE: KindInfo(1, "a freeze", "Freeze", 900.0, "froze", ends_by_pause=True, colour="var(--prepare)"),
    Kind.REBOOT: KindInfo(2, "a restart", "Reboot", 900.0, "restarted", colour="var(--rest)"),
    Kind.REDEPLOY: KindInfo(2, "a move to another host", "Redeploy", 600.0, "moved", colour="var(--check)"),
    Kind.PREEMPT: KindInfo(3, "a Spot eviction (Preempt)", "Preempt", 30.0, "evicted", deletes_machine=True,
                           colour="var(--bad)"),
    Kind.TERMINATE: KindInfo(3, "a deletion (Terminate)", "Terminate", 300.0, "deleted", deletes_machine=True,
                             colour="var(--soft)"),
    Kind.UNKNOWN: KindInfo(2, "a maintenance event of unknown kind", verb="restarted"),
    Kind.UNANNOUNCED: KindInfo(0, "an unannounced pause", is_announced=False, colour="var(--recover)"),
    Kind.LIVE_MIGRATION: KindInfo(1, "a live migration", is_announced=False, colour="var(--good)"),
})
"""One row for each kind. Its name on a platform without a row here, and what a simulator sends, stand with those."""

ANNOUNCED = frozenset(kind for kind in Kind if kind.info.is_announced)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the platform, as its document showed it last."""

    id: str                              # exactly as received: it is sent back so
    kind: Kind
    resources: tuple[str, ...]           # names of the VMs it concerns, exactly as received
    started: bool = False
    not_before: datetime | None = None   # aware UTC, by the platform's clock; None: absent, empty or unreadable
    expected_pause_s: float | None = None
    description: str = ""
    event_source: str = "platform"       # platform | user | anything newer, lower case
    source: str = "azure"
    takes_acknowledgement: bool = True   # whether its platform waits for one; if not, it starts in its own time
    extra: Mapping[str, str] = field(default_factory=dict)   # fields we do not know, as text, for the record
    notice_s: float | None = None        # in the row that noticed it: how far ahead NotBefore was, by the answer's Date
    odd_status: str | None = None        # a status that is neither Scheduled nor Started; None: it is one of them


RAW_KEPT = 64 * 1024     # characters of an answer


@dataclass(frozen=True, slots=True)
class Document:
    """One well-formed answer of a source: everything that is listed now, but for what was left out."""

    events: tuple[Event, ...]
    asked_raw_s: float                   # CLOCK_MONOTONIC_RAW when the request left
    received_raw_s: float                # … and when the answer was here
    incarnation: str = ""
    date: datetime | None = None         # the answer's own Date, aware UTC, whole seconds; None: not sent
    left_out: str = ""                   # which entries could not be used, and why; "": all are here
    moved: str = ""                      # what shows that this machine has moved to another host since; "": nothing
    about: Mapping[str, str] = field(default_factory=dict, compare=False)   # what else it says of this VM, for doctor
    raw: str = field(default="", compare=False, repr=False)     # the answer's beginning as it came, for the recording


@dataclass(frozen=True, slots=True)
class VmIdentity:
    """Who the platform says this VM is. `name` is what its events name; never the hostname."""

    name: str
    vm_id: str = ""              # survives a rename and a move, not a copy: tells a cloned image from its original


class HookPhase(enum.Enum):
    PREPARE = "prepare"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConditions:
    """When and how a hook is run: what its table in the configuration says of it and the journal keeps."""

    kinds: frozenset[Kind] = ANNOUNCED
    min_pause_s: float = 0.0
    timeout_s: float = 60.0
    required: bool = True
    user: str | None = None              # None: the agent's own
    umask: int = 0o022                   # as umask(2); without effect on Windows


@dataclass(frozen=True, slots=True)
class HookSpec(RunConditions):
    """One participant: a hook of the directory, or an application, with the configuration for it."""

    name: str
    order: int                           # NN of the file's name
    path: str
    refused: str | None = None           # why it must not be run; None: it may
    is_application: bool = False         # it takes part over the socket: no file is run, `user` says who may be it
    fails_absent: bool = False           # an application that is not connected when it is to prepare has failed


class HookOutcome(enum.Enum):
    DONE = "done"                        # exit status 0
    NOTHING = "nothing"                  # 3: nothing to do, nothing changed
    REFUSED = "refused"                  # 4, or a file we do not run: a failure that changed nothing
    NOT_YET = "not-yet"                  # 75
    FAILED = "failed"                    # any other, or a signal
    TIMED_OUT = "timed-out"
    STOPPED = "stopped"                  # ended by us, because its reason went away
    FORGOTTEN = "forgotten"              # a pending recovery that an operator has given up

    @property
    def is_failure(self) -> bool:
        return self in (HookOutcome.FAILED, HookOutcome.TIMED_OUT, HookOutcome.REFUSED)


@dataclass(frozen=True, slots=True)
class HookReport:
    """How one run of one hook ended."""

    outcome: HookOutcome
    exit_status: int | None              # None: never started, or ended by a signal
    started_at: datetime
    duration_s: float | None             # None: its end was not seen
    output: str = ""                     # the last 64 KiB of what it printed
    note: str = ""                       # why, for people, where the outcome alone does not say
    begun: bool = True                   # False: no process was started, so nothing can have changed


@dataclass(frozen=True, slots=True)
class HookRun:
    """One run of one hook that is over, for the record. `attempt`: which try of its phase it was, from 1."""

    name: str
    phase: HookPhase
    attempt: int
    report: HookReport
    limit_s: float | None = None         # the budget this run was given; None: an older journal did not keep it
    is_application: bool = False         # else a hook

    @property
    def started_at(self) -> datetime:
        return self.report.started_at

    @property
    def ended_at(self) -> datetime | None:
        """By the wall clock; None: its end was not seen."""
        took_s = self.report.duration_s
        return None if took_s is None else self.started_at + timedelta(seconds=took_s)

    @property
    def has_failed(self) -> bool:
        return self.report.outcome.is_failure


class Cause(enum.Enum):
    VM_PAUSE = "vm-pause"
    SUSPEND = "suspend"
    RESTART = "restart"
    PROCESS_STALL = "process-stall"
    CLOCK_STEP = "clock-step"


class Quality(enum.Enum):
    MEASURED = "measured"
    INFERRED = "inferred"
    BOUNDED = "bounded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pause:
    """One stretch in which this machine, or only this process, did not run; or one step of its wall clock."""

    id: str
    resumed_at: datetime
    resumed_raw_s: float
    length_s: float | None               # None: it happened, its length cannot be known
    uncertainty_s: float | None          # the truth lies in length_s ± uncertainty_s
    cause: Cause
    evidence: tuple[str, ...] = ()
    quality: Quality = Quality.MEASURED
    clocksource: tuple[str, str] | None = None    # before, after
    host: tuple[str, str] | None = None           # before, after

    @property
    def shown_uncertainty_s(self) -> float | None:
        """Return the uncertainty in whole milliseconds, for a length shown in milliseconds: rounded up, with what the
        length loses by its rounding. Only an exact length has 0."""
        if not self.uncertainty_s:
            return self.uncertainty_s
        lost_s = 0.0 if self.length_s is None else abs(self.length_s - round(self.length_s, 3))
        return max(1, math.ceil(round((self.uncertainty_s + lost_s) * 1000, 6))) / 1000     # float noise counts nothing


class EntryKind(enum.Enum):
    """What an entry of the journal's record says; an entry about a case's new phase has the phase in its place. The
    value is the word that the journal stores and the record's timeline shows."""

    NOTICED = "noticed"
    CHANGED = "changed"                                  # NotBefore moved
    STARTED = "event started"                                  # the document shows it Started
    REMOVED = "removed"
    LEFT_OUT = "events left out"                         # too many are listed at once
    LEFT_OUT_NO_MORE = "events no longer left out"
    PAUSE = "pause"
    PAUSE_EVIDENCE = "pause evidence"                    # what came to be known of a pause after it was recorded
    PREPARE_RUN = "hook prepare"                         # one run has ended
    RECOVER_RUN = "hook recover"
    PREPARE_INTERRUPTED = "hook prepare interrupted"     # the agent ended before the run did
    RECOVER_INTERRUPTED = "hook recover interrupted"
    RECOVER_FAILED = "recovery failed"                   # all its retries are used up
    MANUAL_ACK = "manual acknowledgement"                # by the command, without an agent; its answer follows
    ACK_ACCEPTED = "acknowledgement accepted"
    ACK_REFUSED = "acknowledgement refused"
    ACK_LOST = "acknowledgement lost"
    CLOCK_CHECKED = "clock"
    CLOCK_CONVERGENCE = "clock convergence"              # seen after the check, while it converges
    AGENT_RESTARTED = "agent restarted"
    MACHINE_RESTARTED = "restarted"
    VM_CHANGED = "vm changed"                            # the journal is another VM's: its events, recovered here
    FOUND_PREPARED = "found prepared"                    # by its private directory alone
    RECOVERY_IMPOSSIBLE = "recovery impossible"
    JOURNAL_UNWRITABLE = "journal unwritable"
    ACK_WITHHELD = "acknowledgement not sent"            # the fleet's store does not show that it may be
    ACK_BY_PEER = "acknowledged by another machine"      # of the fleet; the note names it
    SLOT_TAKEN = "slot granted"                          # of the fleet's group
    SLOT_WAITING = "slot waited for"
    SLOT_NOT_GRANTED = "slot not granted"                # it is entered all the same, so that others wait
    SLOT_RELEASED = "slot released"                      # by an operator
    SLOT_GIVEN_BACK = "slot given back"
    SLOT_TAKEN_OVER = "slot taken over"                  # of a machine that was silent
    FLEET_READY = "ready"                                # this machine, as its entry in the store says
    CLAIMED = "acknowledgement claimed"                  # this machine is the one that sends it
    TOO_LATE = "consent not taken back"                  # a claim is open
    WOULD_PREPARE = "would prepare"                      # [policy] mode is observe: what was not done, at its time
    WOULD_ACKNOWLEDGE = "would acknowledge"
    WOULD_RECOVER = "would recover"

    @classmethod
    def of_run(cls, phase: HookPhase, *, interrupted: bool = False) -> EntryKind:
        """Given the phase of a hook's run that is over, return the kind of its entry."""
        return cls(f"hook {phase.value}{' interrupted' if interrupted else ''}")


READY, NOT_READY, OVER = "ready", "not-ready", "over"
"""What a member of a fleet says of itself for an event that names several machines. `over`: it has recovered, and the
event is still listed."""


class Outcome(enum.Enum):
    """How an event ended."""

    RESUMED = "resumed"
    CANCELLED = "cancelled"
    RESTARTED = "restarted"
    MISSED = "missed"
    NOT_OURS = "not-ours"


class Verdict(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


NO_SOURCE = "no source"      # how ClockCheck.reason begins when there is no time source: nothing to wait for


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One valid answer of one time server. offset_s > 0: this machine is ahead."""

    at: datetime
    server: str
    offset_s: float
    delay_s: float
    error_bound_s: float | None = None   # the truth lies in offset_s ± error_bound_s if the server is right


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """What outside time says about this machine's clock. offset_s > 0: this machine is ahead."""

    verdict: Verdict
    offset_s: float | None = None
    error_bound_s: float | None = None   # the truth lies in offset_s ± error_bound_s
    checked_at: datetime | None = None
    good_after_s: float | None = None    # from the resume to the good verdict
    samples: tuple[ClockSample, ...] = ()
    reason: str = ""
    tolerance_s: float | None = None     # what it was judged against; None: nothing was measured


def utc(seconds: float) -> datetime:
    """Given seconds since the epoch, return the aware UTC moment."""
    return datetime.fromtimestamp(seconds, UTC)


def utc_if_any(seconds: float) -> datetime | None:
    """Given what another program says are seconds since the epoch, return the moment, None if it is none."""
    try:
        return utc(seconds)
    except (ValueError, OverflowError, OSError):
        return None


@overload
def utc_text(at: datetime) -> str: ...
@overload
def utc_text(at: None) -> None: ...
@overload
def utc_text(at: datetime | None) -> str | None: ...
def utc_text(at: datetime | None) -> str | None:
    """Given an aware moment, return it as the record writes it (2026-11-20T10:00:00.123Z); None stays None."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
