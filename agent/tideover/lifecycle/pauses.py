"""What a pause means: whose it is, and what becomes of one that nobody announced."""
from __future__ import annotations

from tideover import observations as ob
from tideover.lifecycle import case as life
from tideover.lifecycle import signals as sg
from tideover.lifecycle.state import CLAIMING, Case, Phase
from tideover.lifecycle.turn import Turn
from tideover.model import Cause, Event, Kind, Pause


def resumed(turn: Turn, seen: ob.Resumed) -> None:
    """A pause belongs to every event that may have caused it; one that no event can explain is a case of its own."""
    pause = seen.pause
    taking = [case for case in turn.state.cases.values() if _takes(case, pause)]
    for case in taking:
        turn.tell(case.id, "pause", length_text(pause), pause)
        turn.move(case, sg.Paused(pause), "")
    if taking:
        return
    announces = life.stopped_the_machine(pause) and turn.policy.recover_unannounced
    turn.tell(pause.id if announces else "", "pause", length_text(pause), pause)
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


def length_text(pause: Pause) -> str:
    if pause.length_s is None or pause.uncertainty_s is None:
        return f"{pause.cause.value}, length unknown"
    return f"{pause.cause.value} of {pause.length_s:.3f} s ± {pause.uncertainty_s:.3f} s"
