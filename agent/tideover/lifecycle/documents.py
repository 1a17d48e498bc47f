"""What a document says of each event: seen for the first time, still there, begun, gone."""
from __future__ import annotations

from dataclasses import replace

import tideover.lifecycle.case as life
import tideover.lifecycle.signals as sg
from tideover import observations as ob
from tideover.lifecycle.budget import start_raw_s
from tideover.lifecycle.state import OTHERS_AT_MOST, OWN_AT_MOST, Case, Phase
from tideover.lifecycle.turn import Turn
from tideover.model import Document, Event, Moment, fold_case
from tideover.policy import names_me

DATE_MAY_BE_OFF_S = 3600.0
"""By how much the Date of an answer may differ from a clock known to be good before it is doubted (contract)."""


def polled(turn: Turn, seen: ob.Polled) -> None:
    """New events are taken before vanished ones: one preparation is handed on, also by a service that changes an
    event's id together with its status. A document that had to leave an entry out says of no event that it has gone,
    and of one that it lacks not that it is still there."""
    spelt = [one.id for one in seen.document.events]
    events = _in_known_spelling(turn, seen.document.events)
    whole, listed = not seen.document.left_out, {event.id for event in events}
    fresh = turn.state.fresh or whole or all(
        case.id in listed for case in turn.state.cases.values() if case.phase in (Phase.PREPARING, Phase.HOLDING))
    if turn.state.fresh != fresh or turn.state.me != seen.me:
        turn.state = replace(turn.state, fresh=fresh, me=seen.me)
    beyond = _beyond_bounds(turn, events, seen)
    _tell_of_those_beyond(turn, len(beyond))
    for event, spelling in zip(events, spelt, strict=True):
        if event.id in beyond:
            continue
        case = turn.state.cases.get(event.id)
        if case is None or _is_news(turn, case, event):
            _first_sight(turn, event, seen)
        else:
            _seen_again(turn, case, event, seen)
        _note_spelling(turn, event.id, spelling)
    for case in list(turn.state.cases.values()):
        if whole and case.listed and case.id not in listed:
            turn.tell(case.id, "left the list", "" if case.began else "it was never seen Started")
            turn.move(case, sg.Vanished(), "it has left the list")


def _is_news(turn: Turn, case: Case | None, event: Event) -> bool:
    return case is None or not case.listed or (case.phase is Phase.WATCHING and _concerns(turn, event))


def _beyond_bounds(turn: Turn, events: list[Event], seen: ob.Polled) -> set[str]:
    """The new events for which there is no room: a document may list tens of thousands. What has begun comes before
    what is still to come, and among that the earliest NotBefore."""
    cases = turn.state.cases
    if len(cases) + len(events) <= OWN_AT_MOST:
        return set()
    own = sum(case.phase is not Phase.WATCHING for case in cases.values())
    own_listed = sum(case.phase is not Phase.WATCHING and case.listed for case in cases.values())
    news = [event for event in events if _is_news(turn, cases.get(event.id), event)]
    ours = sorted((event for event in news if _concerns(turn, event)),
                  key=lambda event: (not event.started, _due_raw_s(event, seen, turn.now) or 0.0))
    theirs = [event for event in news if not _concerns(turn, event)]
    room = max(0, min(OWN_AT_MOST - own_listed, 2 * OWN_AT_MOST - own))     # what has left may wait for others' claims
    room_of_others = max(0, OTHERS_AT_MOST - (len(cases) - own))
    return {event.id for event in (*ours[room:], *theirs[room_of_others:])}


def _tell_of_those_beyond(turn: Turn, beyond: int) -> None:
    before = turn.state.beyond
    if before == beyond:
        return
    turn.state = replace(turn.state, beyond=beyond)
    if not before:
        turn.tell("", "events left out", f"{beyond} events of one document: at most {OWN_AT_MOST} of this VM are "
                                         f"carried at once, the earliest NotBefore first, and {OTHERS_AT_MOST} others")
    elif not beyond:
        turn.tell("", "events left out no more", "there is room for all that are listed")


def _in_known_spelling(turn: Turn, events: tuple[Event, ...]) -> list[Event]:
    """EventIds are GUIDs, the same in any case: the first spelling seen stays a case's id."""
    if not events:
        return []
    known = {fold_case(event_id): event_id for event_id in (*_remembered(turn), *turn.state.cases)}
    return [replace(event, id=known.setdefault(fold_case(event.id), event.id)) for event in events]


def _note_spelling(turn: Turn, event_id: str, spelt: str) -> None:
    """The platform is told of its event in its own newest spelling."""
    case = turn.state.cases.get(event_id)
    spelling = "" if spelt == event_id else spelt
    if case is not None and case.spelling != spelling:
        turn.state = turn.state.with_case(replace(case, spelling=spelling))


def _concerns(turn: Turn, event: Event) -> bool:
    return names_me(event, turn.state.me) and turn.policy.acts_on(event.kind)


def _remembered(turn: Turn) -> tuple[str, ...]:
    """The events that we had before, though there may be no case of theirs any more."""
    return (*turn.state.settled, *turn.state.over)


def _first_sight(turn: Turn, event: Event, seen: ob.Polled) -> None:
    case = Case(event, Phase.WATCHING, due_raw_s=_due_raw_s(event, seen, turn.now), began=event.started,
                acknowledged=event.id in turn.state.settled)
    turn.tell(event.id, "noticed", _whose(turn, event), replace(event, notice_s=_notice_s(event, seen, turn.now)))
    if not _concerns(turn, event):
        turn.put(None, case, "")
    elif event.started:
        _started_at_sight(turn, case)
    else:
        start = start_raw_s(case, turn.policy)
        phase = Phase.PREPARING if start is None or start <= turn.now.raw_s else Phase.WAITING
        turn.put(None, life.enter(case, phase, turn.policy, turn.now), "")


def _started_at_sight(turn: Turn, case: Case) -> None:
    """What we had, and what the list left out for a moment, goes on; only what nobody saw before was missed."""
    earlier = turn.state.cases.get(case.id)
    if earlier is not None and earlier.phase is not Phase.WATCHING:
        again = life.listed_again(earlier, case.event, turn.policy, turn.now)
        turn.put(earlier.phase, again, "it is listed again")
        return
    missed = case.id not in _remembered(turn)
    note = "it had started when it was first seen" if missed else "it is listed again"
    turn.put(None, replace(case, phase=Phase.UNDERWAY, missed=missed), note)


def _whose(turn: Turn, event: Event) -> str:
    if not names_me(event, turn.state.me):
        return f"it concerns {', '.join(event.resources) or 'no VM by name'}, not {turn.state.me}"
    return "" if turn.policy.acts_on(event.kind) else f"the owner leaves {event.kind.value} events alone"


def _seen_again(turn: Turn, case: Case, event: Event, seen: ob.Polled) -> None:
    if case.event.started and not event.started:
        return                                          # never backwards (Azure: Started stays until it is removed)
    if event.not_before != case.event.not_before and event.not_before is not None:
        turn.tell(case.id, "changed", "NotBefore moved", event)
    due = _due_raw_s(event, seen, turn.now)
    moved = due is not None and (case.due_raw_s is None or abs(due - case.due_raw_s) > life.DUE_MOVES_S)
    if moved:
        case = replace(case, due_raw_s=due)
        turn.state = turn.state.with_case(case)
    if not event.started:
        turn.move(case, sg.Scheduled(event, seen.document.asked_raw_s))
    elif not case.began:
        turn.tell(case.id, "started", "the platform says it has begun", event)
        turn.move(case, sg.Began(replace(event, not_before=event.not_before or case.event.not_before)))


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
    there is none. Where a good clock is far from that Date nobody knows who is right, and the nearer start counts:
    to prepare too early costs little."""
    if event.not_before is None:
        return None
    by_our_clock = now.raw_s + (event.not_before - now.utc).total_seconds()
    ahead_s = date_ahead_s(seen.document, now)
    if ahead_s is None:
        return by_our_clock
    by_date = by_our_clock - ahead_s
    return min(by_date, by_our_clock) if is_date_doubtful(seen, now) else by_date
