"""What a drill is to do: bounds of the pause, notice by kind and platform, whose hooks run."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tideover.hooks.directory import read_catalogue
from tideover.lifecycle.state import STALL_S
from tideover.model import Event, HookSpec, Kind
from tideover.platforms import SIMULATED_KINDS, Platform, platform_named
from tideover.policy import Policy
from tideover.settings import KeyOrigin, Settings, options_for
from tideover.settings.render import effective_values

SHORTEST_PAUSE_S = STALL_S
"""A stall of the agent's process ends an event from this length on; a shorter one ends nothing: no drill of it."""
SURE_TO_COUNT_S = STALL_S + 0.1
"""What is stopped for exactly the limit may be measured as less: the error is some 30 ms."""
LONGEST_PAUSE_S = 600.0
"""Who watches a drill waits for it; ten minutes is far beyond every pause the platform's documents speak of."""
NOTICE_S = 60.0
"""How far ahead the event is announced, where the hooks do not need more."""

STOPPING = frozenset(kind for kind in Kind if kind.info.ends_by_pause or kind is Kind.UNKNOWN)
"""Kinds played as a stop of the agent's process; with the others the machine goes down, so the process is killed."""


@dataclass(frozen=True, slots=True)
class OwnHooks:
    """The owner's hooks directory, with the lines of the configuration that speak of hooks."""

    directory: str
    specs: tuple[HookSpec, ...]
    configuration: tuple[str, ...]
    reserve_s: float


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """One drill. `plan`: None plays with the built-in sample hooks."""

    kind: Kind
    pause_s: float
    acknowledged: bool                  # whether the policy lets this kind be acknowledged
    cancel: bool = False
    own: OwnHooks | None = None
    platform: Platform = field(default_factory=lambda: platform_named(SIMULATED_KINDS[0]))

    @property
    def stops(self) -> bool:
        """Whether the agent's process is stopped and continued; else it is killed and started again."""
        return self.kind in STOPPING

    @property
    def away_s(self) -> float:
        """How long it is really away: a stop at the limit is a little longer than was asked for, so that it counts."""
        return max(self.pause_s, SURE_TO_COUNT_S) if self.stops else self.pause_s

    @property
    def duration_s(self) -> int:
        """The length as the platform would announce it: whole seconds, -1 where it says nothing."""
        return max(1, round(self.pause_s)) if self.stops else -1

    @property
    def budget_s(self) -> float:
        """What the hooks may take one after another: for each NN its longest timeout."""
        longest: dict[int, float] = {}
        for spec in self.own.specs if self.own else ():
            longest[spec.order] = max(spec.timeout_s, longest.get(spec.order, 0.0))
        return sum(longest.values())

    @property
    def notice_s(self) -> float:
        """How long before NotBefore it is announced: no hook gets less time than it may take."""
        return max(NOTICE_S, self.budget_s + (self.own.reserve_s if self.own else 0.0) + NOTICE_S / 2)


def hooks_that_run(kind: Kind, announced_s: float, specs: tuple[HookSpec, ...]) -> tuple[HookSpec, ...]:
    """Given a kind, its announced length in seconds and hooks, return those that an event like that would run."""
    event = Event("drill", kind, (), expected_pause_s=announced_s if announced_s >= 0 else None)
    return Policy(hooks=specs).hooks_for(event)


# The rest of the owner's configuration (the platform, the policy, the clock's servers) is no part of a drill.

def user_hooks(settings: Settings, origin: Mapping[str, KeyOrigin]) -> OwnHooks:
    """Given the configuration and where their keys stand, return the hooks as they lie in the directory now."""
    lines = tuple(f"{shown.key} = {shown.value}" for shown in effective_values(settings, origin)
                  if shown.key.startswith(("hooks.", "hook.")))
    specs = read_catalogue(Path(settings.paths.hooks), lambda name: options_for(settings, name)).hooks
    return OwnHooks(settings.paths.hooks, specs, lines, settings.hooks.reserve_s)
