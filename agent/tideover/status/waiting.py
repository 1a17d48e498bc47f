"""What is waited for, in words: of one event, and of the whole agent in one sentence. Pure."""
from __future__ import annotations

from tideover.lifecycle import Case, HookState, Phase, Stage, State
from tideover.lifecycle.state import ends_an_event

WAITING_FOR = {
    Phase.WATCHING: "it concerns other VMs, or is of a kind that is left alone",
    Phase.WAITING: "the time to prepare",
    Phase.PREPARING: "the prepare hooks",
    Phase.ASKING: "the platform's answer to the acknowledgement",
    Phase.DOUBTING: "a fresh document: whether the acknowledgement counted is not known",
    Phase.HOLDING: "the platform to start",
    Phase.UNDERWAY: "the pause, or the end of the event",
    Phase.CHECKING: "a good clock",
    Phase.SETTLING: "a quiet time after the pause",
    Phase.RECOVERING: "the recover hooks",
    Phase.LINGERING: "the event to leave the list; all is recovered",
    Phase.CLOSED: "nothing",
}
UNREACHABLE = "the metadata service, which cannot be reached or gives no document"
NAMED_AT_MOST = 3           # hooks; the table below the sentence has them all


def sentence(state: State, poll_failures: int = 0) -> str:
    """Given a state and how many polls have failed since the last document, return what the agent waits for: it
    completes "waits for …"."""
    failed = [name for name, hook in state.hooks.items() if hook.stage is Stage.OWED]
    if failed:
        return f"the owner: recover of {', '.join(sorted(failed))} failed for good"
    busy = [case for case in state.cases.values() if case.phase is not Phase.WATCHING]
    if not busy:
        return UNREACHABLE if poll_failures else "the next event"
    return "; ".join(f"{waited_for(state, case)} ({case.event.kind.value} {case.id})" for case in busy)


def waited_for(state: State, case: Case) -> str:
    """Given a state and one of its cases, return what that one waits for, hooks by their names."""
    match case.phase:
        case Phase.PREPARING:
            return _prepared_by(state, case)
        case Phase.RECOVERING:
            return _recovered_by(state)
        case Phase.UNDERWAY if any(ends_an_event(pause) for pause in case.pauses):
            return "the end of the event; its pause has been seen"
        case Phase.HOLDING if not case.acknowledged:
            return "the platform to start in its own time: it was not told to go ahead"
        case _:
            return WAITING_FOR[case.phase]


def _prepared_by(state: State, case: Case) -> str:
    if not state.fresh:
        return "a document of the platform, before anything is prepared"
    wanted = [hook for hook in state.hooks.values() if case.id in hook.wanted_by]
    ending = [hook for hook in state.hooks.values() if hook.stage in (Stage.STOPPING, Stage.RECOVERING)]
    if ending:
        return f"{_named(ending)} to end; prepare comes after that"
    running = [hook for hook in wanted if hook.stage is Stage.PREPARING]
    if running:
        return f"prepare of {_named(running)}"
    not_yet = [hook for hook in wanted if hook.stage is Stage.RETRYING]
    return f"the next try of {_named(not_yet)}, which said \"not yet\"" if not_yet else WAITING_FOR[Phase.PREPARING]


def _recovered_by(state: State) -> str:
    if state.claimed():
        return "another event, for which all stays prepared"
    ending = [hook for hook in state.hooks.values() if hook.stage in (Stage.PREPARING, Stage.STOPPING)]
    if ending:
        return f"prepare of {_named(ending)} to end; recover comes after that"
    running = [hook for hook in state.hooks.values() if hook.stage is Stage.RECOVERING]
    if running:
        return f"recover of {_named(running)}"
    again = [hook for hook in state.hooks.values() if hook.stage is Stage.REPEATING]
    return f"the next try of recover of {_named(again)}" if again else WAITING_FOR[Phase.RECOVERING]


def _named(hooks: list[HookState]) -> str:
    names = [hook.spec.name for hook in sorted(hooks, key=lambda hook: (hook.spec.order, hook.spec.name))]
    shown = ", ".join(names[:NAMED_AT_MOST])
    rest = len(names) - NAMED_AT_MOST
    return f"{shown} and {rest} more" if rest > 0 else shown
