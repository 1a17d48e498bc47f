"""What the hands answer: each counts only while it is waited for."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import tideover.lifecycle.readiness as readiness
import tideover.lifecycle.signals as sg
from tideover import observations as ob
from tideover.lifecycle.state import Phase, Stage, hears_of_hooks
from tideover.lifecycle.turn import Turn
from tideover.model import ClockCheck, HookOutcome, HookReport, HookRun

KEPT_OF_NOT_YET = 4096
"""Of what a run printed that said "not yet": there may be one a second for an hour, and each is told all before it."""

ACKNOWLEDGEMENT_WORDS: Mapping[ob.AckOutcome, str] = MappingProxyType({
    ob.AckOutcome.ACCEPTED: "acknowledged", ob.AckOutcome.REFUSED: "acknowledgement refused",
    ob.AckOutcome.LOST: "acknowledgement lost",
})


def poll_failed(turn: Turn, seen: ob.PollFailed) -> None:
    """No document says nothing about any event."""


def hook_settled(turn: Turn, seen: ob.HookSettled) -> None:
    after = readiness.settle(turn.state, seen, turn.now)
    if after is turn.state:
        return
    before = turn.state.hooks[seen.name]
    run = HookRun(seen.name, seen.phase, before.attempt, _shortened(seen.report), before.limit_s)
    for case in turn.state.cases.values():
        if hears_of_hooks(case):
            turn.tell(case.id, f"hook {seen.phase.value}", f"{seen.name}: {seen.report.outcome.value}", run)
    turn.state = after
    hook = after.hooks.get(seen.name)
    if hook is not None and hook.stage is Stage.OWED:
        for case in after.cases.values():
            if case.phase is Phase.RECOVERING:
                turn.tell(case.id, "recover owed", f"{seen.name} failed {hook.failures} times; the owner must look")


def _shortened(report: HookReport) -> HookReport:
    if report.outcome is not HookOutcome.NOT_YET:
        return report
    return replace(report, output=report.output[-KEPT_OF_NOT_YET:])


def ack_settled(turn: Turn, seen: ob.AckSettled) -> None:
    case = turn.state.cases.get(seen.event_id)
    if case is None or seen.attempt != case.ask_attempt or case.acknowledged:
        return
    if seen.outcome is ob.AckOutcome.ACCEPTED:
        turn.state = turn.state.with_settled(case.id)
    elif case.phase is not Phase.ASKING:
        return                                          # nobody waits for it, and it did not count
    turn.tell(case.id, ACKNOWLEDGEMENT_WORDS[seen.outcome], seen.reason)
    turn.move(case, sg.Answered(seen.outcome, seen.reason), seen.reason)


def clock_judged(turn: Turn, seen: ob.ClockJudged) -> None:
    case = turn.state.cases.get(seen.event_id)
    if case is None or case.phase is not Phase.CHECKING or seen.round != case.check_round:
        return
    check = seen.check
    turn.tell(case.id, "clock", clock_note(check), check)
    turn.move(case, sg.Judged(check), "the owner waits for a good clock" if turn.policy.must_wait_for(check) else "")


def clock_note(check: ClockCheck) -> str:
    return ": ".join(filter(None, (check.verdict.value, check.reason)))


def clock_followed(turn: Turn, seen: ob.ClockFollowed) -> None:
    turn.tell(seen.event_id, "clock followed", ": ".join(filter(None, (seen.state, seen.check.reason))), seen.check)


def due(turn: Turn, seen: ob.Due) -> None:
    """A case that waited for this moment moves; a hook whose turn has come is begun when the state comes to rest."""
    case = turn.state.cases.get(seen.key.removeprefix("case:"))
    if case is not None and case.wake_raw_s is not None and case.wake_raw_s <= turn.now.raw_s:
        turn.move(case, sg.Woken())
