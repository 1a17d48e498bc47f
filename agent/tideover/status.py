"""What the agent waits for, as one document: from the state and the rows of the record alone. Pure.

The same words serve the running agent and a command that reads the journal of one that is down.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tideover.lifecycle import Case, HookState, Phase, Stage, State
from tideover.lifecycle.state import CLAIMING
from tideover.model import ClockCheck, Moment, utc_text
from tideover.record import Row, pauses_of

WAITING_FOR = {
    Phase.WATCHING: "it concerns other VMs, or is of a kind that is left alone",
    Phase.WAITING: "the time to prepare",
    Phase.PREPARING: "the prepare hooks",
    Phase.ASKING: "the platform's answer to the acknowledgement",
    Phase.DOUBTING: "a fresh document: the answer to the acknowledgement was lost",
    Phase.HOLDING: "the platform to start",
    Phase.UNDERWAY: "the pause, or the end of the event",
    Phase.CHECKING: "a good clock",
    Phase.SETTLING: "a quiet time after the pause",
    Phase.RECOVERING: "the recover hooks",
    Phase.LINGERING: "the event to leave the list; all is recovered",
    Phase.CLOSED: "nothing",
}


def status_of(state: State, rows: Sequence[Row], now: Moment) -> dict[str, Any]:
    """Given the state and the record's rows (all, or the newest), return what is going on. Unknown values are None."""
    cases = [_case(case, now) for case in state.cases.values()]
    ahead = [case for case in cases if case["phase"] in ("waiting", "preparing", "asking", "doubting", "holding")]
    pauses = pauses_of(rows)
    return {
        "vm_name": state.me or None,
        "waiting_for": _sentence(state),
        "events": cases,
        "next_event": min(ahead, key=lambda case: case["not_before"] or "9999", default=None),
        "last_pause": pauses[-1] if pauses else None,
        "clock": _clock(rows),
        "hooks": [_hook(hook, now) for hook in state.hooks.values()],
        "recover_owed": recover_owed(state),
    }


def recover_owed(state: State) -> list[str]:
    """Given the state, return the names of hooks that may have been prepared and are not recovered yet."""
    return sorted(name for name, hook in state.hooks.items() if hook.owed or hook.stage in (
        Stage.PREPARING, Stage.STOPPING, Stage.LEAVING, Stage.RECOVERING, Stage.REPEATING, Stage.OWED))


def draining_because(state: State) -> str | None:
    """Given the state, return why the applications must not get new work now, None if they may: from the moment an
    event of this VM is prepared for until all is recovered."""
    for case in state.cases.values():
        if (case.phase in CLAIMING or case.phase is Phase.RECOVERING) and case.announced:
            return f"{case.event.kind.value} {case.id}: waits for {WAITING_FOR[case.phase]}"
    return None


def _sentence(state: State) -> str:
    failed = [name for name, hook in state.hooks.items() if hook.stage is Stage.OWED]
    if failed:
        return f"the owner: recover of {', '.join(sorted(failed))} failed for good"
    busy = [case for case in state.cases.values() if case.phase is not Phase.WATCHING]
    if not busy:
        return "the next event"
    parts = [f"{WAITING_FOR[case.phase]} ({case.event.kind.value} {case.id})" for case in busy]
    return "; ".join(parts)


def _case(case: Case, now: Moment) -> dict[str, Any]:
    waits = case.due_raw_s is not None and not case.began
    left = round(case.due_raw_s - now.raw_s, 3) if waits and case.due_raw_s is not None else None
    return {
        "event_id": case.id, "kind": case.event.kind.value, "phase": case.phase.value,
        "waiting_for": WAITING_FOR[case.phase], "resources": list(case.event.resources),
        "description": case.event.description, "event_source": case.event.event_source,
        "not_before": utc_text(case.event.not_before), "seconds_left": left,
        "expected_pause_s": case.event.expected_pause_s, "acknowledged": case.acknowledged,
        "acknowledgements_sent": case.ask_attempt, "started": case.began, "listed": case.listed,
    }


def _hook(hook: HookState, now: Moment) -> dict[str, Any]:
    again = hook.stage in (Stage.RETRYING, Stage.REPEATING)
    return {
        "name": hook.spec.name, "order": hook.spec.order, "stage": hook.stage.value, "attempt": hook.attempt,
        "limit_s": hook.limit_s if hook.run else None, "event_id": hook.event_id or None,
        "again_in_s": round(max(0.0, hook.again_raw_s - now.raw_s), 3) if again else None,
        "failures": hook.failures,
    }


def _clock(rows: Iterable[Row]) -> dict[str, Any] | None:
    last = None
    for row in rows:
        if isinstance(row.subject, ClockCheck):
            last = row.subject
    if last is None:
        return None
    return {"verdict": last.verdict.value, "offset_s": last.offset_s, "error_bound_s": last.error_bound_s,
            "checked_at": utc_text(last.checked_at), "reason": last.reason}
