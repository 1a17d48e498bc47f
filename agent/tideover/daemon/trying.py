"""One run of one hook, tried by hand beside the agent: told what the agent would tell it, of a made-up event."""
from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tideover.configuration import Loaded
from tideover.daemon.choices import environment_of
from tideover.daemon.hands import HookHand
from tideover.daemon.opening import make_directory, require_safe
from tideover.effects import RunHook
from tideover.hooks import HookRunner
from tideover.hooks.runner import read_moment
from tideover.lifecycle import Case, HookState, Phase, Stage, State, wants
from tideover.model import ANNOUNCED, Event, HookPhase, HookReport, HookSpec, Kind, Moment
from tideover.observations import HookSettled, Observation
from tideover.record import Row

EVENT_ID = "by-hand"
STATE = "by-hand"           # below the state directory: neither disturbs the other
STATE_MODE = 0o711


def try_hook(
    loaded: Loaded, spec: HookSpec, phase: HookPhase, kind: Kind, *, drill: bool = False,
    show_line: Callable[[str], None] | None = None,
) -> HookReport:
    """Given the configuration, a hook, a phase and the kind of event it is told, run it and return how it ended.

    `show_line` gets each line that it prints, as it comes, on the caller's thread. Raise WrongUseError if somebody else
    could change what counts.
    """
    require_safe(loaded.file)
    home = Path(loaded.settings.paths.state) / STATE
    make_directory(home, STATE_MODE)
    answers: queue.SimpleQueue[Observation | str] = queue.SimpleQueue()
    runner = HookRunner(answers.put, home, drill=drill, environment_of=partial(environment_of, loaded.settings),
                        log_line=lambda name, line: answers.put(line), lines_at_most=sys.maxsize)
    now = read_moment()
    case = _made_up(phase, kind)
    try:
        HookHand(runner, lambda event_id: _rows(case, now)).start(_run(case, spec, phase, now))
        while isinstance(answer := answers.get(), str):
            if show_line is not None:
                show_line(answer)
        assert isinstance(answer, HookSettled)
        return answer.report
    finally:
        runner.close()


def _made_up(phase: HookPhase, kind: Kind) -> Case:
    """Withdrawn before anything happened, for nothing has; what nobody announces cannot be withdrawn."""
    event = Event(EVENT_ID, kind, (), description="a try by hand, no event", event_source="user", source="by-hand")
    return Case(event, Phase.PREPARING if phase is HookPhase.PREPARE else Phase.RECOVERING, began=kind not in ANNOUNCED)


def _run(case: Case, spec: HookSpec, phase: HookPhase, now: Moment) -> RunHook:
    """Asked of the decision itself, so that nothing the agent tells is forgotten here."""
    stage = Stage.PREPARING if phase is HookPhase.PREPARE else Stage.RECOVERING
    hook = HookState(spec, stage, run=1, attempt=1, limit_s=spec.timeout_s, event_id=case.id, kind=case.event.kind,
                     reason=case.reason if phase is HookPhase.RECOVER else "")
    state = State(MappingProxyType({case.id: case}), MappingProxyType({spec.name: hook}))
    return next(effect for effect in wants(state, now) if isinstance(effect, RunHook))


def _rows(case: Case, now: Moment) -> list[Row]:
    return [Row(now.utc, case.id, "noticed", "by hand", case.event), Row(now.utc, case.id, case.phase.value)]
