"""What a start of the agent or of the machine means, and what the owner asks for by hand."""
from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import tideover.lifecycle.case as life
import tideover.lifecycle.readiness as readiness
import tideover.lifecycle.signals as sg
from tideover import observations as ob
from tideover.lifecycle.answers import clock_note
from tideover.lifecycle.pauses import length_text
from tideover.lifecycle.state import CLAIMING, RUNNING, Case, HookState, Phase, Stage, hears_of_hooks
from tideover.lifecycle.turn import Turn
from tideover.model import Cause, Event, HookOutcome, HookPhase, HookReport, HookRun, Pause, Quality

CUT_SHORT = "the agent ended while it ran"
"""Of a run whose end the agent did not live to see. Whatever it left was ended before anything was begun again."""


def restarted(turn: Turn, seen: ob.Restarted) -> None:
    """What ran has been ended by now. Another boot id: the applications have started anew too."""
    rebooted = bool(turn.state.boot_id) and turn.state.boot_id != seen.boot_id
    _tell_of_the_end(turn)
    turn.state = readiness.resume_after_restart(replace(turn.state, boot_id=seen.boot_id, fresh=False), turn.now)
    if rebooted:
        turn.state = readiness.forget_preparation(turn.state)
    for case in list(turn.state.cases.values()):
        if rebooted:
            _take_reboot(turn, case, seen)
        else:
            turn.move(case, sg.AgentRestarted(), "the agent was restarted")
    for witness in seen.found:
        _take_witness(turn, witness, seen.boot_id)


def _take_witness(turn: Turn, witness: ob.Witness, boot_id: str) -> None:
    """What has a private directory was prepared. Where the journal lost that, or is one of before, the directory says
    it: the clock is checked, then the hook is recovered."""
    name = witness.name
    known = turn.state.hooks.get(name)
    if known is not None:
        if not known.owed and known.stage is not Stage.PREPARED:      # that one said that it changed nothing
            turn.state = turn.state.with_hook(replace(known, owed=True))
        return
    spec = next((one for one in turn.policy.hooks if one.name == name), witness.spec)
    if spec is None:
        turn.tell("", "recovery impossible", f"{name} has a private directory, so it was prepared, but neither the "
                                             "journal nor a hook of that name says how it is recovered")
        return
    event_id = witness.event_id if witness.event_id and witness.event_id not in turn.state.cases else f"found-{name}"
    event = Event(event_id, witness.kind, (turn.state.me,) if turn.state.me else (), started=True,
                  event_source="none", source="none",
                  description="prepared, by the private directory of its hook; the journal does not know it")
    note = f"{name}: it has a private directory, and the journal does not know why"
    turn.tell(event_id, "found prepared", note, event)
    turn.state = turn.state.with_hook(HookState(spec, Stage.LEAVING, owed=True, event_id=event_id, kind=witness.kind))
    if event_id not in turn.state.cases:
        case = Case(event, Phase.CHECKING, listed=False, began=True, rebooted=witness.boot_id not in ("", boot_id))
        turn.put(None, life.enter(case, Phase.CHECKING, turn.policy, turn.now), "it is to be recovered")


def became_another_vm(turn: Turn, seen: ob.AnotherVm) -> None:
    """The history is the other VM's, and so are its events. What it had prepared lies on this disk as well and stays
    pending: it is recovered as after a restart."""
    cases = dict(turn.state.cases)
    hooks = {name: replace(hook, reason="restarted") for name, hook in turn.state.hooks.items()}
    turn.state = replace(turn.state, cases=MappingProxyType({}), hooks=MappingProxyType(hooks), settled=(), over=(),
                         beyond=0)
    for case in cases.values():
        if case.phase not in CLAIMING and case.phase is not Phase.RECOVERING:
            continue
        note = "this machine is another VM by now; what was prepared is recovered"
        turn.tell(case.id, "taken over", note, case.event)
        left = replace(life.remember(case, sg.Rebooted(), turn.policy, turn.now), listed=False, stopped=False)
        if case.phase is not Phase.RECOVERING:
            left = life.enter(left, Phase.CHECKING, turn.policy, turn.now)
        turn.put(None, left, "this machine is another VM by now")


def _tell_of_the_end(turn: Turn) -> None:
    """The agent before this one saw no end of what it had running: the record says so, for nobody else can."""
    for case in turn.state.cases.values():
        if case.phase is not Phase.WATCHING:
            turn.tell(case.id, "agent restarted")
        if hears_of_hooks(case):
            for name, hook in turn.state.hooks.items():
                if hook.stage in RUNNING:
                    run = _cut_short(name, hook)
                    turn.tell(case.id, f"hook {_phase_of(hook).value} cut short", f"{name}: {CUT_SHORT}", run)


def _cut_short(name: str, hook: HookState) -> HookRun | None:
    """The run as far as it is known: nobody saw when it ended, with what status, or what it printed."""
    if hook.begun_at is None:
        return None
    report = HookReport(HookOutcome.STOPPED, None, hook.begun_at, None, note=CUT_SHORT)
    return HookRun(name, _phase_of(hook), hook.attempt, report, hook.limit_s)


def _phase_of(hook: HookState) -> HookPhase:
    return HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE


def _take_reboot(turn: Turn, case: Case, seen: ob.Restarted) -> None:
    turn.tell(case.id, "restarted", "the machine has started anew")
    turn.move(case, sg.Rebooted(), "the machine has started anew")
    after = turn.state.cases.get(case.id)
    if after is not None and after.phase is Phase.PREPARING:
        turn.state = readiness.claim(turn.state, after, turn.policy)    # also what had settled: in another boot
    if after is not None and seen.down_s is not None and after.phase is not Phase.WATCHING:
        pause = Pause(f"restart-{seen.boot_id}", turn.now.utc, turn.now.raw_s, None, None, Cause.RESTART,
                      ("another boot id; by the wall clock, which no time server has confirmed, the old boot's last "
                       f"row is {timedelta(seconds=round(seen.down_s))} old",), Quality.UNKNOWN)
        turn.tell(case.id, "pause", length_text(pause), pause)
        turn.state = turn.state.with_case(replace(after, pauses=(*after.pauses, pause)))


def told_to_recover(turn: Turn, seen: ob.RecoverRequested) -> None:
    turn.state = readiness.owe_again(turn.state, turn.now)
    for case in list(turn.state.cases.values()):
        if case.phase in CLAIMING and seen.event_id in (None, case.id):
            if seen.clock is not None:
                turn.tell(case.id, "clock", clock_note(seen.clock), seen.clock)
                case = replace(case, clock=seen.clock)
            turn.move(case, sg.ToldToRecover(stopping=False), "the owner says so")


def told_to_stop(turn: Turn, seen: ob.StopRequested) -> None:
    for case in list(turn.state.cases.values()):
        if case.phase in CLAIMING:
            turn.move(case, sg.ToldToRecover(stopping=True), "the service is being stopped")
