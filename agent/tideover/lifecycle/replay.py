"""`replay`'s comparison of recorded decisions with what is decided now. Pure.

The decision depends on nothing but the state, the observation, the policy and the moment. So a recording that starts
with a state and holds the other three for each step gives the same entries (phases among them) and the same effects, to
the last digit; where it does not, another version decides otherwise.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from tideover.effects import Effect, WakeAt, WatchClosely
from tideover.lifecycle.desired import desired_effects
from tideover.lifecycle.state import Entry, Phase, State
from tideover.lifecycle.step import step
from tideover.model import Moment
from tideover.observations import Observation
from tideover.policy import Policy

EntryLine = tuple[str, str, str]
"""What is compared of an entry: the event's id, its word, and why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One step that was taken: what it was given, and what came of it. Steps that changed nothing are not kept."""

    now: Moment
    seen: Observation
    policy: Policy
    entries: tuple[EntryLine, ...]
    effects: Mapping[str, Effect]       # everything that is wanted from here on, by its key


@dataclass(frozen=True, slots=True)
class Recording:
    """Steps without a gap between them, and the state before the first."""

    state: State
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the decision of now is another one than the recorded one. Texts for people; "": there is none."""

    now: Moment
    seen: str               # the observation's class
    what: str               # what differs: an entry, or an effect by its key
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a recording gave: phases and effects as they came, and where they differ from what was recorded."""

    steps: int = 0
    phases: tuple[tuple[Moment, str, Phase], ...] = ()          # when, whose, which
    effects: tuple[tuple[Moment, Effect], ...] = ()             # when it was first wanted; without waits
    differences: tuple[Difference, ...] = field(default=())


def entry_lines(entries: Iterable[Entry]) -> tuple[EntryLine, ...]:
    """Given entries, return what a recording keeps of each."""
    return tuple((entry.event_id, entry.what.value, entry.note) for entry in entries)


def effects_by_key(state: State, now: Moment) -> dict[str, Effect]:
    """Given a state, return every effect it asks for, by its key."""
    return {effect.key: effect for effect in desired_effects(state, now)}


def replay(recording: Recording) -> Replayed:
    """Given a recording, return what the decision of now makes of it. A difference is reported, and it continues from
    there by what is decided now."""
    state = recording.state
    wanted_before = effects_by_key(state, recording.decisions[0].now) if recording.decisions else {}
    phases: list[tuple[Moment, str, Phase]] = []
    effects: list[tuple[Moment, Effect]] = []
    differences: list[Difference] = []
    for decision in recording.decisions:        # what was wanted before the first one is no effect of it
        move = step(state, decision.seen, decision.policy, decision.now)
        state, wanted = move.state, effects_by_key(move.state, decision.now)
        differences += _differences(decision, entry_lines(move.entries), wanted)
        phases += [(decision.now, entry.event_id, entry.what) for entry in move.entries
                   if isinstance(entry.what, Phase)]
        effects += [(decision.now, effect) for key, effect in wanted.items()
                    if key not in wanted_before and not isinstance(effect, WakeAt | WatchClosely)]
        wanted_before = wanted
    return Replayed(len(recording.decisions), tuple(phases), tuple(effects), tuple(differences))


def _differences(decision: Decision, entries: tuple[EntryLine, ...], effects: Mapping[str, Effect]) -> list[Difference]:
    seen = type(decision.seen).__name__
    found = []
    if entries != decision.entries:
        recorded = [line for line in decision.entries if line not in entries]
        replayed = [line for line in entries if line not in decision.entries]
        order = "" if recorded or replayed else "in another order"
        found.append(Difference(decision.now, seen, "entries", order or _lines(recorded), order or _lines(replayed)))
    for key in dict.fromkeys((*decision.effects, *effects)):
        recorded_effect, replayed_effect = decision.effects.get(key), effects.get(key)
        if recorded_effect != replayed_effect:
            found.append(Difference(decision.now, seen, f"effect {key}",
                                    *_effect_texts(recorded_effect, replayed_effect)))
    return found


def _lines(entries: list[EntryLine]) -> str:
    return "; ".join(f"{event_id} {what}{f' ({note})' if note else ''}".strip() for event_id, what, note in entries)


def _effect_texts(recorded: Effect | None, replayed: Effect | None) -> tuple[str, str]:
    """Where both want it, the fields that differ."""
    if recorded is None or replayed is None or type(recorded) is not type(replayed):
        return ("" if recorded is None else "wanted"), ("" if replayed is None else "wanted")
    names = [one.name for one in fields(recorded) if getattr(recorded, one.name) != getattr(replayed, one.name)]
    return tuple(", ".join(f"{name} {getattr(effect, name)}" for name in names)     # type: ignore[return-value]
                 for effect in (recorded, replayed))
