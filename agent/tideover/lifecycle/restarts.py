"""What a start of the agent, of the machine, or of another VM from this disk changes in open events. Pure."""
from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import tideover.lifecycle.case as cases
import tideover.lifecycle.hook_stages as hook_stages
from tideover import observations as ob
from tideover.humanize import length_text
from tideover.lifecycle.state import (
    CLAIMING,
    RUNNING,
    Case,
    HookState,
    Phase,
    RecoveredBy,
    Stage,
    records_hook_runs,
)
from tideover.lifecycle.transition import Transition, pause_note
from tideover.model import (
    Cause,
    EntryKind,
    Event,
    HookOutcome,
    HookPhase,
    HookReport,
    HookRun,
    Pause,
    Quality,
)

CUT_SHORT = "the agent ended during the run"
"""Of a run whose end the agent did not live to see. Whatever it left was ended before anything was begun again."""


def on_restart(transition: Transition, seen: ob.Restarted) -> None:
    """What ran has been ended by now. Another boot id: the applications have restarted too."""
    rebooted = bool(transition.state.boot_id) and transition.state.boot_id != seen.boot_id
    _record_interrupted_runs(transition)
    runs = transition.state.runs or seen.runs_from
    booted = replace(transition.state, boot_id=seen.boot_id, fresh=False, runs=runs)
    transition.state = hook_stages.resume_after_restart(booted, transition.now)
    if rebooted:
        transition.state = hook_stages.forget_preparation(transition.state)
    for case in list(transition.state.cases.values()):
        if rebooted:
            _take_reboot(transition, case, seen)
        else:
            transition.move(case, cases.AgentRestarted(), "the agent was restarted")
    for case in list(transition.state.cases.values()):
        _prepare_if_only_observed(transition, case)
    transition.refresh_fleet()
    known = frozenset(transition.state.cases)
    for witness in seen.found:
        _take_witness(transition, witness, seen.boot_id, known)


def _prepare_if_only_observed(transition: Transition, case: Case) -> None:
    """[policy] mode is act, and was observe when this event would have been prepared: it is prepared now, once a
    document still shows it."""
    if case.observed_only and not transition.policy.observes and case.phase in (Phase.PREPARING, Phase.HELD):
        prepared = cases.enter(case, Phase.PREPARING, transition.policy, transition.now)
        transition.enter_phase(None, prepared, "[policy] mode is act again")


def _take_witness(transition: Transition, witness: ob.Witness, boot_id: str, known_events: frozenset[str]) -> None:
    """What has a private directory was prepared. Where the journal lost that, or is one of before, the directory says
    it: the clock is checked, then the hook is recovered. Directories that name one event which the journal does not
    know are of one event."""
    name = witness.name
    known = transition.state.hooks.get(name)
    if known is not None:
        if not known.needs_recover and known.stage is not Stage.PREPARED:      # that run reported "nothing changed"
            transition.state = transition.state.with_hook(replace(known, needs_recover=True))
        return
    spec = next((one for one in transition.policy.hooks if one.name == name), witness.spec)
    if spec is None:
        transition.record("", EntryKind.RECOVERY_IMPOSSIBLE,
                          f"{name} has a state directory, so it was prepared, but neither the journal nor a hook of "
                          "that name tells how to recover it")
        return
    is_usable = witness.event_id and witness.event_id not in known_events
    event_id = witness.event_id if is_usable else f"found-{name}"
    event = Event(event_id, witness.kind, (transition.state.me,) if transition.state.me else (), started=True,
                  event_source="none", source="none",
                  description="prepared, by the state directory of its hook; unknown to the journal")
    note = f"{name}: it has a state directory that is unknown to the journal"
    transition.record(event_id, EntryKind.FOUND_PREPARED, note, event)
    transition.state = transition.state.with_hook(
        HookState(spec, Stage.RECOVER_PENDING, needs_recover=True, event_id=event_id, kind=witness.kind))
    if event_id not in transition.state.cases:
        case = Case(event, Phase.CHECKING_CLOCK, listed=False, rebooted=witness.boot_id not in ("", boot_id))
        checked = cases.enter(case, Phase.CHECKING_CLOCK, transition.policy, transition.now)
        transition.enter_phase(None, checked, "recovery is pending")


def on_another_vm(transition: Transition, seen: ob.AnotherVm) -> None:
    """The history is the other VM's, and so are its events. What it had prepared lies on this disk as well and stays
    pending: it is recovered as after a restart."""
    before = dict(transition.state.cases)
    hooks = {name: replace(hook, reason="restarted") for name, hook in transition.state.hooks.items()}
    transition.state = replace(transition.state, cases=MappingProxyType({}), hooks=MappingProxyType(hooks),
                               settled=(), over=(), beyond=0)
    for case in before.values():
        if case.phase not in CLAIMING and case.phase is not Phase.RECOVERING:
            continue
        note = "this disk belongs to another VM now; prepared hooks are recovered"
        transition.record(case.id, EntryKind.VM_CHANGED, note, case.event)
        left = replace(cases.remember(case, cases.Rebooted(), transition.policy, transition.now), listed=False)
        if left.is_recovered_early:
            left = replace(left, recovered_by=RecoveredBy.OPERATOR)     # the event is not listed for this VM: not again
        if case.phase is not Phase.RECOVERING:
            left = cases.enter(left, Phase.CHECKING_CLOCK, transition.policy, transition.now)
        transition.enter_phase(None, left, "this disk belongs to another VM now")


def _record_interrupted_runs(transition: Transition) -> None:
    """The previous agent did not see the end of its runs: the record says so."""
    for case in transition.state.cases.values():
        if case.phase is not Phase.OBSERVED:
            transition.record(case.id, EntryKind.AGENT_RESTARTED)
        if records_hook_runs(case):
            for name, hook in transition.state.hooks.items():
                if hook.stage in RUNNING and not (hook.spec.is_application and hook.stage is not Stage.STOPPING):
                    run = _cut_short(name, hook)
                    transition.record(case.id, EntryKind.of_run(_phase_of(hook), interrupted=True),
                                f"{name}: {CUT_SHORT}", run)


def _cut_short(name: str, hook: HookState) -> HookRun | None:
    """The run as far as it is known: its end, its status and its output are not."""
    if hook.begun_at is None:
        return None
    report = HookReport(HookOutcome.STOPPED, None, hook.begun_at, None, note=CUT_SHORT)
    return HookRun(name, _phase_of(hook), hook.attempt, report, hook.limit_s, hook.spec.is_application)


def _phase_of(hook: HookState) -> HookPhase:
    return HookPhase.RECOVER if hook.stage is Stage.RECOVERING else HookPhase.PREPARE


def _take_reboot(transition: Transition, case: Case, seen: ob.Restarted) -> None:
    transition.record(case.id, EntryKind.MACHINE_RESTARTED, "the machine has restarted")
    transition.move(case, cases.Rebooted(), "the machine has restarted")
    after = transition.state.cases.get(case.id)
    if after is not None and after.phase is Phase.PREPARING:
        # Also what had been prepared: that was in another boot.
        transition.state = hook_stages.claim(transition.state, after, transition.policy)
    if after is not None and seen.down_s is not None and after.phase is not Phase.OBSERVED:
        pause = Pause(f"restart-{seen.boot_id}", transition.now.utc, transition.now.raw_s, None, None, Cause.RESTART,
                      ("another boot id; by the wall clock, which no time server has confirmed, the old boot's last "
                       f"row is {length_text(round(seen.down_s))} old",), Quality.UNKNOWN)
        transition.record(case.id, EntryKind.PAUSE, pause_note(pause), pause)
        transition.state = transition.state.with_case(replace(after, pauses=(*after.pauses, pause)))
