"""Which metric counts or measures what the engine did. Pure.

Labels are bounded: kinds, causes and outcomes are ours, hooks' names are the owner's files. No event's id is one.
"""
from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tideover.lifecycle import Case, Entry, Phase, State
from tideover.lifecycle.state import ends_an_event
from tideover.model import Cause, ClockCheck, EntryKind, HookRun, Kind, Moment, Outcome, Pause

LEFT_ALONE = "left-alone"
"""The outcome of an event that was only watched: another VM's, or of a kind outside act_on."""

OUTCOMES = ("resumed", "cancelled", "restarted", "missed", LEFT_ALONE)
ACKNOWLEDGEMENTS: Mapping[EntryKind | Phase, str] = MappingProxyType({
    EntryKind.ACK_ACCEPTED: "accepted", EntryKind.ACK_REFUSED: "refused", EntryKind.ACK_LOST: "lost",
})
"""The label for each answer of the platform."""

STANDSTILLS = frozenset({Cause.VM_PAUSE, Cause.SUSPEND})
PREPARED = frozenset({Phase.WAITING_FOR_PEERS, Phase.ACKNOWLEDGING, Phase.HELD, Phase.ACKNOWLEDGED})
REMEMBERED = 100
"""So many events whose clock was not good are remembered, in case it is found good later."""


class CounterName(enum.Enum):
    """What is counted. The value is the metric's name."""

    EVENTS = "tideover_events_total"
    HOOK_RUNS = "tideover_hook_runs_total"
    ACKNOWLEDGEMENTS = "tideover_acknowledgements_total"
    PAUSES = "tideover_pauses_total"
    FLEET_ACKNOWLEDGEMENTS = "tideover_fleet_acknowledgements_total"
    FLEET_TAKEOVERS = "tideover_fleet_takeovers_total"


class HistogramName(enum.Enum):
    """What is measured, in seconds. The value is the metric's name."""

    PAUSE = "tideover_pause_seconds"
    NOTICE = "tideover_notice_seconds"
    PREPARATION = "tideover_preparation_seconds"
    GOOD_CLOCK = "tideover_time_to_good_clock_seconds"
    FLEET_SLOT_WAIT = "tideover_fleet_slot_wait_seconds"


@dataclass(frozen=True, slots=True)
class Counted:
    """One more of this."""

    tally: CounterName
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """This took so long."""

    span: HistogramName
    seconds: float


MetricUpdate = Counted | Measured


@dataclass(frozen=True, slots=True)
class PendingTimes:
    """What a later entry will be measured from. It does not outlive the agent: what began before is not measured."""

    preparing_since_raw_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    waiting_since_raw_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))     # for a slot
    clock_not_good: tuple[str, ...] = ()      # events whose check ended without a good clock


def kind_word(is_application: bool) -> str:
    """Return the `kind` of a participant, as in the record."""
    return "application" if is_application else "hook"


def updates_of(unfinished: PendingTimes, before: State, after: State, entries: Sequence[Entry],
               now: Moment) -> tuple[PendingTimes, tuple[MetricUpdate, ...]]:
    """Given what is unfinished and one step of the lifecycle, return what is unfinished now and what it adds."""
    changes: list[MetricUpdate] = []
    seen: set[object] = set()
    for entry in entries:
        case = after.cases.get(entry.event_id) or before.cases.get(entry.event_id)
        key = _once_for_all_events(entry.subject)
        if key is None or key not in seen:
            changes += _plain_changes(entry, case, before, now)
        seen.add(key)
        unfinished, measured = _measured(unfinished, entry, after, now)
        changes += measured
    return unfinished, tuple(changes)


def _once_for_all_events(subject: object) -> object:
    """A run and a pause stand in the record of each event they belong to, and happened once."""
    match subject:
        case HookRun(name, phase):
            return name, phase
        case Pause(id=pause_id):
            return pause_id
        case _:
            return None


def _plain_changes(entry: Entry, case: Case | None, before: State, now: Moment) -> Iterator[MetricUpdate]:
    match entry.subject:
        case HookRun(name, phase, _, report) as run:
            kind = kind_word(run.is_application)
            yield Counted(CounterName.HOOK_RUNS, (name, kind, phase.value, report.outcome.value))
        case Pause() as pause if entry.what is not EntryKind.PAUSE_EVIDENCE:
            announced = case is not None and case.announced
            yield Counted(CounterName.PAUSES, (pause.cause.value, str(announced).lower()))
            if pause.length_s is not None and _stood_still(pause, case):
                yield Measured(HistogramName.PAUSE, pause.length_s)
    if entry.what is Phase.CLOSED:
        yield Counted(CounterName.EVENTS, _kind_and_outcome(entry, before))
    elif entry.what in ACKNOWLEDGEMENTS:
        yield Counted(CounterName.ACKNOWLEDGEMENTS, (ACKNOWLEDGEMENTS[entry.what],))
    if case is not None and case.fleet is not None:
        yield from _fleet_changes(entry, case)
    if entry.what is EntryKind.NOTICED and case is not None and _has_notice(case):
        yield Measured(HistogramName.NOTICE, max(0.0, (case.due_raw_s or 0.0) - now.raw_s))


SENT, BY_PEER, WITHHELD = "sent", "by-peer", "withheld"
FLEET_ANSWERS: Mapping[EntryKind | Phase, str] = MappingProxyType({
    EntryKind.ACK_ACCEPTED: SENT, EntryKind.ACK_BY_PEER: BY_PEER, Phase.HELD: WITHHELD})
OF_SLOT, OF_CLAIM = "slot", "claim"


def _fleet_changes(entry: Entry, case: Case) -> Iterator[MetricUpdate]:
    """Of an event that the fleet has to do with: who acknowledged it, and what this machine took over."""
    assert case.fleet is not None
    if entry.what in FLEET_ANSWERS:
        yield Counted(CounterName.FLEET_ACKNOWLEDGEMENTS, (FLEET_ANSWERS[entry.what],))
    elif entry.what is EntryKind.SLOT_TAKEN_OVER:
        yield Counted(CounterName.FLEET_TAKEOVERS, (OF_SLOT,))
    elif entry.what is EntryKind.CLAIMED and case.fleet.view.claim > 1:
        yield Counted(CounterName.FLEET_TAKEOVERS, (OF_CLAIM,))


def _stood_still(pause: Pause, case: Case | None) -> bool:
    """The machine did; or the agent did so long, during an event, that it counts as that event's pause. A restart of
    the machine is no pause, and its length is only bounded."""
    return pause.cause in STANDSTILLS or (pause.cause is Cause.PROCESS_STALL and case is not None
                                          and ends_an_event(pause))


def _kind_and_outcome(entry: Entry, before: State) -> tuple[str, str]:
    case = before.cases.get(entry.event_id)
    kind = case.event.kind if case else Kind.UNKNOWN
    watched = case is not None and case.phase is Phase.OBSERVED
    return kind.value, LEFT_ALONE if watched or not isinstance(entry.subject, Outcome) else entry.subject.value


def _has_notice(case: Case) -> bool:
    """Ours, and seen before it began: what was first seen Started may have been announced while no agent ran."""
    return case.phase is not Phase.OBSERVED and not case.began and case.due_raw_s is not None


def _measured(unfinished: PendingTimes, entry: Entry, after: State, now: Moment) -> tuple[PendingTimes,
                                                                                          list[MetricUpdate]]:
    if isinstance(entry.subject, ClockCheck):
        return _clock(unfinished, entry.event_id, entry.what is EntryKind.CLOCK_CHECKED, entry.subject)
    if isinstance(entry.what, Phase):
        unfinished, waited = _slot_wait(unfinished, entry, now)
        unfinished, prepared = _preparation(unfinished, entry, after, now)
        return unfinished, [*waited, *prepared]
    return unfinished, []


def _slot_wait(unfinished: PendingTimes, entry: Entry, now: Moment) -> tuple[PendingTimes, list[MetricUpdate]]:
    """From the first look for a slot to the next phase, with a slot or without."""
    since = dict(unfinished.waiting_since_raw_s)
    begun_raw_s = since.pop(entry.event_id, None)
    if entry.what is Phase.WAITING_FOR_SLOT:
        since[entry.event_id] = now.raw_s if begun_raw_s is None else begun_raw_s
    elif begun_raw_s is None:
        return unfinished, []
    measured: list[MetricUpdate] = []
    if begun_raw_s is not None and entry.what is not Phase.WAITING_FOR_SLOT:
        measured.append(Measured(HistogramName.FLEET_SLOT_WAIT, now.raw_s - begun_raw_s))
    return replace(unfinished, waiting_since_raw_s=MappingProxyType(since)), measured


def _preparation(unfinished: PendingTimes, entry: Entry, after: State, now: Moment) -> tuple[PendingTimes,
                                                                                             list[MetricUpdate]]:
    """From the first prepare wanted to the last one settled. One that was cut short, or had no hook, is not measured:
    it says nothing of how long the hooks need."""
    since = dict(unfinished.preparing_since_raw_s)
    begun_raw_s = since.pop(entry.event_id, None)
    if entry.what is Phase.PREPARING:
        since[entry.event_id] = now.raw_s
    elif begun_raw_s is None:
        return unfinished, []
    measured: list[MetricUpdate] = []
    had_hooks = any(entry.event_id in hook.wanted_by for hook in after.hooks.values())
    if begun_raw_s is not None and entry.what in PREPARED and had_hooks:
        measured.append(Measured(HistogramName.PREPARATION, now.raw_s - begun_raw_s))
    return replace(unfinished, preparing_since_raw_s=MappingProxyType(since)), measured


def _clock(unfinished: PendingTimes, event_id: str, is_verdict: bool,
           check: ClockCheck) -> tuple[PendingTimes, list[MetricUpdate]]:
    """Once for each check: by its verdict, or by what was seen when the clock was watched on."""
    waits = is_verdict or event_id in unfinished.clock_not_good
    others = tuple(other for other in unfinished.clock_not_good if other != event_id)
    if waits and check.good_after_s is not None:
        return replace(unfinished, clock_not_good=others), [Measured(HistogramName.GOOD_CLOCK, check.good_after_s)]
    if is_verdict:
        return replace(unfinished, clock_not_good=(*others, event_id)[-REMEMBERED:]), []
    return unfinished, []
