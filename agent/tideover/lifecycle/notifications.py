"""Which changes of an event `[notify]` reports, and which are dropped when it is slow. Pure.

Nothing here runs the program or waits for it.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tideover.effects import RunFacts
from tideover.lifecycle.desired import case_facts
from tideover.lifecycle.state import Case, Entry, Phase, State
from tideover.model import Kind, Moment
from tideover.policy import names_me

QUEUED_AT_MOST = 16


@dataclass(frozen=True, slots=True)
class Notification:
    """One change of phase of one event of this VM. `reason`: resumed, cancelled or restarted, once that is known."""

    event_id: str
    phase: Phase
    at: Moment
    kind: Kind
    reason: str = ""
    facts: RunFacts = field(default_factory=RunFacts)


REASON_KNOWN = frozenset({Phase.CHECKING_CLOCK, Phase.SETTLING, Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED})


def notifications_of(before: State, after: State, entries: Iterable[Entry], now: Moment) -> tuple[Notification, ...]:
    """Given a step of the decision, return what is to be reported of it: each change of phase of an event of this VM.
    Other machines report their own."""
    found = []
    for entry in entries:
        case = after.cases.get(entry.event_id) or before.cases.get(entry.event_id)
        if isinstance(entry.what, Phase) and case is not None and _is_own(case, after.me):
            reason = case.reason if entry.what in REASON_KNOWN else ""
            found.append(Notification(case.id, entry.what, now, case.event.kind, reason, case_facts(case, now)))
    return tuple(found)


def _is_own(case: Case, me: str) -> bool:
    """What no platform announced concerns this machine."""
    return case.event.source == "none" or names_me(case.event, me)


def enqueue(queue: tuple[Notification, ...], news: Notification,
            at_most: int = QUEUED_AT_MOST) -> tuple[tuple[Notification, ...], Notification | None]:
    """Given what waits and what is new, return what waits now, and what was dropped because there is no room (None:
    nothing): the oldest for whose event a newer one waits, else the oldest of all. So of each event the newest phase
    is kept while there is room for that."""
    longer = (*queue, news)
    if len(longer) <= at_most:
        return longer, None
    dropped = next((one for place, one in enumerate(longer)
                    if any(later.event_id == one.event_id for later in longer[place + 1:])), longer[0])
    return tuple(one for one in longer if one is not dropped), dropped
