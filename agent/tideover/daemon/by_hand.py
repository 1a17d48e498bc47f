"""What a person can have done while no agent runs: recover what is owed, acknowledge an event. The same decision, the
same journal, the same hooks; only nobody looks and listens meanwhile."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tideover import effects as fx
from tideover import observations as ob
from tideover.configuration import Loaded
from tideover.daemon.choices import Choices, open_chosen_source
from tideover.daemon.hands import HookHand, IdleHand
from tideover.daemon.narrator import Narrator
from tideover.daemon.opening import Memory, open_memory, renew_journal, require_safe
from tideover.daemon.taking_up import HOOKS_STATE, spare_hooks_state, take_up
from tideover.engine import Engine
from tideover.errors import TideoverError, UnreachableError
from tideover.hooks import HookRunner
from tideover.lifecycle import Case, Entry, State
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log
from tideover.model import Event
from tideover.pause import MachineClocks
from tideover.sources import Source
from tideover.status import recover_owed


@dataclass(frozen=True, slots=True)
class Recovered:
    """Names of hooks: what was owed before, and what still is."""

    were_owed: tuple[str, ...]
    still_owed: tuple[str, ...]


def recover_by_hand(loaded: Loaded, event_id: str | None, *, drill: bool = False) -> Recovered:
    """Given the configuration and an event (or None for all), run each recover that is owed, once.

    Raise WrongUseError if an agent works on the state directory, or somebody else could change what counts.
    """
    require_safe(loaded.file)
    settings, clocks = loaded.settings, MachineClocks()
    log = Log(settings.log.format, "warning")
    memory = open_memory(Path(settings.paths.state), log)
    engine: Engine | None = None

    def tell(seen: ob.Observation) -> None:
        if engine is not None:
            engine.tell(seen)

    spare = spare_hooks_state(settings)
    runner = HookRunner(tell, memory.directory / HOOKS_STATE, spare=spare, drill=drill)
    idle = IdleHand()
    hands: dict[type[Any], Any] = {fx.RunHook: HookHand(runner, memory.journal.rows), fx.Acknowledge: idle,
                                   fx.CheckClock: idle, fx.WatchClosely: idle}
    narrator = Narrator(log, runner.forget, _leave_alone)
    engine = Engine(memory.journal, hands, Choices(settings).policy, clocks.moment, narrator,
                    lambda: renew_journal(memory.journal))
    were_owed = tuple(recover_owed(engine.state))
    try:
        take_up(memory, engine, clocks.moment(), log, spare)
        engine.take(ob.RecoverRequested(event_id))
        engine.run_until(_nothing_runs)
        return Recovered(were_owed, tuple(recover_owed(engine.state)))
    finally:
        runner.close()
        memory.close()


def _leave_alone() -> None:
    """The agent prunes its journal; a person's command does not."""


def _nothing_runs(state: State) -> bool:
    return not any(hook.stage in RUNNING for hook in state.hooks.values())


def acknowledge_by_hand(loaded: Loaded, event_id: str) -> str:
    """Given the configuration and an event, tell the platform to go ahead; return what it said.

    Raise UnreachableError if the platform gives no answer, TideoverError if the event is not there to be acknowledged,
    WrongUseError if an agent works on the state directory, JournalUnwritable if it could not be remembered.
    """
    require_safe(loaded.file)
    settings = loaded.settings
    memory = open_memory(Path(settings.paths.state), Log(settings.log.format, "warning"))
    kind, source = open_chosen_source(settings)
    try:
        if source is None:
            raise UnreachableError(f"cannot acknowledge {event_id}", f"source {kind} takes no acknowledgements",
                                   "Set [source] kind.")
        event = _listed(source, event_id)
        _remember(memory, event.id, "acknowledging")      # what could not be remembered afterwards is not said
        outcome, reason = source.acknowledge(event.id)
        if outcome is not ob.AckOutcome.ACCEPTED:
            raise UnreachableError(f"cannot acknowledge {event_id}", reason, "Look at tideover status, then try again.")
        _remember(memory, event.id, "acknowledged", settled=True)
        return reason
    finally:
        if source is not None:
            source.close()
        memory.close()


def _listed(source: Source, event_id: str) -> Event:
    news = source.poll()
    if isinstance(news, ob.PollFailed):
        raise UnreachableError("cannot read the platform's events", news.reason, "Try tideover doctor.")
    for event in news.document.events:
        if event.id.casefold() == event_id.casefold():
            if event.started:
                raise TideoverError(f"cannot acknowledge {event_id}", "it has started", "There is nothing left to say.")
            return event
    raise TideoverError(f"cannot acknowledge {event_id}", "the platform lists no such event",
                        "tideover history shows what it was.")


def _remember(memory: Memory, event_id: str, what: str, *, settled: bool = False) -> None:
    """Raise JournalUnwritable."""
    state = after = memory.journal.load()
    if settled:
        known: Case | None = state.cases.get(event_id)
        after = state.with_settled(event_id)
        after = after if known is None else after.with_case(replace(known, acknowledged=True))
    memory.journal.commit(MachineClocks().moment(), state, after,
                          [Entry(event_id, what, "by hand, while no agent ran")])
