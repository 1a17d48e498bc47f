"""The stages of hooks: order, retries and their waits, the time budget up to NotBefore, what holds the acknowledgement.
Pure.

Cases hold claims on it. While a claim stands, hooks go QUEUED → PREPARING → PREPARED in ascending order; when the last
claim has gone, RECOVER_PENDING → RECOVERING → released in descending order. A recovery is pending from the moment
its prepare is begun, whatever becomes of it; only a run that says "nothing changed" takes that back, and only for
itself.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

from tideover.lifecycle.state import (
    CONNECT_AGAIN_S,
    RETRIED_RECOVERS,
    RUNNING,
    Case,
    HookState,
    Phase,
    PrepareResult,
    Stage,
    State,
)
from tideover.model import Cause, Event, HookOutcome, HookPhase, HookReport, HookSpec, Kind, Moment, Pause
from tideover.observations import HookSettled
from tideover.policy import Policy

# --- Budgets: how the time up to NotBefore is shared among hooks, in raw seconds

SHORTEST_RUN_S = 1.0
"""A hook is never given less: a run cut off sooner only leaves something half done."""

RECOVER_BUDGET_FACTOR = 10
"""A recover that says "not yet" is tried again for this many times its timeout (contract)."""


def longest_by_order(specs: Iterable[HookSpec]) -> Mapping[int, float]:
    """Given hooks, return for each NN the longest timeout in seconds: those of one NN run side by side."""
    ranked = sorted(specs, key=lambda spec: spec.order)
    return {order: max(spec.timeout_s for spec in same) for order, same in groupby(ranked, lambda spec: spec.order)}


def start_raw_s(case: Case, policy: Policy) -> float | None:
    """Given a case, return when its preparation starts on the raw clock; None: at once, no time is known."""
    if case.due_raw_s is None:
        return None
    rules = policy.rules_for(case.event.kind)
    earliest = case.due_raw_s - rules.lead_s
    last = last_start_raw_s(case, policy)
    return earliest if last is None or not rules.just_in_time else max(earliest, last)


def last_start_raw_s(case: Case, policy: Policy) -> float | None:
    """Given a case, return when its preparation starts at the latest, on the raw clock; None: no time is known."""
    if case.due_raw_s is None:
        return None
    budget_s = sum(longest_by_order(policy.hooks_for(case.event)).values())
    return case.due_raw_s - budget_s - policy.reserve_s


def run_limit_s(spec: HookSpec, left_s: float | None, remaining: Mapping[int, float]) -> float:
    """Given a hook, the seconds left to the reserve and the longest timeouts still to come (its own NN's among them),
    return the seconds its run may take: its own timeout, or its NN's share of what is left when that is short.

    A NotBefore that has passed bounds nothing any more: the platform may start at any time, and until it does each
    hook has its own timeout.
    """
    if left_s is None or left_s <= 0:
        return spec.timeout_s
    wanted_s = sum(remaining.values())
    share = min(1.0, left_s / wanted_s) if wanted_s > 0 else 1.0
    return min(spec.timeout_s, max(SHORTEST_RUN_S, spec.timeout_s * share))


def rest_limit_s(spec: HookSpec, gone_s: float, left_s: float, remaining: Mapping[int, float]) -> float:
    """Given the same for a run begun `gone_s` seconds ago, the reserve still ahead, return what its limit is by now,
    counted from its beginning.

    Time that passes never makes it smaller; a NotBefore that comes nearer does.
    """
    wanted_s = sum(remaining.values()) - gone_s
    share = min(1.0, left_s / wanted_s) if wanted_s > 0 else 1.0
    return gone_s + max(SHORTEST_RUN_S, (spec.timeout_s - gone_s) * share)


def retry_until_s(spec: HookSpec, left_s: float | None, remaining: Mapping[int, float]) -> float:
    """Given the same, return for how many seconds from now a "not yet" is tried again: as long as the time lasts, less
    what the hooks after it need."""
    if left_s is None or left_s <= 0:
        return spec.timeout_s * RECOVER_BUDGET_FACTOR
    later_s = sum(longest_s for order, longest_s in remaining.items() if order > spec.order)
    return max(run_limit_s(spec, left_s, remaining), left_s - later_s)


def remaining_s(cases: Iterable[Case], policy: Policy, now: Moment) -> float | None:
    """Given the cases that wait for preparation, return the seconds up to the earliest NotBefore less the reserve.

    At or below zero: NotBefore itself has passed. None: no time is known.
    """
    due = min((case.due_raw_s for case in cases if case.due_raw_s is not None), default=None)
    if due is None:
        return None
    ahead_s = due - now.raw_s
    return ahead_s if ahead_s <= 0 else max(SHORTEST_RUN_S, ahead_s - policy.reserve_s)


# --- Stages

NOT_YET_WAITS_S = 1.0
"""The short wait after "not yet" (75)."""

RECOVER_RETRY_WAITS_S = (5.0, 30.0, 120.0)
"""The waits after a failed recover (contract); after the last one fails it stays pending until an operator acts."""

SHORTENED_LIMIT_S = 0.1
"""A run under way is given less only by more than this: what rounding takes away is no news."""


NO_HOOK = "no hook for this kind; the platform starts the event at NotBefore"


# --- claims ---------------------------------------------------------------------------------------------------

def claim(state: State, case: Case, policy: Policy) -> State:
    """Given a case that has entered PREPARING, return the state in which each of its hooks is wanted: none where events
    are only observed."""
    if policy.observes:
        return state
    for spec in policy.hooks_for(case.event):
        hook = state.hooks.get(spec.name) or HookState(spec, Stage.QUEUED)
        if hook.stage not in RUNNING:
            hook = replace(hook, spec=spec)
        if case.id not in hook.wanted_by:
            hook = replace(hook, wanted_by=(*hook.wanted_by, case.id))
        state = state.with_hook(_requeue_if_short(state, hook))
    return state


def _requeue_if_short(state: State, hook: HookState) -> HookState:
    """A settled preparation counts unless a recover has begun since, or it was for a softer kind."""
    if hook.stage in RUNNING:
        return hook                                     # looked at again when the run has ended
    if hook.prepared_for >= _needed(state, hook):
        return replace(hook, stage=Stage.PREPARED)
    if hook.stage in (Stage.QUEUED, Stage.PREPARE_RETRY):
        return hook
    needs_recover = hook.needs_recover or hook.stage in (*RETRIED_RECOVERS, Stage.RECOVER_FAILED)
    return replace(hook, stage=Stage.QUEUED, attempt=0, needs_recover=needs_recover)


def _needed(state: State, hook: HookState) -> int:
    """The hardest kind that waits for this hook. At least 1: what is prepared for anything is prepared for less."""
    wanting = (case for case in state.cases.values() if case.id in hook.wanted_by and case.phase is Phase.PREPARING)
    return max((case.event.kind.info.severity for case in wanting), default=1)


def recover_unprepared(state: State, case: Case, policy: Policy) -> State:
    """Given an unannounced case, return the state in which recover of the hooks that ask for its kind is pending: once
    for each pause of the machine, however often the clock is checked again meanwhile."""
    state = state.with_case(replace(case, hooks_named=True))
    for spec in () if policy.observes else policy.hooks_for(case.event):
        if spec.name not in state.hooks and state.is_reachable(spec):
            state = state.with_hook(HookState(spec, Stage.RECOVER_PENDING, needs_recover=True))
    return state


def is_settled(state: State, case: Case, policy: Policy) -> bool:
    """Whether every hook this case wanted has been prepared for a kind at least as hard; where events are only
    observed, whether none of them runs any more."""
    if policy.observes:
        return not any(hook.stage in RUNNING for hook in _wanted(state, case))
    return all(hook.stage is Stage.PREPARED and hook.prepared_for >= case.event.kind.info.severity
               for hook in _wanted(state, case))


def why_held(state: State, case: Case) -> str | None:
    """Given a case whose hooks have settled, return why the acknowledgement is withheld; None: it is not."""
    wanted = _wanted(state, case)
    if not wanted and case.event.event_source != "user":
        return NO_HOOK
    failed = required_failures(state, case)
    return f"a required preparation failed: {', '.join(failed)}" if failed else None


def why_would_hold(event: Event, policy: Policy) -> str | None:
    """Given an event that is only observed, return why its acknowledgement would be withheld, as far as can be known
    without preparing; None: it would not."""
    specs = policy.hooks_for(event)
    if not specs and event.event_source != "user":
        return NO_HOOK
    refused = sorted(spec.name for spec in specs if spec.refused is not None)
    return f"a hook would be refused: {', '.join(refused)}" if refused else None


def required_failures(state: State, case: Case) -> list[str]:
    """Given a case, return the names of those whose failed or refused preparation holds its acknowledgement."""
    return failed_names(_wanted(state, case))


def failed_names(hooks: Iterable[HookState]) -> list[str]:
    """Given hooks, return the names of those whose settled preparation failed and was required."""
    failed = [hook for hook in hooks if hook.stage is Stage.PREPARED and (
        hook.prepare_result is PrepareResult.UNSAFE
        or (hook.prepare_result is not PrepareResult.WORKED and hook.spec.required))]
    return sorted(f"{hook.spec.name} (refused)" if hook.prepare_result is PrepareResult.UNSAFE else hook.spec.name
                  for hook in failed)


def is_released(state: State) -> bool:
    return not state.hooks


def _wanted(state: State, case: Case) -> list[HookState]:
    return [hook for hook in state.hooks.values() if case.id in hook.wanted_by]


# --- what a run's end changes ---------------------------------------------------------------------------------

def settle_hook(state: State, seen: HookSettled, now: Moment) -> State:
    """Given the end of a run that was asked for, return the state after it; any other run changes nothing."""
    hook = state.hooks.get(seen.name)
    if hook is None or seen.run != hook.run or hook.stage not in RUNNING:
        return state
    recovering = hook.stage is Stage.RECOVERING
    if recovering is not (seen.phase is HookPhase.RECOVER):
        return state
    if recovering:
        return _settle_recover(state, hook, seen.report, now)
    settled = _settle_prepare(hook, seen.report, now)
    if settled.stage is Stage.PREPARED and _has_newer_instance(state, settled):
        settled = _to_prepare_again(settled)
    return state.with_hook(_requeue_if_short(state, settled) if settled.stage is Stage.PREPARED else settled)


def _settle_prepare(hook: HookState, report: HookReport, now: Moment) -> HookState:
    harmless = report.outcome in (HookOutcome.NOTHING, HookOutcome.REFUSED) or not report.begun
    hook = replace(hook, needs_recover=hook.needs_recover or not harmless)
    if hook.stage is Stage.STOPPING:
        return replace(hook, stage=Stage.QUEUED if hook.wanted_by else Stage.RECOVER_PENDING, attempt=0)
    if report.outcome is HookOutcome.NOT_YET and now.raw_s + NOT_YET_WAITS_S < hook.until_raw_s:
        return replace(hook, stage=Stage.PREPARE_RETRY, again_raw_s=now.raw_s + NOT_YET_WAITS_S)
    return replace(hook, stage=Stage.PREPARED, prepared_for=hook.kind.info.severity, prepare_result=_result_of(report))


def _result_of(report: HookReport) -> PrepareResult:
    if report.outcome in (HookOutcome.DONE, HookOutcome.NOTHING):
        return PrepareResult.WORKED
    is_unsafe = report.outcome is HookOutcome.REFUSED and report.exit_status is None
    return PrepareResult.UNSAFE if is_unsafe else PrepareResult.FAILED


def _settle_recover(state: State, hook: HookState, report: HookReport, now: Moment) -> State:
    recovered = report.outcome in (HookOutcome.DONE, HookOutcome.NOTHING)
    if hook.wanted_by:
        return state.with_hook(replace(hook, stage=Stage.QUEUED, attempt=0, needs_recover=not recovered, failures=0))
    if recovered:
        return state.without_hook(hook.spec.name)
    if report.outcome is HookOutcome.NOT_YET and now.raw_s + NOT_YET_WAITS_S < hook.until_raw_s:
        return state.with_hook(replace(hook, stage=Stage.RECOVER_NOT_YET,
                                       again_raw_s=now.raw_s + NOT_YET_WAITS_S))
    failures = hook.failures + 1
    if failures > len(RECOVER_RETRY_WAITS_S):
        return state.with_hook(replace(hook, stage=Stage.RECOVER_FAILED, failures=failures))
    wait_s = RECOVER_RETRY_WAITS_S[failures - 1]
    return state.with_hook(replace(hook, stage=Stage.RECOVER_RETRY, failures=failures, until_raw_s=0.0,
                                   again_raw_s=now.raw_s + wait_s))


def extend(state: State, pause: Pause) -> State:
    """A deadline that a pause crosses is extended by it: "not yet" is tried for as long as the machine lived. In a
    suspend the raw clock stops as well."""
    if pause.cause not in (Cause.VM_PAUSE, Cause.PROCESS_STALL) or not pause.length_s:
        return state
    began_raw_s = pause.resumed_raw_s - pause.length_s
    for hook in state.hooks.values():
        trying = hook.stage in (*RUNNING, Stage.PREPARE_RETRY, Stage.RECOVER_NOT_YET)
        if trying and hook.until_raw_s > began_raw_s:
            state = state.with_hook(replace(hook, until_raw_s=hook.until_raw_s + pause.length_s))
    return state


# --- what begins next -----------------------------------------------------------------------------------------

def advance_hooks(state: State, policy: Policy, now: Moment) -> State:
    """Given the state, return it with every hook started, stopped or released that is due."""
    if policy.observes:
        state = _withdraw_unstarted(state)
    elif any(case.phase is Phase.PREPARING for case in state.cases.values()):
        state = _begin_prepare(_shrink_deadlines(state, policy, now), policy, now)
    if state.claimed():
        return state
    state = _release_claims(state)
    return state if state.awaits_clock() else _begin_recover(state, now)


def _unprepared(state: State) -> tuple[list[Case], list[HookState]]:
    """The cases that wait for preparation, and the hooks they wait for."""
    cases = [case for case in state.cases.values() if case.phase is Phase.PREPARING]
    ids = {case.id for case in cases}
    return cases, [hook for hook in state.hooks.values() if ids.intersection(hook.wanted_by) and hook.stage in (
        Stage.QUEUED, Stage.PREPARING, Stage.PREPARE_RETRY, Stage.STOPPING, Stage.RECOVERING)]


def _shrink_deadlines(state: State, policy: Policy, now: Moment) -> State:
    """The newest NotBefore counts, also for what runs or ended with "not yet" under an older one. It is never given
    more."""
    cases, open_ = _unprepared(state)
    left_s = remaining_s(cases, policy, now)
    if left_s is None or left_s <= 0:
        return state
    remaining = longest_by_order(hook.spec for hook in open_)
    for hook in open_:
        if hook.stage not in (Stage.PREPARING, Stage.PREPARE_RETRY):
            continue
        known, until_raw_s = hook, now.raw_s + retry_until_s(hook.spec, left_s, remaining)
        if until_raw_s < hook.until_raw_s - SHORTENED_LIMIT_S:
            hook = replace(hook, until_raw_s=until_raw_s)
        limit_s = rest_limit_s(hook.spec, now.raw_s - hook.begun_raw_s, left_s, remaining)
        if hook.stage is Stage.PREPARING and limit_s < hook.limit_s - SHORTENED_LIMIT_S:
            hook = replace(hook, limit_s=limit_s)
        if hook is not known:
            state = state.with_hook(hook)
    return state


def _begin_prepare(state: State, policy: Policy, now: Moment) -> State:
    cases, open_ = _unprepared(state)
    if not open_ or not state.fresh or any(hook.stage is Stage.RECOVERING for hook in state.hooks.values()):
        return state
    order = min(hook.spec.order for hook in open_)
    remaining = longest_by_order(hook.spec for hook in open_)
    left_s = remaining_s(cases, policy, now)
    for hook in open_:
        is_due = hook.stage is Stage.QUEUED or (hook.stage is Stage.PREPARE_RETRY and hook.again_raw_s <= now.raw_s)
        if is_due and hook.spec.order == order:
            wanting = [case for case in cases if case.id in hook.wanted_by]
            state = _begin(state, _assign_event(hook, wanting, left_s), Stage.PREPARING,
                           run_limit_s(hook.spec, left_s, remaining),
                           retry_until_s(hook.spec, left_s, remaining), now)
    return state


def _withdraw_unstarted(state: State) -> State:
    """[policy] mode is observe, since the agent's newest start: no prepare is begun. What an earlier one may have
    changed stays prepared until the event is over; then it is recovered."""
    for name, hook in state.hooks.items():
        if hook.stage in (Stage.QUEUED, Stage.PREPARE_RETRY):
            kept = replace(hook, stage=Stage.PREPARED, prepare_result=PrepareResult.FAILED)
            state = state.with_hook(kept) if hook.needs_recover else state.without_hook(name)
    return state


def _assign_event(hook: HookState, wanting: list[Case], left_s: float | None) -> HookState:
    """The run is for the hardest kind that wants it, and among those for the event that comes first."""
    lead = min(wanting, key=lambda case: (-case.event.kind.info.severity,
                                          case.due_raw_s if case.due_raw_s is not None else 0.0))
    return replace(hook, event_id=lead.id, kind=lead.event.kind, reason="")


def _begin(state: State, hook: HookState, stage: Stage, limit_s: float, window_s: float, now: Moment) -> State:
    """A run's number is new for the machine; the window for "not yet" is fixed by the first attempt."""
    again = hook.stage in (Stage.PREPARE_RETRY, *RETRIED_RECOVERS) and hook.until_raw_s > 0
    run = state.runs + 1
    begun = replace(hook, stage=stage, run=run, attempt=hook.attempt + 1, limit_s=limit_s,
                    instance=state.connected.get(hook.spec.name, ""), resumed_instance="",
                    begun_raw_s=now.raw_s, begun_at=now.utc,
                    until_raw_s=hook.until_raw_s if again else now.raw_s + window_s,
                    prepared_for=0 if stage is Stage.RECOVERING else hook.prepared_for)
    return replace(state.with_hook(begun), runs=run)


def _release_claims(state: State) -> State:
    """No event claims the applications any more: a prepare in vain is stopped, and what was started is recovered."""
    cancelled = not any(case.phase is Phase.RECOVERING and case.began for case in state.cases.values())
    for name, hook in state.hooks.items():
        match hook.stage:
            case Stage.QUEUED | Stage.PREPARED | Stage.PREPARE_RETRY:
                state = state.with_hook(_start_recover(hook)) if hook.needs_recover else state.without_hook(name)
            case Stage.PREPARING if cancelled:
                state = state.with_hook(replace(hook, stage=Stage.STOPPING, wanted_by=()))
            case Stage.RECOVER_PENDING if not hook.needs_recover:
                state = state.without_hook(name)
            case _:
                state = state.with_hook(replace(hook, wanted_by=())) if hook.wanted_by else state
    return state


def _start_recover(hook: HookState) -> HookState:
    return replace(hook, stage=Stage.RECOVER_PENDING, wanted_by=(), attempt=0, failures=0)


def _begin_recover(state: State, now: Moment) -> State:
    """All prepare hooks have ended before the first recover begins; "not yet" keeps its place, a failure does not."""
    hooks = state.hooks.values()
    if any(hook.stage in (Stage.PREPARING, Stage.STOPPING) for hook in hooks):
        return state
    are_awaited = now.raw_s < state.connect_raw_s
    in_the_way = [hook.spec.order for hook in hooks if (are_awaited or state.is_reachable(hook.spec))
                  and hook.stage in (Stage.RECOVER_PENDING, Stage.RECOVERING, Stage.RECOVER_NOT_YET)]
    for hook in hooks:
        if not state.is_reachable(hook.spec):
            continue                    # it is asked when it connects; the others do not wait for that
        waits = max(in_the_way, default=-1) > hook.spec.order
        leaving = hook.stage is Stage.RECOVER_PENDING and not waits
        again = hook.stage in RETRIED_RECOVERS and hook.again_raw_s <= now.raw_s
        if leaving or again:
            aimed = _for_the_last(state, hook)
            state = _begin(state, aimed, Stage.RECOVERING, hook.spec.timeout_s,
                           hook.spec.timeout_s * RECOVER_BUDGET_FACTOR, now)
    return state


def _for_the_last(state: State, hook: HookState) -> HookState:
    """The run speaks of the newest event that is recovering."""
    last: Case | None = None
    for case in state.cases.values():
        if case.phase is Phase.RECOVERING:
            last = case
    if last is None:
        return hook if hook.event_id else replace(hook, kind=Kind.UNKNOWN, reason="resumed")
    return replace(hook, event_id=last.id, kind=last.event.kind, reason=last.reason)


# --- applications that connect --------------------------------------------------------------------------------

def unanswered_outcome(spec: HookSpec, phase: HookPhase, *, may_have_begun: bool) -> HookOutcome:
    """Given an application that gave no answer to its run, and whether the run may have reached it, return how the run
    counts: one that was away when it should prepare had nothing to prepare, unless its table says `absent = "fail"`."""
    is_skipped = phase is HookPhase.PREPARE and not spec.fails_absent and not may_have_begun
    return HookOutcome.NOTHING if is_skipped else HookOutcome.FAILED


def connect_application(state: State, name: str, instance: str) -> State:
    """Given an application that has connected, return the state with it: a recovery that failed, or waits, is asked for
    now, and a run that was begun while none was connected is this instance's. Whether it has to prepare is another
    question (`unprepared_applications`)."""
    state = state.with_connected(name, instance)
    hook = state.hooks.get(name)
    if hook is not None and hook.stage in RUNNING and not hook.instance:
        return state.with_hook(replace(hook, instance=instance))
    if hook is None or hook.stage not in (Stage.RECOVER_FAILED, *RETRIED_RECOVERS):
        return state
    return state.with_hook(_start_recover(hook))


def unprepared_applications(state: State) -> tuple[str, ...]:
    """Return the applications that count as prepared, in another instance than is connected now: that one knows nothing
    of it."""
    return tuple(name for name, hook in state.hooks.items()
                 if hook.stage in (Stage.PREPARED, Stage.PREPARE_RETRY) and _has_newer_instance(state, hook))


def prepare_again(state: State, name: str) -> State:
    """Given a participant, return the state in which its preparation is to be run again."""
    return state.with_hook(_to_prepare_again(state.hooks[name]))


def _has_newer_instance(state: State, hook: HookState) -> bool:
    return hook.spec.is_application and state.connected.get(hook.spec.name, hook.instance) != hook.instance


def _to_prepare_again(hook: HookState) -> HookState:
    return replace(hook, stage=Stage.QUEUED, attempt=0, prepared_for=0, prepare_result=PrepareResult.NONE)


# --- starts of the agent, and manual commands --------------------------------------------------------------------

def resume_after_restart(state: State, now: Moment) -> State:
    """The agent was away, and whatever it had running has been ended: what ran is to be run again or recovered.
    Applications are about to connect again."""
    has_applications = any(hook.spec.is_application for hook in state.hooks.values())
    state = replace(state, connected=MappingProxyType({}),
                    connect_raw_s=now.raw_s + CONNECT_AGAIN_S if has_applications else 0.0)
    return _each(state, lambda hook: _resumed(hook, now))


def forget_preparation(state: State) -> State:
    """The machine has restarted: what was prepared may no longer be, and its recovery stays pending."""
    return _each(state, lambda hook: replace(hook, prepared_for=0))


def retry_failed_recovers(state: State, now: Moment) -> State:
    """An operator asks: a failed recover, or one that waits for its retry, is retried now."""
    return _each(state, lambda hook: _start_recover(hook) if hook.stage in (
        Stage.RECOVER_FAILED, *RETRIED_RECOVERS) else hook)


def _resumed(hook: HookState, now: Moment) -> HookState:
    """A run of an application goes on, by its number: the same instance may be connected again in a moment."""
    match hook.stage:
        case Stage.PREPARING | Stage.RECOVERING if hook.spec.is_application and hook.instance:
            return replace(hook, needs_recover=True, resumed_instance=hook.instance)
        case Stage.PREPARING:
            return replace(hook, stage=Stage.QUEUED, needs_recover=True)
        case Stage.PREPARE_RETRY:
            return replace(hook, stage=Stage.QUEUED)
        case (Stage.STOPPING | Stage.RECOVERING | Stage.RECOVER_FAILED | Stage.RECOVER_RETRY
              | Stage.RECOVER_NOT_YET):
            return replace(hook, stage=Stage.RECOVER_PENDING, needs_recover=True, failures=0, again_raw_s=now.raw_s)
        case _:
            return hook


def _each(state: State, change: Callable[[HookState], HookState]) -> State:
    hooks: Iterable[HookState] = state.hooks.values()
    for hook in hooks:
        state = state.with_hook(change(hook))
    return state
