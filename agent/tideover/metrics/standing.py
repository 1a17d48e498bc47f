"""How things stand now, from the state alone: right after a restart as well as before it. Pure."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tideover.lifecycle import Case, Phase, Stage, State, readiness
from tideover.status import recover_owed

FOREMOST = (Phase.SETTLING, Phase.CHECKING, Phase.UNDERWAY, Phase.HOLDING, Phase.DOUBTING, Phase.ASKING,
            Phase.PREPARING, Phase.RECOVERING, Phase.WAITING, Phase.LINGERING, Phase.WATCHING)
"""Where several events are open, the one furthest on says how the machine is. One that recovers waits for all claims to
go, so it comes after them; what is over, or not ours, comes last."""

IDLE = "idle"
STATES = (IDLE, *(phase.value for phase in FOREMOST))
AHEAD = frozenset({Phase.WAITING, Phase.PREPARING, Phase.ASKING, Phase.DOUBTING, Phase.HOLDING})
CLAIMED, DUE, FAILED = "claimed", "due", "failed"
OWED_STAGES = (CLAIMED, DUE, FAILED)


@dataclass(frozen=True, slots=True)
class Standing:
    """The machine at one moment."""

    state: str                          # one of STATES
    next_not_before: datetime | None    # of the events of this VM that have not begun; None: there is none
    recoveries_owed: Mapping[str, int]  # hooks, by OWED_STAGES
    acknowledgements_held: int          # events whose "go ahead" a failed required preparation holds back


def standing_of(state: State) -> Standing:
    """Given the state, return how things stand."""
    phases = {case.phase for case in state.cases.values()}
    ahead = [case.event.not_before for case in state.cases.values() if case.phase in AHEAD and case.event.not_before]
    return Standing(
        state=next((phase.value for phase in FOREMOST if phase in phases), IDLE),
        next_not_before=min(ahead, default=None),
        recoveries_owed=_recoveries_owed(state),
        acknowledgements_held=sum(_is_held(state, case) for case in state.cases.values()),
    )


def _recoveries_owed(state: State) -> dict[str, int]:
    owed = dict.fromkeys(OWED_STAGES, 0)
    open_ = CLAIMED if state.claimed() else DUE
    for name in recover_owed(state):
        owed[FAILED if state.hooks[name].stage is Stage.OWED else open_] += 1
    return owed


def _is_held(state: State, case: Case) -> bool:
    wanted = any(case.id in hook.wanted_by for hook in state.hooks.values())
    waits = case.phase is Phase.HOLDING and not case.acknowledged
    return waits and wanted and readiness.why_hold(state, case) is not None
