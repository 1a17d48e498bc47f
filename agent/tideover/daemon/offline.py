"""What commands do without an agent: recover, forget, acknowledge, `hooks run`; the same lifecycle, journal
and hooks.
"""
from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tideover import effects as fx, observations as ob
from tideover.config_file import Loaded
from tideover.daemon.api_handlers import (
    ACKNOWLEDGED,
    check_clock,
    observing,
    unconfirmed_acknowledgement,
    unconfirmed_recover,
)
from tideover.daemon.applications import ApplicationService
from tideover.daemon.effect_handlers import NullHandler, ParticipantHandler, run_input
from tideover.daemon.listeners import LogListener
from tideover.daemon.policy_source import PolicySource, catalogue_of, environment_of, open_chosen_source, policy_of
from tideover.daemon.startup import (
    HOOKS_STATE,
    StateDirectory,
    end_left_runs,
    fallback_hooks_state,
    make_directory,
    open_state_directory,
    renew_journal,
    require_trusted,
    resume_from_journal,
    trusted,
)
from tideover.effects import RunHook
from tideover.engine import Engine
from tideover.errors import ConfigurationError, TideoverError, UnreachableError
from tideover.hooks.orphans import read_witness
from tideover.hooks.runner import HookRunner
from tideover.hooks.state_directory import StateDirectories
from tideover.journal import FILE, Journal, JournalUnreadable
from tideover.lifecycle import Case, Entry, HookState, Phase, Stage, State, desired_effects
from tideover.lifecycle.case import AckAnswered, advance
from tideover.lifecycle.manual import (
    LAST,
    LIST,
    Objections,
    RecoverPlan,
    find_event_id,
    is_pending,
    newest_own,
    objections,
    plan_recover,
    why_not_forget,
)
from tideover.lifecycle.state import RUNNING
from tideover.lifecycle.step import step
from tideover.logs import LineWriter, Log, open_sink
from tideover.model import (
    ANNOUNCED,
    Cause,
    ClockCheck,
    EntryKind,
    Event,
    HookPhase,
    HookReport,
    HookSpec,
    Kind,
    Moment,
    Pause,
    Verdict,
    fold_case,
)
from tideover.observations import HookSettled, Observation
from tideover.pause import MachineClocks, read_boot_id
from tideover.policy import Policy, names_me
from tideover.record import Row
from tideover.settings import Settings, options_for
from tideover.sources import Source
from tideover.status import recover_pending
from tideover.system.clocks import read_moment

# --- Manual run of one hook for a made-up event

EVENT_ID = "by-hand"
MANUAL_RUN_STATE = "by-hand"           # below the state directory: neither disturbs the other
STATE_MODE = 0o711


PAUSE_ID = "by-hand"
PAUSE_UNCERTAINTY_S = 0.05
REASONS = ("resumed", "cancelled", "restarted")


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """The event of a manual hook run. For a recover: `reason` ("": as kind and pause have it),
    `pause_s` (None: no pause was detected) and `clock`."""

    kind: Kind = Kind.FREEZE
    reason: str = ""
    pause_s: float | None = None
    clock: Verdict = Verdict.UNKNOWN


def run_hook_once(
    loaded: Loaded, spec: HookSpec, phase: HookPhase, sample: SampleEvent, *, drill: bool = False,
    show_line: Callable[[str], None] | None = None,
) -> HookReport:
    """Given the configuration, a hook, a phase and its sample event, run it and return how it ended.

    `show_line` gets each line that it prints, as it comes, on the caller's thread. Raise WrongUseError if another user
    could change what counts.
    """
    require_trusted(loaded)
    home = Path(loaded.settings.paths.state) / MANUAL_RUN_STATE
    make_directory(home, STATE_MODE)
    answers: queue.SimpleQueue[Observation | str] = queue.SimpleQueue()
    runner = HookRunner(answers.put, home, drill=drill, environment_of=partial(environment_of, loaded.settings),
                        log_line=lambda name, line: answers.put(line), lines_at_most=sys.maxsize)
    now = read_moment()
    case = _sample_case(phase, sample, now)
    try:
        effect = _run_and_wait(case, spec, phase, sample, now)
        runner.start(effect, *run_input(effect, lambda event_id: _rows(case, now)))
        while isinstance(answer := answers.get(), str):
            if show_line is not None:
                show_line(answer)
        assert isinstance(answer, HookSettled)
        return answer.report
    finally:
        runner.close()


def _sample_case(phase: HookPhase, sample: SampleEvent, now: Moment) -> Case:
    """Where no reason is wanted, an announced kind without a pause is recovered as cancelled, all else as resumed."""
    is_announced = sample.kind in ANNOUNCED
    is_recover = phase is HookPhase.RECOVER
    started = not is_announced or (is_recover and sample.reason == "resumed")
    event = Event(EVENT_ID, sample.kind, (), started=started, description="a manual run, no event",
                  event_source="user", source="by-hand" if is_announced else "none")
    case = Case(event, Phase.RECOVERING if is_recover else Phase.PREPARING)
    if not is_recover:
        return case
    rebooted = sample.reason == "restarted"
    if sample.pause_s is not None:
        pause = Pause(PAUSE_ID, now.utc, now.raw_s, sample.pause_s, PAUSE_UNCERTAINTY_S,
                      Cause.RESTART if rebooted else Cause.VM_PAUSE, ("by hand",))
        case = replace(case, pauses=(pause,))
    if sample.clock is not Verdict.UNKNOWN:
        case = replace(case, clock=ClockCheck(sample.clock, checked_at=now.utc, reason="by hand"))
    return replace(case, rebooted=rebooted)


def _run_and_wait(case: Case, spec: HookSpec, phase: HookPhase, sample: SampleEvent, now: Moment) -> RunHook:
    """Asked of the decision itself, so that nothing the agent tells is forgotten here."""
    stage = Stage.PREPARING if phase is HookPhase.PREPARE else Stage.RECOVERING
    hook = HookState(spec, stage, run=1, attempt=1, limit_s=spec.timeout_s, event_id=case.id, kind=case.event.kind,
                     reason=(sample.reason or case.reason) if phase is HookPhase.RECOVER else "")
    state = State(MappingProxyType({case.id: case}), MappingProxyType({spec.name: hook}))
    return next(effect for effect in desired_effects(state, now) if isinstance(effect, RunHook))


def _rows(case: Case, now: Moment) -> list[Row]:
    rows = [Row(now.utc, case.id, EntryKind.NOTICED, "by hand", case.event)]
    rows += [Row(now.utc, case.id, EntryKind.PAUSE, "by hand", pause) for pause in case.pauses]
    rows += [Row(now.utc, case.id, EntryKind.CLOCK_CHECKED, "by hand", case.clock)] if case.clock else []
    return [*rows, Row(now.utc, case.id, case.phase)]


# --- Recover and acknowledge

WITHOUT_AGENT = "by hand, while no agent ran"
NO_AGENT = "no agent could start with its configuration"
PENDING = "PENDING"
"""A file in the state directory that names the participants which a recover without an agent could not recover. While
it is there, a purge of the package keeps the journal."""

PENDING_HEAD = """\
# These participants were prepared and have not recovered. tideover recover --yes tries again; so does the agent, once
# the package is installed again with this directory as it is.
"""
FORGET_HINT = "tideover recover --dry-run lists what is pending; tideover recover runs it."
STARTING_S = 60.0           # how long a start may continue without the next report to the service manager

CLOCK_AGAIN_S = 5.0
"""Between two looks at a clock that is wrong: time servers are not to be asked faster."""


@dataclass(frozen=True, slots=True)
class RecoverResult:
    """Names of participants: what was pending before, and what still is."""

    were_pending: tuple[str, ...]
    still_pending: tuple[str, ...]


def plan_without_agent(loaded: Loaded, typed: str | None) -> RecoverPlan:
    """Given the configuration and what was typed (None: all events), return what a recover would do; changes nothing.
    Where it is not of one event, what only the hooks' private directories say is prepared belongs to it.

    Raise TideoverError if no such event is open, JournalUnreadable, JournalUnwritable.
    """
    path = Path(loaded.settings.paths.state) / FILE
    found = _witnesses(loaded.settings)
    state = State()
    try:
        if path.exists():
            with closing(Journal.reading(path)) as journal:
                state = journal.load()
    except JournalUnreadable:
        if not found:
            raise                           # a recover would set it aside, and go by the directories
    plan = _plan(state, typed)
    if typed is not None or not found:
        return plan
    policy = policy_of(loaded.settings, catalogue_of(loaded.settings))
    after = step(state, ob.Restarted(read_boot_id(), None, found), policy, MachineClocks().moment()).state
    only_found = [name for name in recover_pending(after) if name not in plan.pending]
    return replace(plan, pending=(*plan.pending, *only_found))


def _witnesses(settings: Settings) -> tuple[ob.Witness, ...]:
    directories = StateDirectories(Path(settings.paths.state) / HOOKS_STATE, fallback_hooks_state(settings))
    return tuple(read_witness(name, note) for name, note in directories.notes().items())


def recover_by_hand(loaded: Loaded, typed: str | None, *, confirmed: bool, drill: bool = False) -> RecoverResult:
    """Given the configuration and what was typed (None: all events), run each recover that is pending, once.

    `confirmed`: also while an event is still ahead. Raise WrongUseError if an agent works on the state directory, or
    another user could change what counts, TideoverError if no such event is open, UnconfirmedError.
    """
    with closing(_Desk(trusted(loaded), drill=drill)) as desk:
        plan = _plan(desk.engine.state, typed)
        if plan.ahead and not confirmed:
            raise unconfirmed_recover(plan)
        return desk.recover(plan, lambda: check_clock(desk.settings))


def forget_by_hand(loaded: Loaded, name: str, *, drill: bool = False) -> None:
    """Given the configuration and a participant's name, give its pending recovery up. Raise as `recover_by_hand`
    does."""
    with closing(_Desk(trusted(loaded), drill=drill)) as desk:
        why = why_not_forget(desk.engine.state, name)
        if why is not None:
            raise TideoverError(f"cannot forget {name}", why, FORGET_HINT)
        desk.forget(name)


def recover_instead_of_agent(loaded: Loaded, log: Log, still_starting: Callable[[float], None], *, drill: bool) -> None:
    """Given what can be read of a configuration that no agent can start with, recover what the journal says is
    prepared, once, after the clock has been found good or has had its time. What fails stays pending and is logged.

    Raise TideoverError if that cannot be tried.
    """
    loaded = trusted(loaded)
    if not Path(loaded.settings.paths.state).is_dir():
        return                              # no agent was ever here
    with closing(_Desk(loaded, drill=drill, log=log)) as desk:
        plan = _plan(desk.engine.state, None)
        if not plan.pending:
            return
        log.warning("recover.without-agent", hooks=" ".join(plan.pending), reason="the agent cannot start")
        desk.engine.set_heartbeat(partial(still_starting, STARTING_S), STARTING_S / 3)
        found = desk.recover(plan, partial(_awaited_clock, desk.settings, still_starting), NO_AGENT)
        if found.still_pending:
            log.error("recover.pending", hooks=" ".join(found.still_pending),
                      consequence="the next start with a valid configuration retries them")


def _awaited_clock(settings: Settings, still_starting: Callable[[float], None]) -> ClockCheck:
    """Look at the clock until it is good, cannot be judged, or has had [clock] deadline."""
    until_s = time.monotonic() + settings.clock.deadline_s
    while True:
        still_starting(STARTING_S)
        found = check_clock(settings)
        left_s = until_s - time.monotonic()
        if found.verdict is not Verdict.BAD or left_s <= 0:
            return found
        time.sleep(min(CLOCK_AGAIN_S, left_s))


def _plan(state: State, typed: str | None) -> RecoverPlan:
    """What was ahead in another boot is over."""
    plan = plan_recover(state, typed)
    return plan if state.boot_id in ("", read_boot_id()) else replace(plan, ahead=())


class _Desk:
    """The state directory, its engine and its hooks, without an agent. Owned by one thread."""

    def __init__(self, loaded: Loaded, *, drill: bool, log: Log | None = None) -> None:
        """`log`: where each step is logged; None: the command ends with one sentence of its own, and what happened in
        between stands in the record. An unwritable journal is logged all the same. Raise WrongUseError."""
        settings = self.settings = loaded.settings
        self._trouble = loaded.trouble
        self._lines = LineWriter()
        self._log = log or Log(settings.log.format, "warning", self._lines.through(open_sink(settings.log.format)))
        if loaded.trouble is not None and loaded.file is None and log is None:
            self._log.warning("configuration.refused", reason=loaded.trouble,
                              consequence="the defaults are used instead")
        self._memory = open_state_directory(Path(settings.paths.state), self._log)
        self._spare = fallback_hooks_state(settings)
        self._runner = HookRunner(self._post, self._memory.directory / HOOKS_STATE, spare=self._spare, drill=drill,
                                  environment_of=partial(environment_of, settings))
        idle = NullHandler()
        away = ApplicationService(settings, self._runner, self._log, MachineClocks().moment, self._post)
        handlers: dict[type[Any], Any] = {fx.RunHook: ParticipantHandler(self._runner, away, self._memory.journal.rows),
                                       fx.Acknowledge: idle, fx.CheckClock: idle, fx.WatchClosely: idle}
        log_listener = (LogListener if log is not None else _SilentLogListener)(self._log, self._runner.forget,
                                                                            _refuse_unsuitable)
        self.engine = Engine(self._memory.journal, handlers, PolicySource(settings).policy, MachineClocks().moment,
                             log_listener,
                             lambda: renew_journal(self._memory.journal))

    def _post(self, seen: ob.Observation) -> None:
        self.engine.post(seen)

    def recover(self, plan: RecoverPlan, look_at_clock: Callable[[], ClockCheck],
                because: str = "by hand") -> RecoverResult:
        """Run what the plan names, once; where it is not of one event, also what only the hooks' private directories
        say is prepared. `because`: what the record says."""
        for name in plan.pending:
            if self._may_lack_environment(name):
                self._log.warning("hook.environment-unknown", hook=name,
                                  consequence="it runs without the variables that its configuration sets")
        resume_from_journal(self._memory, self.engine, self._runner, MachineClocks().moment(), self._log, self._spare)
        found = recover_pending(self.engine.state) if plan.event_id is None else ()
        were_pending = tuple(sorted({*plan.pending, *found}))
        clock = look_at_clock() if were_pending else None
        self.engine.handle(ob.RecoverRequested(plan.event_id, clock, because))
        self.engine.run_until(_nothing_runs)
        self._leave_word()
        still_pending = tuple(name for name in recover_pending(self.engine.state) if name in were_pending)
        return RecoverResult(were_pending, still_pending)

    def _may_lack_environment(self, name: str) -> bool:
        """Whether what is wrong with the configuration may be what the owner sets for this hook."""
        if self._trouble is None:
            return False
        faults = self._trouble.faults if isinstance(self._trouble, ConfigurationError) else None
        if faults is not None and any(f"hook.{name}.environment" in fault for fault in faults):
            return True
        options = options_for(self.settings, name)
        if options.environment or options.environment_file:
            return False
        return faults is None or any(f"hook.{name}" in fault or "TOML" in fault or "UTF-" in fault for fault in faults)

    def forget(self, name: str) -> None:
        """Another participant's recover that is due begins with this step, as with any other: it is let run."""
        end_left_runs(self._memory, self.engine, self._log, self._spare)
        self.engine.handle(ob.ForgetRequested(name))
        self.engine.run_until(_nothing_runs)
        self._leave_word()

    def _leave_word(self) -> None:
        """Name what is still pending in a plain file, or remove that file. A disk that takes no file is no reason to
        fail: the journal says the same."""
        file = self._memory.directory / PENDING
        hooks = [hook for hook in self.engine.state.hooks.values() if is_pending(hook)]
        with suppress(OSError):
            if not hooks:
                file.unlink(missing_ok=True)
                return
            lines = [f"{hook.spec.name}: {hook.spec.path} recover\n" for hook in hooks]
            file.write_text(PENDING_HEAD + "".join(sorted(lines)), encoding="utf-8", errors="backslashreplace")

    def close(self) -> None:
        self._runner.close()
        self._memory.close()
        self._lines.close()


class _SilentLogListener(LogListener):
    """Logs nothing of what was decided."""

    def _log_entry(self, before: State, entry: Entry) -> None:
        """The record has it."""


def _refuse_unsuitable() -> None:
    """The agent prunes its journal; a person's command does not."""


def _nothing_runs(state: State) -> bool:
    return not any(hook.stage in RUNNING for hook in state.hooks.values())


def acknowledge_by_hand(loaded: Loaded, typed: str, *, confirmed: bool) -> tuple[str, str]:
    """Given the configuration and what was typed, acknowledge the event, unless the platform has accepted that once.

    `confirmed`: also where something speaks against it. Return the event's id and what there is to say; "" where the
    acknowledgement was sent and not answered.

    Raise UnreachableError if the platform gives no answer, TideoverError if the event is not there to be acknowledged,
    UnconfirmedError, WrongUseError if an agent works on the state directory, JournalUnwritable if it could not be
    remembered.
    """
    loaded = trusted(loaded)
    settings = loaded.settings
    memory = open_state_directory(Path(settings.paths.state), Log(settings.log.format, "warning"))
    platform, source = open_chosen_source(settings)
    try:
        state = memory.journal.load()
        known = _known_id(state, typed)
        if _is_acknowledged(state, known):
            return known, ACKNOWLEDGED      # whatever the platform lists by now
        if source is None:
            raise UnreachableError(f"cannot acknowledge {typed}", f"source {platform.source_kind} takes no "
                                   f"acknowledgements: {platform.silence}",
                                   "Set [source] kind.")
        if settings.policy.mode == "observe":
            raise observing(known)
        event, me = _listed(source, state, typed)
        if _is_acknowledged(state, event.id):
            return event.id, ACKNOWLEDGED
        against = _objections(state, event, me, settings)
        if against and not confirmed:
            raise unconfirmed_acknowledgement(event.id, against)
        note = f"{WITHOUT_AGENT}, although {against.text}" if against else WITHOUT_AGENT
        _remember(memory, event.id, EntryKind.MANUAL_ACK, note)      # not sent unless it can be remembered
        outcome, reason = source.acknowledge(event.id)
        if outcome is not ob.AckOutcome.ACCEPTED:
            raise UnreachableError(f"cannot acknowledge {event.id}", reason, "See tideover status, then retry.")
        _remember(memory, event.id, EntryKind.ACK_ACCEPTED, WITHOUT_AGENT, settled=True)
        return event.id, reason
    finally:
        if source is not None:
            source.close()
        memory.close()


def _objections(state: State, event: Event, me: str, settings: Settings) -> Objections:
    """An event is known here by the spelling of its id that was seen first."""
    known = next((case.id for case in state.cases.values() if fold_case(case.id) == fold_case(event.id)), event.id)
    return objections(state, replace(event, id=known), me, policy_of(settings, catalogue_of(settings)))


def _known_id(state: State, typed: str) -> str:
    """Return the id of the event in the journal that was typed; what was typed if that is none, or several."""
    with suppress(ValueError):
        return find_event_id({*state.cases, *state.settled}, typed, newest_own(state)) or typed
    return typed


def _is_acknowledged(state: State, event_id: str) -> bool:
    """Whether the journal says that the platform took it: a 200 settles that for good, also while the event is listed
    as Scheduled."""
    cases = (case.id for case in state.cases.values() if case.acknowledged)
    return fold_case(event_id) in {fold_case(known) for known in (*state.settled, *cases)}


def _listed(source: Source, state: State, typed: str) -> tuple[Event, str]:
    """Return the event that is meant, as the platform lists it, and this VM's name."""
    news = source.poll()
    if isinstance(news, ob.PollFailed):
        raise UnreachableError("cannot read the platform's events", news.reason, "Try tideover doctor.")
    operation, events = f"cannot acknowledge {typed}", {event.id: event for event in news.document.events}
    own = [event.id for event in events.values() if names_me(event, news.me)]
    try:
        found = find_event_id(events, newest_own(state) or typed, None) if typed == LAST else None
        found = found or find_event_id(events, typed, own[-1] if own else None)
    except ValueError as trouble:
        raise TideoverError(operation, str(trouble), LIST) from None
    if found is None:
        raise TideoverError(operation, "the platform lists no such event", "See tideover history.")
    event = events[found]
    if event.started:
        raise TideoverError(operation, "it has started", "An acknowledgement has no effect any more.")
    if not names_me(event, news.me):
        raise TideoverError(operation, f"it does not name this VM ({news.me or 'name unknown'})",
                            "Acknowledge it on one of the VMs that it names.")
    return event, news.me


def _remember(memory: StateDirectory, event_id: str, what: EntryKind, note: str, *, settled: bool = False) -> None:
    """What is known of an event keeps the spelling of its id that was seen first. Raise JournalUnwritable."""
    state = after = memory.journal.load()
    known = next((case for case in state.cases.values() if fold_case(case.id) == fold_case(event_id)), None)
    event_id = known.id if known is not None else event_id
    now, entries = MachineClocks().moment(), [Entry(event_id, what, note)]
    if settled:
        after = state.with_settled(event_id)
        if known is not None:       # as the agent would take this answer: what it was asking or doubting is over
            answered = advance(known, AckAnswered(ob.AckOutcome.ACCEPTED, ""), Policy(), now)
            after = after.with_case(answered)
            entries += [Entry(event_id, answered.phase, note)] if answered.phase is not known.phase else []
    memory.journal.commit(now, state, after, entries)
