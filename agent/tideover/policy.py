"""What the configuration chooses, as questions: whose an event is, which hooks take part, why it is not acknowledged.
Pure.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tideover.model import ANNOUNCED, NO_SOURCE, ClockCheck, Event, HookSpec, Kind, Verdict, fold_case


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration chooses for one kind of event, as the decision asks for it: the words of [policy]
    (`PolicySettings`) end in `policy_of`."""

    acknowledge: bool = True
    acknowledge_shared: bool = False
    just_in_time: bool = False
    lead_s: float = 3600.0
    recover_after_pause: bool = True


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What [fleet] chooses. `slots`: how many events of the group may be prepared or away at once; 0: no limit."""

    slots: int = 0
    is_together: bool = True        # an event that names other machines waits for them
    waives_slot: bool = False       # on_unreachable = "proceed"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration chooses, and the hooks there are now."""

    rules: Mapping[Kind, Rules] = field(default_factory=dict)
    act_on: frozenset[Kind] = ANNOUNCED
    hooks: tuple[HookSpec, ...] = ()
    reserve_s: float = 5.0
    settle_s: float = 5.0
    recover_unannounced: bool = True
    hold_for_clock: bool = False        # [clock] on_deadline = "hold"
    observes: bool = False              # [policy] mode = "observe": nothing is prepared, nothing is acknowledged
    fleet: FleetRules | None = None     # None: [fleet] has no store

    def rules_for(self, kind: Kind) -> Rules:
        return self.rules.get(kind, Rules())

    def acts_on(self, kind: Kind) -> bool:
        return kind in self.act_on

    def wants(self, kind: Kind) -> bool:
        """Return whether some hook or application takes part in events of a kind; none does where only observed."""
        return not self.observes and self.acts_on(kind) and any(kind in spec.kinds for spec in self.hooks)

    def hooks_for(self, event: Event) -> tuple[HookSpec, ...]:
        """Given an event, return the hooks that want its kind and are not spared by its announced length."""
        return tuple(spec for spec in self.hooks if event.kind in spec.kinds and not _spared(spec, event))

    def recovers_after_pause(self, kind: Kind) -> bool:
        """Only a freeze leaves the applications where they were; every other kind ends when it leaves the list."""
        return kind.info.ends_by_pause and self.rules_for(kind).recover_after_pause

    def must_wait_for(self, check: ClockCheck) -> bool:
        """Given a check that reached its deadline, return whether the event goes on waiting for a good clock."""
        if check.verdict is Verdict.GOOD or check.reason.startswith(NO_SOURCE):
            return False
        return self.hold_for_clock

    def waits_for_peers(self, event: Event, me: str) -> bool:
        """Given an event, return whether the machines that it names agree on its acknowledgement through the store."""
        together = self.fleet is not None and self.fleet.is_together
        return together and event.takes_acknowledgement and names_me(event, me) and names_others(event, me)

    def why_not_acknowledge(self, event: Event, me: str) -> str | None:
        """Given an event whose preparation worked, return why it is not acknowledged; None: it is."""
        rules = self.rules_for(event.kind)
        if event.odd_status is not None:
            return f"its status is {event.odd_status or 'not given'}, and only a Scheduled event can be acknowledged"
        if not rules.acknowledge:
            return f"{event.kind.value} events are acknowledged by hand ([policy] acknowledge)"
        if not rules.acknowledge_shared and names_others(event, me) and not self.waits_for_peers(event, me):
            return "it names other VMs too, and an acknowledgement would count for all"
        return None


def names_me(event: Event, me: str) -> bool:
    """Given an event, say whether it concerns the VM called `me`: whole names, without case (Azure varies it; see
    `fold_case`). A VM without a name is named by nothing."""
    folded = fold_case(me)
    return bool(me) and any(fold_case(name) == folded for name in event.resources)


def names_others(event: Event, me: str) -> bool:
    folded = fold_case(me)
    return any(fold_case(name) != folded for name in event.resources)


def _spared(spec: HookSpec, event: Event) -> bool:
    short = event.expected_pause_s is not None and event.expected_pause_s < spec.min_pause_s
    return event.kind.info.ends_by_pause and short
