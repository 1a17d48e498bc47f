"""What a person can have done while no agent runs: recover what is owed, acknowledge an event. The same decision, the
same journal, the same hooks; only nobody looks and listens meanwhile."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tideover import effects as fx
from tideover import observations as ob
from tideover.configuration import Loaded
from tideover.daemon.choices import Choices, open_chosen_source
from tideover.daemon.hands import HookHand, IdleHand
from tideover.daemon.narrator import Narrator
from tideover.daemon.opening import Memory, open_memory, renew_journal, require_safe
from tideover.daemon.requests import ACKNOWLEDGED, LIST, NOT_OPEN, check_clock
from tideover.daemon.taking_up import HOOKS_STATE, spare_hooks_state, take_up
from tideover.engine import Engine
from tideover.errors import TideoverError, UnreachableError
from tideover.hooks import HookRunner
from tideover.lifecycle import Entry, State
from tideover.lifecycle.case import advance
from tideover.lifecycle.signals import Answered
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log
from tideover.model import Event
from tideover.pause import MachineClocks
from tideover.policy import Policy, names_me
from tideover.sources import Source
from tideover.status import recover_owed

BY_HAND = "by hand, while no agent ran"


@dataclass(frozen=True, slots=True)
class Recovered:
    """Names of hooks: what was owed before, and what still is."""

    were_owed: tuple[str, ...]
    still_owed: tuple[str, ...]


def recover_by_hand(loaded: Loaded, event_id: str | None, *, drill: bool = False) -> Recovered:
    """Given the configuration and an event (or None for all), run each recover that is owed, once.

    Raise WrongUseError if an agent works on the state directory, or somebody else could change what counts,
    TideoverError if no such event is open.
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
    narrator = _SilentNarrator(log, runner.forget, _leave_alone)
    engine = Engine(memory.journal, hands, Choices(settings).policy, clocks.moment, narrator,
                    lambda: renew_journal(memory.journal))
    try:
        wanted = _open_event(engine.state, event_id)
        take_up(memory, engine, runner, clocks.moment(), log, spare)
        were_owed = tuple(recover_owed(engine.state))
        engine.take(ob.RecoverRequested(wanted, check_clock(settings) if were_owed else None))
        engine.run_until(_nothing_runs)
        return Recovered(were_owed, tuple(recover_owed(engine.state)))
    finally:
        runner.close()
        memory.close()


class _SilentNarrator(Narrator):
    """The command ends with one sentence of its own; what happened in between stands in the record. That nothing can be
    remembered is told all the same."""

    def _tell(self, before: State, entry: Entry) -> None:
        """Nothing of what was decided."""


def _open_event(state: State, event_id: str | None) -> str | None:
    """Given what was typed, return the id as the platform writes it. Raise TideoverError if no such event is open."""
    if event_id is None:
        return None
    found = next((known for known in state.cases if known.casefold() == event_id.casefold()), None)
    if found is None:
        raise TideoverError(f"cannot recover {event_id}", NOT_OPEN, LIST)
    return found


def _leave_alone() -> None:
    """The agent prunes its journal; a person's command does not."""


def _nothing_runs(state: State) -> bool:
    return not any(hook.stage in RUNNING for hook in state.hooks.values())


def acknowledge_by_hand(loaded: Loaded, event_id: str) -> str:
    """Given the configuration and an event, tell the platform to go ahead, unless it has accepted that once.

    Return what there is to say; "" where it was told and said nothing.

    Raise UnreachableError if the platform gives no answer, TideoverError if the event is not there to be acknowledged,
    WrongUseError if an agent works on the state directory, JournalUnwritable if it could not be remembered.
    """
    require_safe(loaded.file)
    settings = loaded.settings
    memory = open_memory(Path(settings.paths.state), Log(settings.log.format, "warning"))
    kind, source = open_chosen_source(settings)
    try:
        if _is_acknowledged(memory.journal.load(), event_id):
            return ACKNOWLEDGED
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


def _is_acknowledged(state: State, event_id: str) -> bool:
    """Whether the journal says that the platform took it: a 200 settles that for good, also while the event is listed
    as Scheduled."""
    cases = (case.id for case in state.cases.values() if case.acknowledged)
    return event_id.casefold() in {known.casefold() for known in (*state.settled, *cases)}


def _listed(source: Source, event_id: str) -> Event:
    news = source.poll()
    if isinstance(news, ob.PollFailed):
        raise UnreachableError("cannot read the platform's events", news.reason, "Try tideover doctor.")
    for event in news.document.events:
        if event.id.casefold() == event_id.casefold():
            if event.started:
                raise TideoverError(f"cannot acknowledge {event_id}", "it has started", "There is nothing left to say.")
            if not names_me(event, news.me):
                raise TideoverError(f"cannot acknowledge {event_id}",
                                    f"it does not name this VM ({news.me or 'which has no name'})",
                                    "Acknowledge it on a VM that it names.")
            return event
    raise TideoverError(f"cannot acknowledge {event_id}", "the platform lists no such event",
                        "tideover history shows what it was.")


def _remember(memory: Memory, event_id: str, what: str, *, settled: bool = False) -> None:
    """What is known of an event keeps the spelling of its id that was seen first. Raise JournalUnwritable."""
    state = after = memory.journal.load()
    known = next((case for case in state.cases.values() if case.id.casefold() == event_id.casefold()), None)
    event_id = known.id if known is not None else event_id
    now, entries = MachineClocks().moment(), [Entry(event_id, what, BY_HAND)]
    if settled:
        after = state.with_settled(event_id)
        if known is not None:       # as the agent would take this answer: what it was asking or doubting is over
            answered = advance(known, Answered(ob.AckOutcome.ACCEPTED, ""), Policy(), now)
            after = after.with_case(answered)
            entries += [Entry(event_id, answered.phase.value, BY_HAND)] if answered.phase is not known.phase else []
    memory.journal.commit(now, state, after, entries)
