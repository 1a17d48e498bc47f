"""The type of a finding (good, remark, bad), and the findings that every source shares: answer, clock, events listed
now.
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tideover.humanize import length_text, moment_text, offset_text
from tideover.model import Event, VmIdentity, fold_case
from tideover.observations import Polled, PollFailed
from tideover.policy import names_me
from tideover.text_safety import dot_controls


class FindingLevel(enum.Enum):
    """NOTE: it works, with a limit worth knowing. BAD: something will not work here."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one topic, and one about what to do ("" where there is nothing to be done)."""

    topic: str
    state: FindingLevel
    what: str
    do: str = ""


def good(topic: str, what: str) -> Finding:
    return Finding(topic, FindingLevel.GOOD, _one_line(what))


def remark(topic: str, what: str, do: str = "") -> Finding:
    return Finding(topic, FindingLevel.NOTE, _one_line(what), _one_line(do))


def bad(topic: str, what: str, do: str) -> Finding:
    return Finding(topic, FindingLevel.BAD, _one_line(what), _one_line(do))


def _one_line(text: str) -> str:
    return dot_controls(" ".join(text.split()))


# --- What doctor says of any platform's service

CALL_S = 5.0                 # doctor's limit for one request
WHOLE_S = 6.0                # … and for one poll
OFF_S = 2.5                  # a Date has whole seconds, and the answer was a moment under way


@dataclass(frozen=True, slots=True)
class PollReport:
    """One poll by doctor. `news`: what came of it, None if nothing came in time; `took_s`: how long it took; `wall`:
    this machine's wall clock right after it. `named`: who the service says this VM is, where that was asked."""

    news: Polled | PollFailed | None = None
    took_s: float = 0.0
    wall: datetime | None = None
    named: VmIdentity | None = None

    @property
    def answer(self) -> Polled | None:
        return self.news if isinstance(self.news, Polled) else None

    @property
    def is_late(self) -> bool:
        return self.news is None or (isinstance(self.news, PollFailed) and self.took_s >= CALL_S)


def check_answer(topic: str, place: str, polled: PollReport, hint: str, remark_on_time: str = "") -> list[Finding]:
    """Given a topic, the service's name with its address, one poll and what to do when it has failed, say whether the
    service can be used, and its clock. `remark_on_time`: what to know about how long an answer may take."""
    if polled.is_late:
        return [bad(topic, f"{place} has not answered within {WHOLE_S:.0f} s", hint)]
    if isinstance(polled.news, PollFailed):
        return [bad(topic, polled.news.reason, hint)]
    assert polled.news is not None
    document = polled.news.document
    in_part = [remark(topic, f"{document.left_out}: the other events are used, but no event is considered removed",
                      "If this persists, contact the platform's support.")] if document.left_out else []
    remark_text = f" ({remark_on_time})" if remark_on_time else ""
    return [good(topic, f"{place} answered in {length_text(polled.took_s)}{remark_text}"), *in_part,
            _check_date(topic, document.date, polled.wall)]


def _check_date(topic: str, date: datetime | None, wall: datetime | None) -> Finding:
    if date is None or wall is None:
        return remark(topic, "its answers have no Date header, so they cannot show a pause that stops all "
                             "clocks", "Name time servers under [clock] servers.")
    off_s = (wall - date).total_seconds()
    if abs(off_s) > OFF_S:
        return remark(topic, f"by the Date of its answers this clock is {offset_text(off_s)}",
                      "Compare with time servers: tideover clock")
    return good(topic, "its answers have a Date header, which shows pauses of some seconds that no local clock shows")


def check_events(polled: PollReport) -> list[Finding]:
    """Given one poll, say what is announced now."""
    if polled.answer is None:
        return []
    events: Sequence[Event] = polled.answer.document.events
    return [remark("events", _event_text(event, polled.answer.me)) for event in events] or [
        good("events", "no event is listed now")]


def _event_text(event: Event, me: str) -> str:
    when = "it has started" if event.started else "it may start now" if event.not_before is None else (
        f"not before {moment_text(event.not_before)}")
    others = sum(fold_case(name) != fold_case(me) for name in event.resources)
    shared = f" and {others} more" if others else ""
    whose = f"for this VM{shared}" if names_me(event, me) else "for other VMs only"
    return f"{event.kind.value} {event.id}, {whose}, {when}"
