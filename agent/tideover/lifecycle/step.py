"""The step function: (state, observation) -> (state, record entries), with one handler for each kind of observation.
Pure.

What is wanted of the world is not returned: it follows from the new state alone (`desired`).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import tideover.lifecycle.case as cases
import tideover.lifecycle.coordination as coordination
import tideover.lifecycle.hook_stages as hook_stages
import tideover.lifecycle.manual as manual
from tideover import observations as ob
from tideover.humanize import length_text as seconds_text
from tideover.lifecycle.coordination import news_of, with_fleet
from tideover.lifecycle.hook_stages import start_raw_s
from tideover.lifecycle.state import (
    CLAIMING,
    OTHERS_AT_MOST,
    OWN_AT_MOST,
    RUNNING,
    AckState,
    Case,
    Entry,
    HookState,
    Phase,
    RecoveredBy,
    Stage,
    State,
    records_hook_runs,
    stopped_the_machine,
)
from tideover.lifecycle.transition import Transition
from tideover.model import (
    Cause,
    ClockCheck,
    Document,
    EntryKind,
    Event,
    HookOutcome,
    HookPhase,
    HookReport,
    HookRun,
    Kind,
    Moment,
    Pause,
    Quality,
    fold_case,
)
from tideover.policy import Policy, names_me

# --- Polls: what a document says of each event

DATE_MAY_BE_OFF_S = 3600.0
"""By how much the Date of an answer may differ from a clock known to be good before it is doubted (contract)."""


def on_poll(transition: Transition, seen: ob.Polled) -> None:
    """New events are taken before vanished ones: one preparation is handed on, also by a service that changes an
    event's id together with its status. A document that had to leave an entry out says of no event that it has gone,
    and of one that it lacks not that it is still there."""
    spelt = [one.id for one in seen.document.events]
    events = _in_known_spelling(transition, seen.document.events)
    whole, listed = not seen.document.left_out, {event.id for event in events}
    fresh = transition.state.fresh or whole or all(
        case.id in listed for case in transition.state.cases.values()
        if case.phase in (Phase.PREPARING, Phase.WAITING_FOR_PEERS, Phase.HELD, Phase.ACKNOWLEDGED))
    was_fresh = transition.state.fresh
    if transition.state.fresh != fresh or transition.state.me != seen.me:
        transition.state = replace(transition.state, fresh=fresh, me=seen.me)
    beyond = _beyond_bounds(transition, events, seen)
    _record_left_out(transition, len(beyond))
    for event, spelling in zip(events, spelt, strict=True):
        if event.id in beyond:
            continue
        case = transition.state.cases.get(event.id)
        if case is None or _is_news(transition, case, event):
            _first_sight(transition, event, seen)
        else:
            _seen_again(transition, case, event, seen)
        _note_spelling(transition, event.id, spelling)
    for case in list(transition.state.cases.values()):
        if whole and case.listed and case.id not in listed:
            transition.record(case.id, EntryKind.REMOVED, "" if case.began else "Started was never seen")
            transition.move(case, cases.Removed(), "the platform has removed the event")
    _refresh_fleet(transition)
    if fresh and not was_fresh:
        _take_known_views(transition)


def _take_known_views(transition: Transition) -> None:
    """The first document since the agent's start: what the fleet's store has shown meanwhile counts now."""
    for case in list(transition.state.cases.values()):
        is_waiting = case.phase in (Phase.WAITING_FOR_PEERS, Phase.HELD)
        if is_waiting and case.fleet is not None and case.fleet.view.is_reached:
            transition.move(case, cases.FleetNews(case.fleet.view))


def _refresh_fleet(transition: Transition) -> None:
    """What the configuration says of the fleet may have changed with a new start of the agent, or with the hooks."""
    for case in transition.state.cases.values():
        known = with_fleet(case, transition.policy, transition.state.me)
        if known is not case:
            transition.state = transition.state.with_case(known)
        if known.fleet is None and known.phase in (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_PEERS):
            prepared = cases.enter(known, Phase.PREPARING, transition.policy, transition.now)
            transition.enter_phase(known.phase, prepared, "[fleet] has no store any more")


def _is_news(transition: Transition, case: Case | None, event: Event) -> bool:
    return case is None or not case.listed or (case.phase is Phase.OBSERVED and _concerns(transition, event))


def _beyond_bounds(transition: Transition, events: list[Event], seen: ob.Polled) -> set[str]:
    """The new events for which there is no room: a document may list tens of thousands. What has begun comes before
    what is still to come, and among that the earliest NotBefore."""
    cases = transition.state.cases
    if len(cases) + len(events) <= OWN_AT_MOST:
        return set()
    own = sum(case.phase is not Phase.OBSERVED for case in cases.values())
    own_listed = sum(case.phase is not Phase.OBSERVED and case.listed for case in cases.values())
    news = [event for event in events if _is_news(transition, cases.get(event.id), event)]
    ours = sorted((event for event in news if _concerns(transition, event)),
                  key=lambda event: (not event.started, _due_raw_s(event, seen, transition.now) or 0.0))
    theirs = [event for event in news if not _concerns(transition, event)]
    room = max(0, min(OWN_AT_MOST - own_listed, 2 * OWN_AT_MOST - own))     # what has left may wait for others' claims
    room_of_others = max(0, OTHERS_AT_MOST - (len(cases) - own))
    return {event.id for event in (*ours[room:], *theirs[room_of_others:])}


def _record_left_out(transition: Transition, beyond: int) -> None:
    before = transition.state.beyond
    if before == beyond:
        return
    transition.state = replace(transition.state, beyond=beyond)
    if not before:
        transition.record("", EntryKind.LEFT_OUT,
                          f"{beyond} events of one document: at most {OWN_AT_MOST} of this VM are handled at once, the "
                          f"earliest NotBefore first, and {OTHERS_AT_MOST} others")
    elif not beyond:
        transition.record("", EntryKind.LEFT_OUT_NO_MORE, "there is room for all that are listed")


def _in_known_spelling(transition: Transition, events: tuple[Event, ...]) -> list[Event]:
    """EventIds are GUIDs, the same in any case: the first spelling seen stays a case's id."""
    if not events:
        return []
    known = {fold_case(event_id): event_id for event_id in (*_remembered(transition), *transition.state.cases)}
    return [replace(event, id=known.setdefault(fold_case(event.id), event.id)) for event in events]


def _note_spelling(transition: Transition, event_id: str, spelt: str) -> None:
    """An acknowledgement carries the id in the spelling of the newest document."""
    case = transition.state.cases.get(event_id)
    spelling = "" if spelt == event_id else spelt
    if case is not None and case.current_id != spelling:
        transition.state = transition.state.with_case(replace(case, current_id=spelling))


def _concerns(transition: Transition, event: Event) -> bool:
    return names_me(event, transition.state.me) and transition.policy.acts_on(event.kind)


def _remembered(transition: Transition) -> tuple[str, ...]:
    """The events that we had before, though there may be no case of theirs any more."""
    return (*transition.state.settled, *transition.state.over)


def _first_sight(transition: Transition, event: Event, seen: ob.Polled) -> None:
    case = Case(event, Phase.OBSERVED, due_raw_s=_due_raw_s(event, seen, transition.now),
                ack=AckState.ACCEPTED if event.id in transition.state.settled else AckState.OPEN)
    case = with_fleet(case, transition.policy, transition.state.me)
    left = tuple(one for one in transition.state.leaving if one.event_id != event.id)
    if left != transition.state.leaving:        # it is listed again before the fleet's store has let go of it
        transition.state = replace(transition.state, leaving=left)
    transition.record(event.id, EntryKind.NOTICED, _whose(transition, event),
                replace(event, notice_s=_notice_s(event, seen, transition.now)))
    if not _concerns(transition, event):
        transition.enter_phase(None, case, "")
    elif event.started:
        _started_at_sight(transition, case)
    else:
        start = start_raw_s(case, transition.policy)
        waits = cases.waits_for_slot(case, transition.policy, transition.now)
        at_once = Phase.WAITING_FOR_SLOT if waits else Phase.PREPARING
        phase = at_once if start is None or start <= transition.now.raw_s else Phase.SCHEDULED
        transition.enter_phase(None, cases.enter(case, phase, transition.policy, transition.now), "")


def _started_at_sight(transition: Transition, case: Case) -> None:
    """An event known from before that a document lacked for a moment goes on; only one never seen before was missed."""
    earlier = transition.state.cases.get(case.id)
    if earlier is not None and earlier.phase is not Phase.OBSERVED:
        again = cases.listed_again(earlier, case.event, transition.policy, transition.now)
        transition.enter_phase(earlier.phase, again, "it is listed again")
        return
    missed = case.id not in _remembered(transition)
    note = "it had started when it was first detected" if missed else "it is listed again"
    transition.enter_phase(None, replace(case, phase=Phase.STARTED, missed=missed), note)


def _whose(transition: Transition, event: Event) -> str:
    if not names_me(event, transition.state.me):
        return f"it concerns {', '.join(event.resources) or 'no VM by name'}, not {transition.state.me}"
    return "" if transition.policy.acts_on(event.kind) else f"{event.kind.value} is not in act_on"


def _seen_again(transition: Transition, case: Case, event: Event, seen: ob.Polled) -> None:
    if case.event.started and not event.started:
        return                                          # never backwards (Azure: Started stays until it is removed)
    if event.not_before != case.event.not_before and event.not_before is not None:
        transition.record(case.id, EntryKind.CHANGED, "NotBefore moved", event)
    due = _due_raw_s(event, seen, transition.now)
    moved = due is not None and (case.due_raw_s is None or abs(due - case.due_raw_s) > cases.DUE_MOVES_S)
    if moved:
        case = replace(case, due_raw_s=due)
        transition.state = transition.state.with_case(case)
    if not event.started:
        transition.move(case, cases.Scheduled(event, seen.document.asked_raw_s))
    elif not case.began:
        transition.record(case.id, EntryKind.STARTED, "the platform says Started", event)
        transition.move(case, cases.Began(replace(event, not_before=event.not_before or case.event.not_before)))


def date_ahead_s(document: Document, now: Moment) -> float | None:
    """Given a document, return by how many seconds its Date was ahead of our wall clock; None: it has no Date."""
    if document.date is None:
        return None
    return (document.date - now.utc).total_seconds() + now.raw_s - document.received_raw_s


def is_date_doubtful(seen: ob.Polled, now: Moment) -> bool:
    """Whether the Date of this answer is far from a clock that is known to be good."""
    ahead_s = date_ahead_s(seen.document, now)
    return seen.clock_is_good and ahead_s is not None and abs(ahead_s) > DATE_MAY_BE_OFF_S


def _notice_s(event: Event, seen: ob.Polled, now: Moment) -> float | None:
    """How far ahead it is announced: by the answer's own Date, or by our clock where that is known to be good and the
    Date is far from it. Our clock alone may be wrong."""
    date = now.utc if is_date_doubtful(seen, now) else seen.document.date
    if event.started:
        return 0.0
    if event.not_before is None or date is None:
        return None
    return max(0.0, (event.not_before - date).total_seconds())


def _due_raw_s(event: Event, seen: ob.Polled, now: Moment) -> float | None:
    """NotBefore is the platform's time: its distance from the answer's own Date is what counts, our clock only where
    there is none. Where a good clock is far from that Date it is not known which one is right, and the nearer
    start counts: to prepare too early costs little."""
    if event.not_before is None:
        return None
    by_our_clock = now.raw_s + (event.not_before - now.utc).total_seconds()
    ahead_s = date_ahead_s(seen.document, now)
    if ahead_s is None:
        return by_our_clock
    by_date = by_our_clock - ahead_s
    return min(by_date, by_our_clock) if is_date_doubtful(seen, now) else by_date


# --- Pauses: which event a pause belongs to, and pauses without an event

def on_resume(transition: Transition, seen: ob.Resumed) -> None:
    """A pause belongs to every event that may have caused it; one that no event can explain is a case of its own."""
    pause = seen.pause
    transition.state = hook_stages.extend(transition.state, pause)
    taking = [case for case in transition.state.cases.values() if _takes(case, pause)]
    for case in taking:
        transition.record(case.id, EntryKind.PAUSE, length_text(pause), pause)
        if cases.seen_to_start(case, pause):
            transition.record(case.id, EntryKind.STARTED, "a pause shows that it has started",
                              replace(case.event, started=True))
        transition.move(case, cases.Paused(pause), "")
    if taking:
        return
    if stopped_the_machine(pause) and transition.policy.recover_unannounced:
        _open_case(transition, pause)
    else:
        transition.record("", EntryKind.PAUSE, length_text(pause), pause)


def on_pause_proved(transition: Transition, seen: ob.PauseProved) -> None:
    """Evidence moves nothing: what a pause is, and whose, was decided when it was reported."""
    proved, note = seen.pause, seen.pause.evidence[-1]
    having = [case for case in transition.state.cases.values() if any(known.id == proved.id for known in case.pauses)]
    for case in having:
        pauses = tuple(replace(known, evidence=proved.evidence, host=proved.host) if known.id == proved.id else known
                       for known in case.pauses)
        transition.state = transition.state.with_case(replace(case, pauses=pauses))
        transition.record(case.id, EntryKind.PAUSE_EVIDENCE, note, proved)
    if not having:
        transition.record("", EntryKind.PAUSE_EVIDENCE, note, proved)


def _open_case(transition: Transition, pause: Pause) -> None:
    """An unannounced pause: a case of its own, which checks the clock and recovers the hooks that ask for its kind."""
    event = _event_of(transition, pause)
    transition.record(event.id, EntryKind.NOTICED, "it was not announced", event)
    transition.record(event.id, EntryKind.PAUSE, length_text(pause), pause)
    case = cases.remember(Case(event, Phase.CHECKING_CLOCK, listed=False), cases.Paused(pause),
                          transition.policy, transition.now)
    transition.enter_phase(None, cases.enter(case, Phase.CHECKING_CLOCK, transition.policy, transition.now), "")


def _event_of(transition: Transition, pause: Pause) -> Event:
    """Another physical host afterwards: a live migration (Hyper-V names the host to its guests)."""
    kind, description = Kind.UNANNOUNCED, "an unannounced pause of this machine"
    if pause.host is not None:
        kind, description = Kind.LIVE_MIGRATION, f"moved from host {pause.host[0]} to host {pause.host[1]}"
    return Event(pause.id, kind, (transition.state.me,), started=True, event_source="none", source="none",
                 description=description)


def _takes(case: Case, pause: Pause) -> bool:
    """A step of the clock is no event's pause, but makes a verdict on the clock outdated where a recover hook is still
    to get it; what is neither prepared nor started cannot have caused a pause, and a stall of our own says nothing of
    an event that was withdrawn."""
    if pause.cause is Cause.CLOCK_STEP:
        return case.phase in (Phase.SETTLING, Phase.RECOVERING)
    if any(known.id == pause.id for known in case.pauses):
        return False
    if not (stopped_the_machine(pause) or case.listed or case.has_begun):
        return False
    if case.phase in CLAIMING:
        return True
    return case.phase in (Phase.RECOVERING, Phase.RECOVERED)


def length_text(pause: Pause) -> str:
    if pause.length_s is None or pause.shown_uncertainty_s is None:
        return f"{pause.cause.value}, length unknown"
    return f"{pause.cause.value} of {pause.length_s:.3f} s ± {pause.shown_uncertainty_s:.3f} s"


# --- Results of effects; each counts only while it is expected

NOT_YET_OUTPUT_KEPT = 4096
"""Of the output of a run that ended with "not yet": there may be one a second for an hour, and each run gets the record
of all before it."""

ACKNOWLEDGEMENT_ENTRIES: Mapping[ob.AckOutcome, EntryKind] = MappingProxyType({
    ob.AckOutcome.ACCEPTED: EntryKind.ACK_ACCEPTED, ob.AckOutcome.REFUSED: EntryKind.ACK_REFUSED,
    ob.AckOutcome.LOST: EntryKind.ACK_LOST, ob.AckOutcome.WITHHELD: EntryKind.ACK_WITHHELD,
})


def on_poll_failed(transition: Transition, seen: ob.PollFailed) -> None:
    """No document says nothing about any event."""


def on_hook_settled(transition: Transition, seen: ob.HookSettled) -> None:
    after = hook_stages.settle_hook(transition.state, seen, transition.now)
    if after is transition.state:
        return
    before = transition.state.hooks[seen.name]
    run = HookRun(seen.name, seen.phase, before.attempt, _shortened(seen.report), before.limit_s,
                  before.spec.is_application)
    for case in transition.state.cases.values():
        if records_hook_runs(case):
            transition.record(case.id, EntryKind.of_run(seen.phase), f"{seen.name}: {seen.report.outcome.value}", run)
    transition.state = after
    hook = after.hooks.get(seen.name)
    if hook is not None and hook.stage is Stage.RECOVER_FAILED:
        for case in after.cases.values():
            if case.phase is Phase.RECOVERING:
                transition.record(case.id, EntryKind.RECOVER_FAILED,
                            f"{seen.name} failed {hook.failures} times; an operator must act")


def on_application_connected(transition: Transition, seen: ob.ApplicationConnected) -> None:
    transition.state = hook_stages.connect_application(transition.state, seen.name, seen.instance)
    _prepare_new_instances(transition)


def on_application_gone(transition: Transition, seen: ob.ApplicationGone) -> None:
    transition.state = transition.state.with_connected(seen.name, None)


def _prepare_new_instances(transition: Transition) -> None:
    """An application was prepared, or was not there, and another instance of it is connected now: it prepares while the
    event has not started, also if that was acknowledged meanwhile. Later it is asked to recover, as all are."""
    for name in hook_stages.unprepared_applications(transition.state):
        waiting = [case for case in transition.state.cases.values()
                   if case.id in transition.state.hooks[name].wanted_by and not case.has_begun
                   and case.phase in (Phase.PREPARING, Phase.WAITING_FOR_PEERS, Phase.HELD, Phase.ACKNOWLEDGED)]
        if not waiting or transition.policy.observes:
            continue
        transition.state = hook_stages.prepare_again(transition.state, name)
        for case in waiting:
            if case.phase is not Phase.PREPARING:
                prepared = cases.enter(case, Phase.PREPARING, transition.policy, transition.now)
                transition.enter_phase(case.phase, prepared, f"another instance of {name} is connected")


def _shortened(report: HookReport) -> HookReport:
    if report.outcome is not HookOutcome.NOT_YET:
        return report
    return replace(report, output=report.output[-NOT_YET_OUTPUT_KEPT:])


def on_acknowledgement_settled(transition: Transition, seen: ob.AckSettled) -> None:
    case = transition.state.cases.get(seen.event_id)
    if case is None or seen.attempt != case.ack_attempts or case.acknowledged:
        return
    if seen.outcome is ob.AckOutcome.ACCEPTED:
        transition.state = transition.state.with_settled(case.id)
    elif case.phase is not Phase.ACKNOWLEDGING:
        return                                          # it is not waited for, and it did not count
    transition.record(case.id, ACKNOWLEDGEMENT_ENTRIES[seen.outcome], seen.reason)
    transition.move(case, cases.AckAnswered(seen.outcome, seen.reason), seen.reason)
    _prepare_new_instances(transition)


def on_clock_judged(transition: Transition, seen: ob.ClockJudged) -> None:
    case = transition.state.cases.get(seen.event_id)
    if case is None or case.phase is not Phase.CHECKING_CLOCK or seen.round != case.check_round:
        return
    check = seen.check
    transition.record(case.id, EntryKind.CLOCK_CHECKED, clock_note(check), check)
    transition.move(case, cases.ClockChecked(check), "[clock] on_deadline is hold: waiting for a good clock"
              if transition.policy.must_wait_for(check) else "")


def clock_note(check: ClockCheck) -> str:
    return ": ".join(filter(None, (check.verdict.value, check.reason)))


def on_clock_followed(transition: Transition, seen: ob.ClockFollowed) -> None:
    transition.record(seen.event_id, EntryKind.CLOCK_CONVERGENCE,
                ": ".join(filter(None, (seen.state, seen.check.reason))), seen.check)


def on_timer(transition: Transition, seen: ob.Due) -> None:
    """A case that waited for this moment moves; a hook that is due starts in `run_to_completion`."""
    case = transition.state.cases.get(seen.key.removeprefix("case:").removeprefix("pass:"))
    if case is None:
        return
    wake_raw_s = math.inf if case.wake_raw_s is None else case.wake_raw_s
    if min(wake_raw_s, cases.passes_on_raw_s(case)) <= transition.now.raw_s:
        transition.move(case, cases.TimerElapsed())


def on_fleet_seen(transition: Transition, seen: ob.FleetSeen) -> None:
    case = transition.state.cases.get(seen.event_id)
    if case is None or case.fleet is None:
        return
    for kind, note in news_of(case, seen.view):
        transition.record(case.id, kind, note)
    was_acknowledged = case.acknowledged
    if transition.state.fresh or case.phase is Phase.WAITING_FOR_SLOT or seen.view.result is not None:
        transition.move(case, cases.FleetNews(seen.view), _note_of(case, seen.view))
    else:       # nothing is acknowledged before a document shows that the event is still there
        known = cases.remember(case, cases.FleetNews(seen.view), transition.policy, transition.now)
        transition.state = transition.state.with_case(known)
    after = transition.state.cases.get(case.id)
    if after is not None and after.acknowledged and not was_acknowledged:
        transition.state = transition.state.with_settled(case.id)


def _note_of(case: Case, view: ob.FleetView) -> str:
    """Why the fleet's news move a case, for its record."""
    if view.result is not None:
        return f"by {view.claimed_by}" if view.result == cases.TAKEN else \
            f"the platform refused the acknowledgement of {view.claimed_by} (status {view.result})"
    if case.phase is Phase.WAITING_FOR_SLOT and view.slot is not ob.SlotState.GRANTED:
        return coordination.NO_SLOT if view.is_reached else "the fleet's store cannot be reached"
    return ""


def on_fleet_left(transition: Transition, seen: ob.FleetLeft) -> None:
    left = tuple(one for one in transition.state.leaving if one.event_id != seen.event_id)
    if left != transition.state.leaving:
        transition.state = replace(transition.state, leaving=left)


# --- Starts of the agent or the machine, and manual commands

CUT_SHORT = "the agent ended during the run"
"""Of a run whose end the agent did not live to see. Whatever it left was ended before anything was begun again."""


def on_restart(transition: Transition, seen: ob.Restarted) -> None:
    """What ran has been ended by now. Another boot id: the applications have restarted too."""
    rebooted = bool(transition.state.boot_id) and transition.state.boot_id != seen.boot_id
    _record_interrupted_runs(transition)
    runs = transition.state.runs or seen.runs_from
    booted = replace(transition.state, boot_id=seen.boot_id, fresh=False, runs=runs)
    transition.state = hook_stages.resume_after_restart(booted, transition.now)
    if rebooted:
        transition.state = hook_stages.forget_preparation(transition.state)
    for case in list(transition.state.cases.values()):
        if rebooted:
            _take_reboot(transition, case, seen)
        else:
            transition.move(case, cases.AgentRestarted(), "the agent was restarted")
    for case in list(transition.state.cases.values()):
        _prepare_if_only_observed(transition, case)
    _refresh_fleet(transition)
    known = frozenset(transition.state.cases)
    for witness in seen.found:
        _take_witness(transition, witness, seen.boot_id, known)


def _prepare_if_only_observed(transition: Transition, case: Case) -> None:
    """[policy] mode is act, and was observe when this event would have been prepared: it is prepared now, once a
    document still shows it."""
    if case.observed_only and not transition.policy.observes and case.phase in (Phase.PREPARING, Phase.HELD):
        prepared = cases.enter(case, Phase.PREPARING, transition.policy, transition.now)
        transition.enter_phase(None, prepared, "[policy] mode is act again")


def _take_witness(transition: Transition, witness: ob.Witness, boot_id: str, known_events: frozenset[str]) -> None:
    """What has a private directory was prepared. Where the journal lost that, or is one of before, the directory says
    it: the clock is checked, then the hook is recovered. Directories that name one event which the journal does not
    know are of one event."""
    name = witness.name
    known = transition.state.hooks.get(name)
    if known is not None:
        if not known.needs_recover and known.stage is not Stage.PREPARED:      # that run reported "nothing changed"
            transition.state = transition.state.with_hook(replace(known, needs_recover=True))
        return
    spec = next((one for one in transition.policy.hooks if one.name == name), witness.spec)
    if spec is None:
        transition.record("", EntryKind.RECOVERY_IMPOSSIBLE,
                          f"{name} has a state directory, so it was prepared, but neither the journal nor a hook of "
                          "that name tells how to recover it")
        return
    is_usable = witness.event_id and witness.event_id not in known_events
    event_id = witness.event_id if is_usable else f"found-{name}"
    event = Event(event_id, witness.kind, (transition.state.me,) if transition.state.me else (), started=True,
                  event_source="none", source="none",
                  description="prepared, by the state directory of its hook; unknown to the journal")
    note = f"{name}: it has a state directory that is unknown to the journal"
    transition.record(event_id, EntryKind.FOUND_PREPARED, note, event)
    transition.state = transition.state.with_hook(
        HookState(spec, Stage.RECOVER_PENDING, needs_recover=True, event_id=event_id, kind=witness.kind))
    if event_id not in transition.state.cases:
        case = Case(event, Phase.CHECKING_CLOCK, listed=False, rebooted=witness.boot_id not in ("", boot_id))
        checked = cases.enter(case, Phase.CHECKING_CLOCK, transition.policy, transition.now)
        transition.enter_phase(None, checked, "recovery is pending")


def became_another_vm(transition: Transition, seen: ob.AnotherVm) -> None:
    """The history is the other VM's, and so are its events. What it had prepared lies on this disk as well and stays
    pending: it is recovered as after a restart."""
    before = dict(transition.state.cases)
    hooks = {name: replace(hook, reason="restarted") for name, hook in transition.state.hooks.items()}
    transition.state = replace(transition.state, cases=MappingProxyType({}), hooks=MappingProxyType(hooks),
                               settled=(), over=(), beyond=0)
    for case in before.values():
        if case.phase not in CLAIMING and case.phase is not Phase.RECOVERING:
            continue
        note = "this disk belongs to another VM now; prepared hooks are recovered"
        transition.record(case.id, EntryKind.VM_CHANGED, note, case.event)
        left = replace(cases.remember(case, cases.Rebooted(), transition.policy, transition.now), listed=False)
        if left.is_recovered_early:
            left = replace(left, recovered_by=RecoveredBy.OPERATOR)     # the event is not listed for this VM: not again
        if case.phase is not Phase.RECOVERING:
            left = cases.enter(left, Phase.CHECKING_CLOCK, transition.policy, transition.now)
        transition.enter_phase(None, left, "this disk belongs to another VM now")


def _record_interrupted_runs(transition: Transition) -> None:
    """The previous agent did not see the end of its runs: the record says so."""
    for case in transition.state.cases.values():
        if case.phase is not Phase.OBSERVED:
            transition.record(case.id, EntryKind.AGENT_RESTARTED)
        if records_hook_runs(case):
            for name, hook in transition.state.hooks.items():
                if hook.stage in RUNNING and not (hook.spec.is_application and hook.stage is not Stage.STOPPING):
                    run = _cut_short(name, hook)
                    transition.record(case.id, EntryKind.of_run(_phase_of(hook), interrupted=True),
                                f"{name}: {CUT_SHORT}", run)


def _cut_short(name: str, hook: HookState) -> HookRun | None:
    """The run as far as it is known: its end, its status and its output are not."""
    if hook.begun_at is None:
        return None
    report = HookReport(HookOutcome.STOPPED, None, hook.begun_at, None, note=CUT_SHORT)
    return HookRun(name, _phase_of(hook), hook.attempt, report, hook.limit_s, hook.spec.is_application)


def _phase_of(hook: HookState) -> HookPhase:
    return HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE


def _take_reboot(transition: Transition, case: Case, seen: ob.Restarted) -> None:
    transition.record(case.id, EntryKind.MACHINE_RESTARTED, "the machine has restarted")
    transition.move(case, cases.Rebooted(), "the machine has restarted")
    after = transition.state.cases.get(case.id)
    if after is not None and after.phase is Phase.PREPARING:
        # Also what had been prepared: that was in another boot.
        transition.state = hook_stages.claim(transition.state, after, transition.policy)
    if after is not None and seen.down_s is not None and after.phase is not Phase.OBSERVED:
        pause = Pause(f"restart-{seen.boot_id}", transition.now.utc, transition.now.raw_s, None, None, Cause.RESTART,
                      ("another boot id; by the wall clock, which no time server has confirmed, the old boot's last "
                       f"row is {seconds_text(round(seen.down_s))} old",), Quality.UNKNOWN)
        transition.record(case.id, EntryKind.PAUSE, length_text(pause), pause)
        transition.state = transition.state.with_case(replace(after, pauses=(*after.pauses, pause)))


def on_recover_request(transition: Transition, seen: ob.RecoverRequested) -> None:
    transition.state = hook_stages.retry_failed_recovers(transition.state, transition.now)
    for case in list(transition.state.cases.values()):
        if case.phase in CLAIMING and seen.event_id in (None, case.id):
            if seen.clock is not None:
                transition.record(case.id, EntryKind.CLOCK_CHECKED, clock_note(seen.clock), seen.clock)
                case = replace(case, clock=seen.clock)
            transition.move(case, cases.ManualRecover(stopping=False), seen.because)


def on_stop_request(transition: Transition, seen: ob.StopRequested) -> None:
    for case in list(transition.state.cases.values()):
        if case.phase in CLAIMING:
            transition.move(case, cases.ManualRecover(stopping=True), "the service is being stopped")


# --- The step

@dataclass(frozen=True, slots=True)
class Step:
    """Where we are now, and what the record says of how we came here."""

    state: State
    entries: tuple[Entry, ...] = ()


def step(state: State, seen: ob.Observation, policy: Policy, now: Moment) -> Step:
    """Given where we are, what we saw and when, return where we are now.

    An answer that is not waited for, or an observation that says nothing new, returns the state unchanged.
    """
    transition = Transition(state, policy, now)
    HANDLERS[type(seen)](transition, seen)
    transition.run_to_completion()
    return Step(transition.state, tuple(transition.entries))


HANDLERS: Mapping[type[Any], Callable[[Transition, Any], None]] = MappingProxyType({
    ob.Polled: on_poll,
    ob.PollFailed: on_poll_failed,
    ob.HookSettled: on_hook_settled,
    ob.ApplicationConnected: on_application_connected,
    ob.ApplicationGone: on_application_gone,
    ob.AckSettled: on_acknowledgement_settled,
    ob.FleetSeen: on_fleet_seen,
    ob.FleetLeft: on_fleet_left,
    ob.ClockJudged: on_clock_judged,
    ob.ClockFollowed: on_clock_followed,
    ob.Due: on_timer,
    ob.Resumed: on_resume,
    ob.PauseProved: on_pause_proved,
    ob.Restarted: on_restart,
    ob.AnotherVm: became_another_vm,
    ob.AcknowledgeRequested: manual.on_acknowledge_request,
    ob.ForgetRequested: manual.on_forget_request,
    ob.RecoverRequested: on_recover_request,
    ob.StopRequested: on_stop_request,
})
