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
import tideover.lifecycle.polls as polls
import tideover.lifecycle.restarts as restarts
from tideover import observations as ob
from tideover.lifecycle.coordination import news_of, view_of
from tideover.lifecycle.state import (
    CLAIMING,
    Case,
    Entry,
    Phase,
    Stage,
    State,
    records_hook_runs,
    stopped_the_machine,
)
from tideover.lifecycle.transition import Transition, clock_note, pause_note
from tideover.model import (
    Cause,
    EntryKind,
    Event,
    HookOutcome,
    HookReport,
    HookRun,
    Kind,
    Moment,
    Pause,
)
from tideover.policy import Policy

# --- Pauses: which event a pause belongs to, and pauses without an event

def on_resume(transition: Transition, seen: ob.Resumed) -> None:
    """A pause belongs to every event that may have caused it; one that no event can explain is a case of its own."""
    pause = seen.pause
    transition.state = hook_stages.extend(transition.state, pause)
    taking = [case for case in transition.state.cases.values() if _takes(case, pause)]
    for case in taking:
        transition.record(case.id, EntryKind.PAUSE, pause_note(pause), pause)
        if cases.seen_to_start(case, pause):
            transition.record(case.id, EntryKind.STARTED, "a pause shows that it has started",
                              replace(case.event, started=True))
        transition.move(case, cases.Paused(pause), "")
    if taking:
        return
    if stopped_the_machine(pause) and transition.policy.recover_unannounced:
        _open_case(transition, pause)
    else:
        transition.record("", EntryKind.PAUSE, pause_note(pause), pause)


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
    transition.record(event.id, EntryKind.PAUSE, pause_note(pause), pause)
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
    if case is None or seen.attempt != case.ack_attempts:
        return
    if case.acknowledged:
        if seen.outcome is ob.AckOutcome.ACCEPTED:      # a second one: another machine's had been read meanwhile
            transition.record(case.id, ACKNOWLEDGEMENT_ENTRIES[seen.outcome], seen.reason)
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
    view = view_of(case, seen.view)
    for kind, note in news_of(case, view):
        transition.record(case.id, kind, note)
    was_acknowledged = case.acknowledged
    if transition.state.fresh or case.phase is Phase.WAITING_FOR_SLOT or view.result is not None:
        transition.move(case, cases.FleetNews(view), _note_of(case, view))
    else:       # nothing is acknowledged before a document shows that the event is still there
        known = cases.remember(case, cases.FleetNews(view), transition.policy, transition.now)
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
        return coordination.NO_SLOT if view.is_reached else coordination.NO_STORE
    return ""


def on_fleet_left(transition: Transition, seen: ob.FleetLeft) -> None:
    left = tuple(one for one in transition.state.leaving if one.event_id != seen.event_id)
    if left != transition.state.leaving:
        transition.state = replace(transition.state, leaving=left)


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
    ob.Polled: polls.on_poll,
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
    ob.Restarted: restarts.on_restart,
    ob.AnotherVm: restarts.on_another_vm,
    ob.AcknowledgeRequested: manual.on_acknowledge_request,
    ob.ForgetRequested: manual.on_forget_request,
    ob.RecoverRequested: manual.on_recover_request,
    ob.StopRequested: manual.on_stop_request,
})
