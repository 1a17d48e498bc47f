"""What a document of the platform changes: first sight, start, removal, other spellings, the platform's clock. Pure."""
from __future__ import annotations

from dataclasses import replace

import tideover.lifecycle.case as cases
from tideover import observations as ob
from tideover.lifecycle.coordination import with_fleet
from tideover.lifecycle.hook_stages import start_raw_s
from tideover.lifecycle.state import (
    OTHERS_AT_MOST,
    OWN_AT_MOST,
    AckState,
    Case,
    Phase,
)
from tideover.lifecycle.transition import Transition
from tideover.model import (
    Document,
    EntryKind,
    Event,
    Moment,
    fold_case,
)
from tideover.policy import names_me

DATE_MAY_BE_OFF_S = 3600.0
"""By how much the Date of an answer may differ from a clock known to be good before it is doubted (contract)."""


def on_poll(transition: Transition, seen: ob.Polled) -> None:
    """New events are taken before vanished ones: one preparation is handed on, also by a service that changes an
    event's id together with its status. A document that had to leave an entry out says of no event that it has gone,
    and of one that it lacks not that it is still there."""
    spelt = [one.id for one in seen.document.events]
    events = _in_known_spelling(transition, seen.document.events)
    whole, listed = not seen.document.left_out, {event.id for event in events}
    fresh = transition.state.fresh or whole or all(
        case.id in listed for case in transition.state.cases.values()
        if case.phase in (Phase.PREPARING, Phase.WAITING_FOR_PEERS, Phase.HELD, Phase.ACKNOWLEDGED))
    was_fresh = transition.state.fresh
    if transition.state.fresh != fresh or transition.state.me != seen.me:
        transition.state = replace(transition.state, fresh=fresh, me=seen.me)
    beyond = _beyond_bounds(transition, events, seen)
    _record_left_out(transition, len(beyond))
    for event, spelling in zip(events, spelt, strict=True):
        if event.id in beyond:
            continue
        case = transition.state.cases.get(event.id)
        if case is None or _is_news(transition, case, event):
            _first_sight(transition, event, seen)
        else:
            _seen_again(transition, case, event, seen)
        _note_spelling(transition, event.id, spelling)
    for case in list(transition.state.cases.values()):
        if whole and case.listed and case.id not in listed:
            transition.record(case.id, EntryKind.REMOVED, "" if case.began else "Started was never seen")
            transition.move(case, cases.Removed(), "the platform has removed the event")
    transition.refresh_fleet()
    if fresh and not was_fresh:
        _take_known_views(transition)


def _take_known_views(transition: Transition) -> None:
    """The first document since the agent's start: what the fleet's store has shown meanwhile counts now."""
    for case in list(transition.state.cases.values()):
        is_waiting = case.phase in (Phase.WAITING_FOR_PEERS, Phase.HELD)
        if is_waiting and case.fleet is not None and case.fleet.view.is_reached:
            transition.move(case, cases.FleetNews(case.fleet.view))


def _is_news(transition: Transition, case: Case | None, event: Event) -> bool:
    return case is None or not case.listed or (case.phase is Phase.OBSERVED and _concerns(transition, event))


def _beyond_bounds(transition: Transition, events: list[Event], seen: ob.Polled) -> set[str]:
    """The new events for which there is no room: a document may list tens of thousands. What has begun comes before
    what is still to come, and among that the earliest NotBefore."""
    cases = transition.state.cases
    if len(cases) + len(events) <= OWN_AT_MOST:
        return set()
    own = sum(case.phase is not Phase.OBSERVED for case in cases.values())
    own_listed = sum(case.phase is not Phase.OBSERVED and case.listed for case in cases.values())
    news = [event for event in events if _is_news(transition, cases.get(event.id), event)]
    ours = sorted((event for event in news if _concerns(transition, event)),
                  key=lambda event: (not event.started, _due_raw_s(event, seen, transition.now) or 0.0))
    theirs = [event for event in news if not _concerns(transition, event)]
    room = max(0, min(OWN_AT_MOST - own_listed, 2 * OWN_AT_MOST - own))     # what has left may wait for others' claims
    room_of_others = max(0, OTHERS_AT_MOST - (len(cases) - own))
    return {event.id for event in (*ours[room:], *theirs[room_of_others:])}


def _record_left_out(transition: Transition, beyond: int) -> None:
    before = transition.state.beyond
    if before == beyond:
        return
    transition.state = replace(transition.state, beyond=beyond)
    if not before:
        transition.record("", EntryKind.LEFT_OUT,
                          f"{beyond} events of one document: at most {OWN_AT_MOST} of this VM are handled at once, the "
                          f"earliest NotBefore first, and {OTHERS_AT_MOST} others")
    elif not beyond:
        transition.record("", EntryKind.LEFT_OUT_NO_MORE, "there is room for all that are listed")


def _in_known_spelling(transition: Transition, events: tuple[Event, ...]) -> list[Event]:
    """EventIds are GUIDs, the same in any case: the first spelling seen stays a case's id."""
    if not events:
        return []
    known = {fold_case(event_id): event_id for event_id in (*_remembered(transition), *transition.state.cases)}
    spelt = [(event, known.setdefault(fold_case(event.id), event.id)) for event in events]
    return [event if event.id == spelling else replace(event, id=spelling) for event, spelling in spelt]


def _note_spelling(transition: Transition, event_id: str, spelt: str) -> None:
    """An acknowledgement carries the id in the spelling of the newest document."""
    case = transition.state.cases.get(event_id)
    spelling = "" if spelt == event_id else spelt
    if case is not None and case.current_id != spelling:
        transition.state = transition.state.with_case(replace(case, current_id=spelling))


def _concerns(transition: Transition, event: Event) -> bool:
    return names_me(event, transition.state.me) and transition.policy.acts_on(event.kind)


def _remembered(transition: Transition) -> tuple[str, ...]:
    """The events that we had before, though there may be no case of theirs any more."""
    return (*transition.state.settled, *transition.state.over)


def _first_sight(transition: Transition, event: Event, seen: ob.Polled) -> None:
    case = Case(event, Phase.OBSERVED, due_raw_s=_due_raw_s(event, seen, transition.now),
                ack=AckState.ACCEPTED if event.id in transition.state.settled else AckState.OPEN)
    case = with_fleet(case, transition.policy, transition.state.me)
    left = tuple(one for one in transition.state.leaving if one.event_id != event.id)
    if left != transition.state.leaving:        # it is listed again before the fleet's store has let go of it
        transition.state = replace(transition.state, leaving=left)
    transition.record(event.id, EntryKind.NOTICED, _whose(transition, event),
                replace(event, notice_s=_notice_s(event, seen, transition.now)))
    if not _concerns(transition, event):
        transition.enter_phase(None, case, "")
    elif event.started:
        _started_at_sight(transition, case)
    else:
        start = start_raw_s(case, transition.policy)
        waits = cases.waits_for_slot(case, transition.policy, transition.now)
        at_once = Phase.WAITING_FOR_SLOT if waits else Phase.PREPARING
        phase = at_once if start is None or start <= transition.now.raw_s else Phase.SCHEDULED
        transition.enter_phase(None, cases.enter(case, phase, transition.policy, transition.now), "")


def _started_at_sight(transition: Transition, case: Case) -> None:
    """An event known from before that a document lacked for a moment goes on; only one never seen before was missed."""
    earlier = transition.state.cases.get(case.id)
    if earlier is not None and earlier.phase is not Phase.OBSERVED:
        again = cases.listed_again(earlier, case.event, transition.policy, transition.now)
        transition.enter_phase(earlier.phase, again, "it is listed again")
        return
    missed = case.id not in _remembered(transition)
    note = "it had started when it was first detected" if missed else "it is listed again"
    transition.enter_phase(None, replace(case, phase=Phase.STARTED, missed=missed), note)


def _whose(transition: Transition, event: Event) -> str:
    if not names_me(event, transition.state.me):
        return f"it concerns {', '.join(event.resources) or 'no VM by name'}, not {transition.state.me}"
    return "" if transition.policy.acts_on(event.kind) else f"{event.kind.value} is not in act_on"


def _seen_again(transition: Transition, case: Case, event: Event, seen: ob.Polled) -> None:
    if case.event.started and not event.started:
        return                                          # never backwards (Azure: Started stays until it is removed)
    if event.not_before != case.event.not_before and event.not_before is not None:
        transition.record(case.id, EntryKind.CHANGED, "NotBefore moved", event)
    due = _due_raw_s(event, seen, transition.now)
    moved = due is not None and (case.due_raw_s is None or abs(due - case.due_raw_s) > cases.DUE_MOVES_S)
    if moved:
        case = replace(case, due_raw_s=due)
        transition.state = transition.state.with_case(case)
    if not event.started:
        transition.move(case, cases.Scheduled(event, seen.document.asked_raw_s))
    elif not case.began:
        transition.record(case.id, EntryKind.STARTED, "the platform says Started", event)
        transition.move(case, cases.Began(replace(event, not_before=event.not_before or case.event.not_before)))


def date_ahead_s(document: Document, now: Moment) -> float | None:
    """Given a document, return by how many seconds its Date was ahead of our wall clock; None: it has no Date."""
    if document.date is None:
        return None
    return (document.date - now.utc).total_seconds() + now.raw_s - document.received_raw_s


def is_date_doubtful(seen: ob.Polled, now: Moment) -> bool:
    """Whether the Date of this answer is far from a clock that is known to be good."""
    ahead_s = date_ahead_s(seen.document, now)
    return seen.clock_is_good and ahead_s is not None and abs(ahead_s) > DATE_MAY_BE_OFF_S


def _notice_s(event: Event, seen: ob.Polled, now: Moment) -> float | None:
    """How far ahead it is announced: by the answer's own Date, or by our clock where that is known to be good and the
    Date is far from it. Our clock alone may be wrong."""
    date = now.utc if is_date_doubtful(seen, now) else seen.document.date
    if event.started:
        return 0.0
    if event.not_before is None or date is None:
        return None
    return max(0.0, (event.not_before - date).total_seconds())


def _due_raw_s(event: Event, seen: ob.Polled, now: Moment) -> float | None:
    """NotBefore is the platform's time: its distance from the answer's own Date is what counts, our clock only where
    there is none. Where a good clock is far from that Date it is not known which one is right, and the nearer
    start counts: to prepare too early costs little."""
    if event.not_before is None:
        return None
    by_our_clock = now.raw_s + (event.not_before - now.utc).total_seconds()
    ahead_s = date_ahead_s(seen.document, now)
    if ahead_s is None:
        return by_our_clock
    by_date = by_our_clock - ahead_s
    return min(by_date, by_our_clock) if is_date_doubtful(seen, now) else by_date
