"""What a pause means: whose it is, and what becomes of one that nobody announced."""
from __future__ import annotations

import tideover.lifecycle.case as life
import tideover.lifecycle.readiness as readiness
import tideover.lifecycle.signals as sg
from tideover import observations as ob
from tideover.lifecycle.state import CLAIMING, Case, Phase, stopped_the_machine
from tideover.lifecycle.turn import Turn
from tideover.model import Cause, Event, Kind, Pause


def resumed(turn: Turn, seen: ob.Resumed) -> None:
    """A pause belongs to every event that may have caused it; one that no event can explain is a case of its own."""
    pause = seen.pause
    turn.state = readiness.extend(turn.state, pause)
    taking = [case for case in turn.state.cases.values() if _takes(case, pause)]
    for case in taking:
        turn.tell(case.id, "pause", length_text(pause), pause)
        turn.move(case, sg.Paused(pause), "")
    if taking:
        return
    if stopped_the_machine(pause) and turn.policy.recover_unannounced:
        _open_case(turn, pause)
    else:
        turn.tell("", "pause", length_text(pause), pause)


def _open_case(turn: Turn, pause: Pause) -> None:
    """Nobody announced it: a case of its own, which checks the clock and recovers the hooks that ask for its kind."""
    event = _event_of(turn, pause)
    turn.tell(event.id, "noticed", "nobody announced it", event)
    turn.tell(event.id, "pause", length_text(pause), pause)
    case = life.remember(Case(event, Phase.CHECKING, listed=False, began=True), sg.Paused(pause), turn.policy, turn.now)
    turn.put(None, life.enter(case, Phase.CHECKING, turn.policy, turn.now), "")


def _event_of(turn: Turn, pause: Pause) -> Event:
    """Another physical host afterwards: a live migration (Hyper-V names the host to its guests)."""
    kind, description = Kind.UNANNOUNCED, "a pause of this machine that nobody announced"
    if pause.host is not None:
        kind, description = Kind.LIVE_MIGRATION, f"moved from host {pause.host[0]} to host {pause.host[1]}"
    return Event(pause.id, kind, (turn.state.me,), started=True, event_source="none", source="none",
                 description=description)


def _takes(case: Case, pause: Pause) -> bool:
    """A step of the clock is nobody's pause, but makes a verdict on the clock old where somebody is still to be told of
    it; what is neither prepared nor started cannot have caused a pause, and a stall of our own says nothing of an event
    that was withdrawn."""
    if pause.cause is Cause.CLOCK_STEP:
        return case.phase in (Phase.SETTLING, Phase.RECOVERING)
    if any(known.id == pause.id for known in case.pauses):
        return False
    if not (stopped_the_machine(pause) or case.listed or case.has_begun):
        return False
    if case.phase in CLAIMING:
        return True
    return case.phase in (Phase.RECOVERING, Phase.LINGERING)


def length_text(pause: Pause) -> str:
    if pause.length_s is None or pause.told_uncertainty_s is None:
        return f"{pause.cause.value}, length unknown"
    return f"{pause.cause.value} of {pause.length_s:.3f} s ± {pause.told_uncertainty_s:.3f} s"
