"""How the time up to NotBefore is shared among hooks. Arithmetic on raw seconds; nothing is decided about phases."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from tideover.lifecycle.state import Case
from tideover.model import HookSpec, Moment
from tideover.policy import Policy

SHORTEST_S = 1.0
"""A hook is never given less: a run cut off sooner only leaves something half done."""

RECOVER_TIMES = 10
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
    if not rules.just_in_time:
        return earliest
    budget_s = sum(longest_by_order(policy.hooks_for(case.event)).values())
    return max(earliest, case.due_raw_s - budget_s - policy.reserve_s)


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
    return min(spec.timeout_s, max(SHORTEST_S, spec.timeout_s * share))


def rest_limit_s(spec: HookSpec, gone_s: float, left_s: float | None, remaining: Mapping[int, float]) -> float:
    """Given the same for a run begun `gone_s` seconds ago, return what its limit is by now, counted from its beginning.

    Time that passes never makes it smaller; a NotBefore that comes nearer does.
    """
    if left_s is None or left_s <= 0:
        return spec.timeout_s
    wanted_s = sum(remaining.values()) - gone_s
    share = min(1.0, left_s / wanted_s) if wanted_s > 0 else 1.0
    return gone_s + max(SHORTEST_S, (spec.timeout_s - gone_s) * share)


def retry_until_s(spec: HookSpec, left_s: float | None, remaining: Mapping[int, float]) -> float:
    """Given the same, return for how many seconds from now a "not yet" is tried again: as long as the time lasts, less
    what the hooks after it need."""
    if left_s is None or left_s <= 0:
        return spec.timeout_s * RECOVER_TIMES
    later_s = sum(longest_s for order, longest_s in remaining.items() if order > spec.order)
    return max(run_limit_s(spec, left_s, remaining), left_s - later_s)


def left_s(cases: Iterable[Case], policy: Policy, now: Moment) -> float | None:
    """Given the cases that wait for preparation, return the seconds up to the earliest NotBefore less the reserve.

    At or below zero: NotBefore itself has passed. None: no time is known.
    """
    due = min((case.due_raw_s for case in cases if case.due_raw_s is not None), default=None)
    if due is None:
        return None
    ahead_s = due - now.raw_s
    return ahead_s if ahead_s <= 0 else max(SHORTEST_S, ahead_s - policy.reserve_s)
