"""The one door of the decision: (state, observation) -> (state, entries for the record).

What is wanted of the world is not returned: it follows from the new state alone (`wants`).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from tideover import observations as ob
from tideover.lifecycle import case as life
from tideover.lifecycle import readiness
from tideover.lifecycle import signals as sg
from tideover.lifecycle.budget import start_raw_s
from tideover.lifecycle.state import CLAIMING, Case, Entry, Phase, Stage, State
from tideover.model import Cause, Document, Event, HookRun, Kind, Moment, Pause, Quality
from tideover.policy import Policy, names_me

REMEMBERED = 100
"""So many acknowledged events are remembered, in case one is listed again after it had gone."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where we are now, and what the record says of how we came here."""

    state: State
    entries: tuple[Entry, ...] = ()


def step(state: State, seen: ob.Observation, policy: Policy, now: Moment) -> Step:
    """Given where we are, what we saw and when, return where we are now.

    An answer nobody waits for, or an observation that says nothing new, returns the state unchanged.
    """
    turn = _Turn(state, policy, now)
    HANDLERS[type(seen)](turn, seen)
    turn.come_to_rest()
    return Step(turn.state, tuple(turn.entries))


class _Turn:
    """One step in the making: the state so far and the entries so far. Lives no longer than the step."""

    def __init__(self, state: State, policy: Policy, now: Moment) -> None:
        self.state, self.policy, self.now = state, policy, now
        self.entries: list[Entry] = []

    def tell(self, event_id: str, what: str, note: str = "", subject: object = None) -> None:
        self.entries.append(Entry(event_id, what, note, subject))

    def move(self, case: Case, seen: sg.Signal, note: str = "") -> None:
        """Let one case take in one signal, and enter what follows from a change of phase."""
        after = life.advance(case, seen, self.policy, self.now)
        if after != case:
            self.put(case.phase, after, note)

    def put(self, before: Phase | None, case: Case, note: str) -> None:
        known = self.state.cases.get(case.id)
        asked_again = known is not None and known.check_round != case.check_round
        self.state = self.state.with_case(case)
        if case.phase is before and not asked_again:
            return
        self.tell(case.id, case.phase.value, note, case.outcome if case.phase is Phase.CLOSED else None)
        if case.phase is Phase.PREPARING:
            self.state = readiness.claim(self.state, case, self.policy)
        elif case.phase is Phase.RECOVERING and not case.announced:
            self.state = readiness.recover_unprepared(self.state, case, self.policy)
        elif case.phase is Phase.CLOSED:
            self.state = self.state.without_case(case.id)

    def come_to_rest(self) -> None:
        """Hooks that settle move cases, and cases that move begin hooks: until neither changes anything."""
        while True:
            before = self.state
            self.state = readiness.advance(self.state, self.policy, self.now)
            for case in list(self.state.cases.values()):
                if case.phase is Phase.PREPARING and self.state.fresh and readiness.is_settled(self.state, case):
                    self._prepared(case)
                elif case.phase is Phase.RECOVERING and readiness.is_released(self.state):
                    self.move(case, sg.Released())
            if self.state == before:
                return

    def _prepared(self, case: Case) -> None:
        hold = readiness.why_hold(self.state, case) or self.policy.why_not_acknowledge(case.event, self.state.me)
        self.move(case, sg.Prepared(hold), hold or ("already acknowledged" if case.acknowledged else ""))


# --- documents ----------------------------------------------------------------------------------------------------

def _polled(turn: _Turn, seen: ob.Polled) -> None:
    """New events are taken before vanished ones: one preparation is handed on, also by a service that changes an
    event's id together with its status."""
    if not turn.state.fresh or turn.state.me != seen.me:
        turn.state = replace(turn.state, fresh=True, me=seen.me)
    for event in seen.document.events:
        case = turn.state.cases.get(event.id)
        if case is None or not case.listed or (case.phase is Phase.WATCHING and _concerns(turn, event)):
            _first_sight(turn, event, seen)
        else:
            _seen_again(turn, case, event, seen.document)
    listed = {event.id for event in seen.document.events}
    for case in list(turn.state.cases.values()):
        if case.listed and case.id not in listed:
            turn.tell(case.id, "left the list", "" if case.began else "it was never seen Started")
            turn.move(case, sg.Vanished(), "it has left the list")


def _concerns(turn: _Turn, event: Event) -> bool:
    return names_me(event, turn.state.me) and turn.policy.acts_on(event.kind)


def _first_sight(turn: _Turn, event: Event, seen: ob.Polled) -> None:
    case = Case(event, Phase.WATCHING, due_raw_s=_due_raw_s(event, seen.document, turn.now), began=event.started,
                acknowledged=event.id in turn.state.settled)
    turn.tell(event.id, "noticed", _whose(turn, event), event)
    if not _concerns(turn, event):
        turn.put(None, case, "")
    elif event.started:
        turn.put(None, replace(case, phase=Phase.UNDERWAY, missed=True), "it had started when it was first seen")
    else:
        start = start_raw_s(case, turn.policy)
        phase = Phase.PREPARING if start is None or start <= turn.now.raw_s else Phase.WAITING
        turn.put(None, life.enter(case, phase, turn.policy, turn.now), "")


def _whose(turn: _Turn, event: Event) -> str:
    if not names_me(event, turn.state.me):
        return f"it concerns {', '.join(event.resources) or 'no VM by name'}, not {turn.state.me}"
    return "" if turn.policy.acts_on(event.kind) else f"the owner leaves {event.kind.value} events alone"


def _seen_again(turn: _Turn, case: Case, event: Event, document: Document) -> None:
    if case.event.started and not event.started:
        return                                          # never backwards (Azure: Started stays until it is removed)
    if event.not_before != case.event.not_before and event.not_before is not None:
        turn.tell(case.id, "changed", "NotBefore moved", event)
    due = _due_raw_s(event, document, turn.now)
    moved = due is not None and (case.due_raw_s is None or abs(due - case.due_raw_s) > life.DUE_MOVES_S)
    if moved:
        case = replace(case, due_raw_s=due)
        turn.state = turn.state.with_case(case)
    if not event.started:
        turn.move(case, sg.Scheduled(event, document.asked_raw_s))
    elif not case.began:
        turn.tell(case.id, "started", "the platform says it has begun", event)
        turn.move(case, sg.Began(replace(event, not_before=event.not_before or case.event.not_before)))


def _due_raw_s(event: Event, document: Document, now: Moment) -> float | None:
    """NotBefore is the platform's time: its distance from the answer's own Date is what counts, our clock only where
    there is none."""
    if event.not_before is None:
        return None
    if document.date is not None:
        return document.received_raw_s + (event.not_before - document.date).total_seconds()
    return now.raw_s + (event.not_before - now.utc).total_seconds()


# --- answers ------------------------------------------------------------------------------------------------------

def _poll_failed(turn: _Turn, seen: ob.PollFailed) -> None:
    """No document says nothing about any event."""


def _hook_settled(turn: _Turn, seen: ob.HookSettled) -> None:
    after = readiness.settle(turn.state, seen, turn.now)
    if after is turn.state:
        return
    attempt = turn.state.hooks[seen.name].attempt
    run = HookRun(seen.name, seen.phase, attempt, seen.report)
    for case in turn.state.cases.values():
        if case.phase is Phase.RECOVERING or (case.phase in CLAIMING and case.announced):
            turn.tell(case.id, f"hook {seen.phase.value}", f"{seen.name}: {seen.report.outcome.value}", run)
    turn.state = after
    hook = after.hooks.get(seen.name)
    if hook is not None and hook.stage is Stage.OWED:
        for case in after.cases.values():
            if case.phase is Phase.RECOVERING:
                turn.tell(case.id, "recover owed", f"{seen.name} failed {hook.failures} times; the owner must look")


def _ack_settled(turn: _Turn, seen: ob.AckSettled) -> None:
    case = turn.state.cases.get(seen.event_id)
    if case is None or seen.attempt != case.ask_attempt or case.acknowledged:
        return
    if seen.outcome is ob.AckOutcome.ACCEPTED:
        turn.state = replace(turn.state, settled=(*turn.state.settled, case.id)[-REMEMBERED:])
    elif case.phase is not Phase.ASKING:
        return                                          # nobody waits for it, and it did not count
    turn.tell(case.id, {ob.AckOutcome.ACCEPTED: "acknowledged", ob.AckOutcome.REFUSED: "acknowledgement refused",
                        ob.AckOutcome.LOST: "acknowledgement lost"}[seen.outcome], seen.reason)
    turn.move(case, sg.Answered(seen.outcome, seen.reason), seen.reason)


def _clock_judged(turn: _Turn, seen: ob.ClockJudged) -> None:
    case = turn.state.cases.get(seen.event_id)
    if case is None or case.phase is not Phase.CHECKING or seen.round != case.check_round:
        return
    check = seen.check
    turn.tell(case.id, "clock", ": ".join(filter(None, (check.verdict.value, check.reason))), check)
    turn.move(case, sg.Judged(check), "the owner waits for a good clock" if turn.policy.must_wait_for(check) else "")


def _clock_followed(turn: _Turn, seen: ob.ClockFollowed) -> None:
    turn.tell(seen.event_id, "clock followed", ": ".join(filter(None, (seen.state, seen.check.reason))), seen.check)


def _due(turn: _Turn, seen: ob.Due) -> None:
    """A case that waited for this moment moves; a hook whose turn has come is begun when the state comes to rest."""
    case = turn.state.cases.get(seen.key.removeprefix("case:"))
    if case is not None and case.wake_raw_s is not None and case.wake_raw_s <= turn.now.raw_s:
        turn.move(case, sg.Woken())


# --- pauses -------------------------------------------------------------------------------------------------------

def _resumed(turn: _Turn, seen: ob.Resumed) -> None:
    """A pause belongs to every event that may have caused it; one that no event can explain is a case of its own."""
    pause = seen.pause
    taking = [case for case in turn.state.cases.values() if _takes(case, pause)]
    for case in taking:
        turn.tell(case.id, "pause", _length(pause), pause)
        turn.move(case, sg.Paused(pause), "")
    if taking:
        return
    announces = life.stopped_the_machine(pause) and turn.policy.recover_unannounced
    turn.tell(pause.id if announces else "", "pause", _length(pause), pause)
    if announces:
        event = Event(pause.id, Kind.UNANNOUNCED, (turn.state.me,), started=True, event_source="none", source="none",
                      description="a pause of this machine that nobody announced")
        turn.tell(event.id, "noticed", "nobody announced it", event)
        case = Case(event, Phase.CHECKING, listed=False, began=True)
        turn.put(None, life.enter(life.remember(case, sg.Paused(pause), turn.policy, turn.now),
                                  Phase.CHECKING, turn.policy, turn.now), "")


def _takes(case: Case, pause: Pause) -> bool:
    """A step of the clock is nobody's pause; what is neither prepared nor started cannot have caused one."""
    if pause.cause is Cause.CLOCK_STEP or any(known.id == pause.id for known in case.pauses):
        return False
    if case.phase in CLAIMING:
        return True
    return case.phase in (Phase.RECOVERING, Phase.LINGERING)


def _length(pause: Pause) -> str:
    if pause.length_s is None or pause.uncertainty_s is None:
        return f"{pause.cause.value}, length unknown"
    return f"{pause.cause.value} of {pause.length_s:.3f} s ± {pause.uncertainty_s:.3f} s"


# --- starts and the owner's word ----------------------------------------------------------------------------------

def _restarted(turn: _Turn, seen: ob.Restarted) -> None:
    """What ran has been ended by now. Another boot id: the applications have started anew too."""
    rebooted = bool(turn.state.boot_id) and turn.state.boot_id != seen.boot_id
    turn.state = readiness.resume_after_restart(replace(turn.state, boot_id=seen.boot_id, fresh=False), turn.now)
    if rebooted:
        turn.state = readiness.forget_preparation(turn.state)
    for case in list(turn.state.cases.values()):
        if rebooted:
            _take_reboot(turn, case, seen)
        else:
            turn.move(case, sg.AgentRestarted(), "the agent was restarted")


def _take_reboot(turn: _Turn, case: Case, seen: ob.Restarted) -> None:
    turn.tell(case.id, "restarted", "the machine has started anew")
    turn.move(case, sg.Rebooted(), "the machine has started anew")
    after = turn.state.cases.get(case.id)
    if after is not None and seen.down_s is not None and after.phase is not Phase.WATCHING:
        half_s = max(0.0, seen.down_s / 2)
        pause = Pause(f"restart-{seen.boot_id}", turn.now.utc, turn.now.raw_s, half_s, half_s, Cause.RESTART,
                      (f"another boot id; the old boot's last row is {timedelta(seconds=round(seen.down_s))} old",),
                      Quality.BOUNDED)
        turn.tell(case.id, "pause", _length(pause), pause)
        turn.state = turn.state.with_case(replace(after, pauses=(*after.pauses, pause)))


def _told_to_acknowledge(turn: _Turn, seen: ob.AcknowledgeRequested) -> None:
    case = turn.state.cases.get(seen.event_id)
    if case is not None and not case.acknowledged and turn.state.fresh:
        turn.move(case, sg.ToldToAcknowledge(), "the owner says so")


def _told_to_recover(turn: _Turn, seen: ob.RecoverRequested) -> None:
    turn.state = readiness.owe_again(turn.state, turn.now)
    for case in list(turn.state.cases.values()):
        if case.phase in CLAIMING and seen.event_id in (None, case.id):
            turn.move(case, sg.ToldToRecover(stopping=False), "the owner says so")


def _told_to_stop(turn: _Turn, seen: ob.StopRequested) -> None:
    for case in list(turn.state.cases.values()):
        if case.phase in CLAIMING:
            turn.move(case, sg.ToldToRecover(stopping=True), "the service is being stopped")


HANDLERS: Mapping[type[Any], Callable[[_Turn, Any], None]] = MappingProxyType({
    ob.Polled: _polled, ob.PollFailed: _poll_failed, ob.HookSettled: _hook_settled, ob.AckSettled: _ack_settled,
    ob.ClockJudged: _clock_judged, ob.ClockFollowed: _clock_followed,
    ob.Due: _due, ob.Resumed: _resumed, ob.Restarted: _restarted,
    ob.AcknowledgeRequested: _told_to_acknowledge, ob.RecoverRequested: _told_to_recover,
    ob.StopRequested: _told_to_stop,
})
