"""The status document of `tideover status` and API: what it waits for in words, problems, when the health page says
draining. Pure.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tideover.lifecycle import Case, HookState, Phase, Stage, State
from tideover.lifecycle.manual import is_pending
from tideover.lifecycle.state import (
    AWAITING_PLATFORM,
    CLAIMING,
    RETRIED_RECOVERS,
    RUNNING,
    PrepareResult,
    ends_an_event,
)
from tideover.model import ClockCheck, Moment, Verdict, utc_text
from tideover.observations import FleetView
from tideover.platforms import Platform
from tideover.policy import names_me
from tideover.record import Row, pauses_of

if TYPE_CHECKING:
    from tideover.documents import (
        AgentStatusDocument,
        ClockStatusDocument,
        EventStatusDocument,
        HookStatusDocument,
        ShownStatusDocument,
        StateDocument,
    )

# --- What an event, and the whole agent, waits for, in one sentence

WAITING_FOR = {
    Phase.OBSERVED: "nothing: it concerns other VMs, or a kind outside act_on",
    Phase.SCHEDULED: "the time to prepare",
    Phase.WAITING_FOR_SLOT: "a slot of its group",
    Phase.PREPARING: "the prepare hooks",
    Phase.WAITING_FOR_PEERS: "the other machines that it names",
    Phase.ACKNOWLEDGING: "the platform's answer to the acknowledgement",
    Phase.UNCONFIRMED: "the next poll: the acknowledgement is unconfirmed",
    Phase.HELD: "the platform to start the event; it is not acknowledged",
    Phase.ACKNOWLEDGED: "the platform to start the event",
    Phase.STARTED: "the pause, or the end of the event",
    Phase.CHECKING_CLOCK: "a good clock",
    Phase.SETTLING: "the end of the settle time after the pause",
    Phase.RECOVERING: "the recover hooks",
    Phase.RECOVERED: "the event to be removed; all is recovered",
    Phase.CLOSED: "nothing",
}
UNREACHABLE = "which cannot be reached or gives no document"
NAMED_AT_MOST = 3           # hooks; the table below the sentence has them all


def sentence(state: State, poll_failures: int = 0, platform: Platform | None = None) -> str:
    """Given a state, how many polls have failed since the last document and the platform (None: not known), return what
    the agent waits for: it completes "waits for …"."""
    failed = [name for name, hook in state.hooks.items() if hook.stage is Stage.RECOVER_FAILED]
    if failed:
        return f"operator action: recovery of {', '.join(sorted(failed))} failed"
    busy = [case for case in state.cases.values() if case.phase is not Phase.OBSERVED]
    if not busy:
        if platform is not None and platform.silence:
            return "the next pause of this machine"
        service = platform.service if platform is not None else "the platform's service"
        return f"{service}, {UNREACHABLE}" if poll_failures else "the next event"
    return "; ".join(f"{waited_for(state, case)} ({case.event.kind.value} {case.id})" for case in busy)


def waited_for(state: State, case: Case) -> str:
    """Given a state and one of its cases, return what that one waits for, hooks by their names."""
    match case.phase:
        case Phase.PREPARING:
            return _prepared_by(state, case)
        case Phase.RECOVERING:
            return _recovered_by(state)
        case Phase.WAITING_FOR_PEERS if case.fleet is not None:
            return _peers_of(case.fleet.view)
        case Phase.STARTED if any(ends_an_event(pause) for pause in case.pauses):
            return "the end of the event; its pause was detected"
        case _:
            return WAITING_FOR[case.phase]


def _prepared_by(state: State, case: Case) -> str:
    if not state.fresh:
        return "a new document, before anything is prepared"
    wanted = [hook for hook in state.hooks.values() if case.id in hook.wanted_by]
    ending = [hook for hook in state.hooks.values() if hook.stage in (Stage.STOPPING, Stage.RECOVERING)]
    if ending:
        return f"{_named(ending)} to end; prepare comes after that"
    running = [hook for hook in wanted if hook.stage is Stage.PREPARING]
    if running:
        return f"prepare of {_named(running)}"
    not_yet = [hook for hook in wanted if hook.stage is Stage.PREPARE_RETRY]
    if not_yet:
        return f"the retry of {_named(not_yet)}, which answered \"not yet\""
    settled = all(hook.stage is Stage.PREPARED for hook in wanted)
    own_time = settled and not case.event.takes_acknowledgement
    return "the platform to start the event, in its own time" if own_time else WAITING_FOR[Phase.PREPARING]


def _peers_of(view: FleetView) -> str:
    if not view.is_reached:
        return "the fleet's store, which cannot be reached"
    if not view.not_ready:
        claimant = view.claimed_by
        return f"{claimant} to acknowledge the event" if claimant else WAITING_FOR[Phase.WAITING_FOR_PEERS]
    shown = "; ".join(f"{name}: {why}" for name, why in view.not_ready[:NAMED_AT_MOST])
    rest = view.not_ready_count - NAMED_AT_MOST
    return f"other machines ({shown}{f'; and {rest} more' if rest > 0 else ''})"


def _recovered_by(state: State) -> str:
    if state.claimed():
        return "another event that keeps the applications prepared"
    ending = [hook for hook in state.hooks.values() if hook.stage in (Stage.PREPARING, Stage.STOPPING)]
    if ending:
        return f"prepare of {_named(ending)} to end; recover comes after that"
    running = [hook for hook in state.hooks.values() if hook.stage is Stage.RECOVERING]
    if running:
        return f"recover of {_named(running)}"
    again = [hook for hook in state.hooks.values() if hook.stage in RETRIED_RECOVERS]
    return f"the retry of recover of {_named(again)}" if again else WAITING_FOR[Phase.RECOVERING]


def _named(hooks: list[HookState]) -> str:
    names = [hook.spec.name for hook in sorted(hooks, key=lambda hook: (hook.spec.order, hook.spec.name))]
    shown = ", ".join(names[:NAMED_AT_MOST])
    rest = len(names) - NAMED_AT_MOST
    return f"{shown} and {rest} more" if rest > 0 else shown


# --- The document

HOOK_PHASES = {Stage.PREPARING: "prepare", Stage.STOPPING: "prepare", Stage.RECOVERING: "recover"}


def status_of(state: State, rows: Sequence[Row], now: Moment, poll_failures: int = 0,
              platform: Platform | None = None) -> StateDocument:
    """Given the state, the record's rows (all, or the newest), how many polls have failed since the last document and
    the platform (None: not known), return what is going on, own events before other machines'. Unknown values are
    None."""
    cases = [_case(state, case, rows, now) for case in state.cases.values()]
    ahead = [shown for shown, case in zip(cases, state.cases.values(), strict=True)
             if case.phase in (Phase.SCHEDULED, Phase.WAITING_FOR_SLOT) or case.phase in AWAITING_PLATFORM]
    pauses = pauses_of(rows)
    return {
        "vm_name": state.me or None,
        "waiting_for": sentence(state, poll_failures, platform),
        "events": sorted(cases, key=lambda case: not case["ours"]),
        "next_event": min(ahead, key=lambda case: case["not_before"] or "9999", default=None),
        "last_pause": pauses[-1].as_json() if pauses else None,
        "clock": _clock(rows),
        "hooks": [_hook(state, hook, now) for hook in state.hooks.values()],
        "recover_pending": recover_pending(state),
        "applications": sorted(state.connected),
        "applications_never_connected": None,
        "events_left_out": state.beyond,
    }


# --- What needs a look, in a status document

SILENT_AT_MOST_S = 60.0     # a platform is polled every few seconds, also after errors


def problems_of(status: AgentStatusDocument) -> list[str]:
    """Given the status of an agent that answers, return what needs a look, each in a few words; empty: healthy."""
    problems = []
    failed = sorted(hook["name"] for hook in status["hooks"] if hook["stage"] == Stage.RECOVER_FAILED.value)
    if failed:
        problems.append(f"recovery of {', '.join(failed)} failed")
    journal, source = status["journal"], status["source"]
    if journal is not None and not journal["writable"]:
        problems.append(f"the journal cannot be written: {journal['reason']}")
    if source is not None and source["silence"]:
        problems.append(f"no events can be received: {source['silence']}")
    elif source is not None and source["silent_s"] > SILENT_AT_MOST_S:
        reason = f": {source['reason']}" if source["reason"] else ""
        problems.append(f"no successful poll for {source['silent_s']:.0f} s{reason}")
    fleet = status.get("fleet")
    if fleet is not None and fleet["failing_since"]:
        problems.append(f"the fleet's store cannot be used since {fleet['failing_since']}: {fleet['reason']}")
    return problems + [f"the acknowledgement of {event['event_id']} is held: prepare of {', '.join(names)} failed"
                       for event in status["events"] if (names := _withholding(event, status["hooks"]))]


def is_observing(status: AgentStatusDocument) -> bool:
    """Whether the agent of this status runs no hook and acknowledges nothing."""
    return status["mode"] == "observe"


def _withholding(event: EventStatusDocument, hooks: Iterable[HookStatusDocument]) -> list[str]:
    """Names of the hooks whose failed preparation keeps this event held. One preparation serves events that overlap."""
    if event["phase"] != Phase.HELD.value or event["acknowledged"]:
        return []
    return sorted(hook["name"] for hook in hooks if hook["refused"] or (hook["required"] and hook["worked"] is False))


def own_events_only(status: ShownStatusDocument) -> ShownStatusDocument:
    """Given a status, return it without the events of other machines, and how many those are."""
    own = [event for event in status["events"] if event["ours"]]
    return {**status, "events": own, "events_of_others": len(status["events"]) - len(own)}


def without_raw_times(status: StateDocument) -> StateDocument:
    """Given the status of another boot's state, return it without what was counted on that boot's raw clock."""
    upcoming = status["next_event"]
    return {**status, "events": [_untimed(event) for event in status["events"]],
            "hooks": [{**hook, "running_s": None, "again_in_s": None} for hook in status["hooks"]],
            "next_event": _untimed(upcoming) if upcoming is not None else None}


def _untimed(event: EventStatusDocument) -> EventStatusDocument:
    return {**event, "seconds_left": None, "wakes_in_s": None}


def recover_pending(state: State) -> list[str]:
    """Given the state, return the names of hooks that may have been prepared and are not recovered yet."""
    return sorted(name for name, hook in state.hooks.items() if is_pending(hook))


def draining_because(state: State, *, observes: bool = False) -> str | None:
    """Given the state, return why the applications must not get new work now, None if they may: from the moment an
    event of this VM is prepared for until all is recovered. `observes`: [policy] mode is observe, so only what was
    prepared before keeps them from it."""
    if observes and not state.hooks:
        return None
    for case in state.cases.values():
        if (case.phase in CLAIMING or case.phase is Phase.RECOVERING) and case.announced:
            return f"{case.event.kind.value} {case.id}: waits for {WAITING_FOR[case.phase]}"
    return None


def _case(state: State, case: Case, rows: Sequence[Row], now: Moment) -> EventStatusDocument:
    waits = case.due_raw_s is not None and not case.began
    left = round(case.due_raw_s - now.raw_s, 3) if waits and case.due_raw_s is not None else None
    return {
        "event_id": case.id, "kind": case.event.kind.value, "phase": case.phase.value,
        "ours": case.phase is not Phase.OBSERVED or not state.me or names_me(case.event, state.me),
        "waiting_for": waited_for(state, case), "resources": list(case.event.resources),
        "description": case.event.description, "event_source": case.event.event_source,
        "not_before": utc_text(case.event.not_before), "seconds_left": left,
        "expected_pause_s": case.event.expected_pause_s, "acknowledged": case.acknowledged,
        "acknowledgements_sent": case.ack_attempts, "started": case.began, "listed": case.listed,
        "wakes_in_s": None if case.wake_raw_s is None else round(max(0.0, case.wake_raw_s - now.raw_s), 3),
        "why": _why(case, rows),
    }


def _why(case: Case, rows: Sequence[Row]) -> str:
    """What the record says of how it came into its phase: why an event is held, for one."""
    return next((row.note for row in reversed(rows) if row.event_id == case.id and row.what is case.phase),
                "")


def _hook(state: State, hook: HookState, now: Moment) -> HookStatusDocument:
    again = hook.stage in (Stage.PREPARE_RETRY, *RETRIED_RECOVERS)
    runs = hook.stage in RUNNING
    result = hook.prepare_result if hook.stage is Stage.PREPARED else None
    return {
        "name": hook.spec.name, "kind": "application" if hook.spec.is_application else "hook",
        "order": hook.spec.order, "file": _file(hook) or hook.spec.name,
        "connected": state.is_reachable(hook.spec) if hook.spec.is_application else None, "stage": hook.stage.value,
        "phase": HOOK_PHASES.get(hook.stage), "attempt": hook.attempt,
        "running_s": round(max(0.0, now.raw_s - hook.begun_raw_s), 3) if runs and hook.begun_raw_s else None,
        "limit_s": hook.limit_s if hook.run else None, "timeout_s": hook.spec.timeout_s,
        "required": hook.spec.required, "worked": result is PrepareResult.WORKED if result else None,
        "refused": result is PrepareResult.UNSAFE if result else None, "event_id": hook.event_id or None,
        "again_in_s": round(max(0.0, hook.again_raw_s - now.raw_s), 3) if again else None,
        "failures": hook.failures,
    }


def _file(hook: HookState) -> str:
    """The name of its file, which has no separator of any system in it."""
    return hook.spec.path.replace("\\", "/").rpartition("/")[2]


def _clock(rows: Iterable[Row]) -> ClockStatusDocument | None:
    last = None
    for row in rows:
        if isinstance(row.subject, ClockCheck):
            last = row.subject
    if last is None:
        return None
    return finding_of(last)


def finding_of(check: ClockCheck) -> ClockStatusDocument:
    """Given what outside time says, return it as the status shows it."""
    return {"verdict": check.verdict.value, "offset_s": check.offset_s, "error_bound_s": check.error_bound_s,
            "checked_at": utc_text(check.checked_at), "reason": check.reason}


def read_finding(document: ClockStatusDocument) -> ClockCheck:
    """Given a check as a status document has it, return it."""
    at = document["checked_at"]
    return ClockCheck(Verdict(document["verdict"]), document["offset_s"], document["error_bound_s"],
                      datetime.fromisoformat(at) if at else None, reason=document["reason"])


def is_checking(state: State) -> bool:
    """Whether an event waits for a good clock: then the newest finding is news, before there is a verdict."""
    return any(case.phase is Phase.CHECKING_CLOCK for case in state.cases.values())
