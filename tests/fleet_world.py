"""What surrounds the members of the fleet model: its store, the platform's events, and what one machine and its agent are."""
from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from tideover import effects as fx
from tideover.effects import Coordinate
from tideover.fleet_documents import event_digest, member_key
from tideover.lifecycle import State
from tideover.lifecycle.fleet_session import Confirmation, FleetSessions, StoredValue, WriteKey
from tideover.model import Event
from tideover.observations import AckOutcome, FleetView

ABSENT = StoredValue(None, None)


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class ModelStore:
    """Keys with revisions; conditional writes only."""

    keys: dict[str, StoredValue] = field(default_factory=dict)
    revision: int = 0
    is_down: bool = False
    late: list[tuple[int, WriteKey]] = field(default_factory=list)      # whose, of requests that were given up
    generation: int = 0                 # rises when it is restored or emptied

    def revision_of(self, key: str) -> str | None:
        return self.keys.get(key, ABSENT).revision

    def read(self, key: str) -> StoredValue:
        return self.keys.get(key, ABSENT)

    def write(self, wish: WriteKey) -> bool:
        if self.revision_of(wish.key) != wish.revision:
            return False
        self.revision += 1
        if wish.value is None:
            del self.keys[wish.key]
        else:
            self.keys[wish.key] = StoredValue(wish.value, str(self.revision))
        return True

    def restore(self, backup: dict[str, StoredValue]) -> None:
        """Requests under way end with the server. Revisions of before conflict with those of after."""
        self.generation += 1
        self.late.clear()
        self.keys = {}
        for key, stored in backup.items():
            self.revision += 1
            self.keys[key] = StoredValue(stored.value, str(self.revision))


@dataclass
class Post:
    """An acknowledgement that was sent: by whom, with which claim, when, and what its sender learnt."""

    place: int
    claim: int
    at_s: float
    outcome: AckOutcome


@dataclass
class Announced:
    """One event of the platform. `machines`: the members it names, by their places."""

    event: Event
    machines: tuple[int, ...]
    phase: str = "scheduled"            # started, removed
    posts: list[Post] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.digest, self.started = event_digest(self.event.source, self.event.id), replace(self.event, started=True)


class Wanted:
    """The effects of one state, by their kinds. Of the timers those that move something when they fire."""

    def __init__(self, effects: tuple[fx.Effect, ...] = ()) -> None:
        self.acknowledgements = [one for one in effects if isinstance(one, fx.Acknowledge)]
        self.coordinates = [one for one in effects if isinstance(one, Coordinate)]
        self.runs = [one for one in effects if isinstance(one, fx.RunHook)]
        self.checks = [one for one in effects if isinstance(one, fx.CheckClock)]
        self.wakes = [one for one in effects if isinstance(one, fx.WakeAt) and not one.key.startswith("near:")]
        self.digests = frozenset(event_digest(one.source, one.event_id) for one in self.coordinates)
        self.first_raw_s = min((one.at_raw_s for one in self.wakes), default=math.inf)


@dataclass
class Member:
    """One machine and its agent."""

    place: int
    name: str                           # two machines may have one
    group: str
    is_next: bool = False               # of the next version, which writes what this one does not know
    state: State = field(default_factory=State)
    boot: int = 1
    is_up: bool = True                  # the agent
    frozen_until_s: float = 0.0         # the machine
    is_cut_off: bool = False            # from the store
    sessions: FleetSessions | None = None
    running: Generator[Any, Any, Any] | None = None
    running_for: Coordinate | fx.Acknowledge | None = None
    result: Any = None
    views: dict[str, FleetView] = field(default_factory=dict)
    phases: dict[str, str] = field(default_factory=dict)
    confirmed: tuple[fx.Acknowledge, Confirmation, int] | None = None
    thawing: tuple[fx.Acknowledge, int, float] | None = None    # frozen before an acknowledgement that it will send: its
                                                                # claim, and when it looked at the store last
    beat_s: float = -1e9
    beats: int = 0
    reads: list[tuple[str, str | None, float]] = field(default_factory=list)    # key, revision, when: for J5
    settled_boot: dict[str, int] = field(default_factory=dict)      # event -> boot of its last session that ended well
    settled_at: dict[str, float] = field(default_factory=dict)      # event -> when that began
    told_late: set[str] = field(default_factory=set)
    recovered_s: dict[str, float] = field(default_factory=dict)     # event -> since when it is being recovered early
    prepared_s: float = 0.0
    polled: tuple[State | None, tuple[Event, ...]] = (None, ())     # after the newest document, and what that was
    settled: dict[str, tuple[Coordinate, FleetView, tuple[tuple[str, str | None], ...]]] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)        # keys and revisions read by the session under way
    wanted: Wanted = field(default_factory=Wanted)
    wanted_of: State | None = None

    def __post_init__(self) -> None:
        self.vm_id, self.generation = f"guid-{self.place}", 0       # of the store, as it knows it
        self.key = member_key(self.name, self.vm_id)

    @property
    def boot_id(self) -> str:
        return f"boot-{self.place}-{self.boot}"

    def is_in_boot(self, event_id: str) -> bool:
        """Whether its agent, in the present boot, knows that it was prepared in it."""
        return self.state.boot_id == self.boot_id
