"""Manual acknowledge, recover and forget: which event is meant, what is objected to, what changes. Pure."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import tideover.lifecycle.case as cases
import tideover.lifecycle.hook_stages as hook_stages
from tideover import observations as ob
from tideover.errors import TideoverError
from tideover.lifecycle.coordination import why_no_slot
from tideover.lifecycle.state import (
    AWAITING_PLATFORM,
    CLAIMING,
    RETRIED_RECOVERS,
    Case,
    HookState,
    Phase,
    Stage,
    State,
    ends_an_event,
    records_hook_runs,
)
from tideover.lifecycle.transition import Transition, clock_note
from tideover.model import EntryKind, Event, HookOutcome, HookPhase, HookReport, HookRun, fold_case
from tideover.policy import Policy

LAST = "last"
NOT_OPEN, LIST = "no such event is open", "See tideover status."
GIVEN_UP = "given up by hand"
RECOVER_PENDING = RETRIED_RECOVERS | {Stage.PREPARING, Stage.STOPPING, Stage.RECOVER_PENDING, Stage.RECOVERING,
                                      Stage.RECOVER_FAILED}
BEFORE_ITS_PAUSE = AWAITING_PLATFORM | {Phase.STARTED}


# --- which event ------------------------------------------------------------------------------------------------

def find_event_id(known: Iterable[str], typed: str, newest: str | None) -> str | None:
    """Given ids of events and what was typed (an id, its beginning, or "last", which is `newest`), return the id that
    is meant; None: there is none. Raise ValueError where several begin so."""
    wanted = fold_case(typed)
    begin_so = [event_id for event_id in known if wanted and fold_case(event_id).startswith(wanted)]
    exact = [event_id for event_id in begin_so if fold_case(event_id) == wanted]
    if exact:
        return exact[0]
    if typed == LAST:
        return newest
    if len(begin_so) > 1:
        raise ValueError(f"{len(begin_so)} open event ids begin with it")
    return begin_so[0] if begin_so else None


def newest_own(state: State) -> str | None:
    """Given the state, return the id of the newest open event of this VM, None if there is none."""
    own = [case.id for case in state.cases.values() if case.phase is not Phase.OBSERVED]
    return own[-1] if own else None


def find_case(state: State, typed: str, operation: str) -> Case:
    """Given the state, what was typed and what is to be done, return the case that is meant. Raise TideoverError if no
    open event is, or several are."""
    try:
        found = find_event_id(state.cases, typed, newest_own(state))
    except ValueError as trouble:
        raise TideoverError(f"{operation} {typed}", str(trouble), LIST) from None
    if found is None:
        raise TideoverError(f"{operation} {typed}", NOT_OPEN, LIST)
    return state.cases[found]


# --- recover ----------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class RecoverPlan:
    """What a manual recover would do."""

    event_id: str | None            # None: of all events
    pending: tuple[str, ...]        # names of participants, in the order in which they are recovered
    ahead: tuple[str, ...]          # events whose pause is still to come: they would find the applications unprepared


def plan_recover(state: State, typed: str | None) -> RecoverPlan:
    """Given the state and what was typed (None: all events), return what a recover would do. Raise TideoverError if no
    such event is open."""
    case = find_case(state, typed, "cannot recover") if typed else None
    cases = list(state.cases.values()) if case is None else [case]
    kept = {other.id for other in state.cases.values() if other.phase in CLAIMING and other not in cases}
    pending = [hook for hook in state.hooks.values() if is_pending(hook) and not kept.intersection(hook.wanted_by)]
    pending.sort(key=lambda hook: (-hook.spec.order, hook.spec.name))
    ahead = [other.id for other in cases if pending and _is_ahead(other)]
    return RecoverPlan(case.id if case else None, tuple(hook.spec.name for hook in pending), tuple(ahead))


def is_pending(hook: HookState) -> bool:
    """Whether it may have been prepared, and its recover has not succeeded since."""
    return hook.needs_recover or hook.stage in RECOVER_PENDING


def _is_ahead(case: Case) -> bool:
    """Whether the platform is still to pause or end this machine for it, as far as is known."""
    over = case.rebooted or case.pending_pause is not None or any(ends_an_event(pause) for pause in case.pauses)
    return case.phase in BEFORE_ITS_PAUSE and case.announced and case.listed and not over


def why_not_forget(state: State, name: str) -> str | None:
    """Given a participant's name, return why its recovery cannot be given up; None: it can.

    What an open event still needs prepared is no pending recovery yet, and to forget it would forget a failed
    preparation as well.
    """
    hook = state.hooks.get(name)
    if hook is None or not is_pending(hook):
        return "no recovery of it is pending"
    claims = [case.id for case in state.cases.values() if case.phase in CLAIMING and case.id in hook.wanted_by]
    return f"it is prepared for {', '.join(claims)}, which is still open" if claims else None


def on_forget_request(transition: Transition, seen: ob.ForgetRequested) -> None:
    """What runs of it is ended, for nothing wants it any more."""
    if why_not_forget(transition.state, seen.name) is not None:
        return
    hook = transition.state.hooks[seen.name]
    report = HookReport(HookOutcome.FORGOTTEN, None, transition.now.utc, None, note=GIVEN_UP)
    run = HookRun(seen.name, HookPhase.RECOVER, hook.attempt, report, is_application=hook.spec.is_application)
    recording = [case.id for case in transition.state.cases.values() if records_hook_runs(case)]
    for event_id in recording or [hook.event_id]:
        transition.record(event_id, EntryKind.RECOVER_RUN, f"{seen.name}: {GIVEN_UP}", run)
    transition.state = transition.state.without_hook(seen.name)


# --- acknowledge ------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Objections:
    """What speaks against an acknowledgement: names of participants, names of machines."""

    failed: tuple[str, ...] = ()            # a required preparation failed
    unprepared: tuple[str, ...] = ()        # wants this kind and has not been prepared
    machines: tuple[str, ...] = ()          # named by the event, and have not agreed
    slot: str = ""                          # why it has no slot of its group

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def text(self) -> str:
        """All of it in one line; "" where nothing speaks against it."""
        reasons = (("a required preparation failed", self.failed), ("not prepared", self.unprepared),
                ("machines that have not agreed", self.machines))
        return "; ".join([f"{what}: {', '.join(names)}" for what, names in reasons if names]
                         + [self.slot] * bool(self.slot))


def objections(state: State, event: Event, me: str, policy: Policy, *, alone: bool = True) -> Objections:
    """Given an event as it is listed and this VM's name, return what speaks against acknowledging it now. `alone`:
    without waiting for the other machines, where a fleet would."""
    wanted = {name: hook for name, hook in state.hooks.items() if event.id in hook.wanted_by}
    missing = [spec.name for spec in policy.hooks_for(event)
               if spec.name not in wanted or wanted[spec.name].stage is not Stage.PREPARED]
    waits = policy.waits_for_peers(event, me) and not alone
    machines = [] if waits else [name for name in event.resources if fold_case(name) != fold_case(me)]
    known = state.cases.get(event.id)
    fleet = None if known is None or policy.fleet is None else known.fleet
    return Objections(tuple(hook_stages.failed_names(wanted.values())), tuple(sorted(missing)), tuple(machines),
                      "" if waits or fleet is None or fleet.has_slot else why_no_slot(fleet))


def on_acknowledge_request(transition: Transition, seen: ob.AcknowledgeRequested) -> None:
    case = transition.state.cases.get(seen.event_id)
    if case is not None and not case.acknowledged and transition.state.fresh and not transition.policy.observes:
        against = objections(transition.state, case.event, transition.state.me, transition.policy,
                             alone=seen.alone).text
        transition.move(case, cases.ManualAcknowledge(seen.alone),
                        f"by hand, although {against}" if against else "by hand")


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
