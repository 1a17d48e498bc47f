"""The figures of a report: counts, notice against preparation, pauses, clocks, months. Pure.

Only events that concerned this machine count; those it only watched are counted apart. A length that is not known is
left out, never taken as 0, and their number is shown.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from tideover.html.summary import Severity, summarize
from tideover.humanize import Times
from tideover.model import HookOutcome, HookPhase, Kind, Verdict
from tideover.record import EventRecord

REACHED_THE_END = frozenset({HookOutcome.DONE, HookOutcome.NOTHING, HookOutcome.NOT_YET, HookOutcome.TIMED_OUT})
EMPTY_MONTHS = 12           # shown one after the other


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths of one sort, in seconds, ascending; `unknown`: how many more there were whose length is not known."""

    lengths_s: tuple[float, ...]
    unknown: int = 0

    @property
    def middle_s(self) -> float | None:
        return median(self.lengths_s) if self.lengths_s else None

    @property
    def least_s(self) -> float | None:
        return self.lengths_s[0] if self.lengths_s else None

    @property
    def most_s(self) -> float | None:
        return self.lengths_s[-1] if self.lengths_s else None


@dataclass(frozen=True, slots=True)
class EventSummary:
    """One event of the history."""

    account: EventRecord
    tone: Severity
    sentence: str
    longest_s: float | None          # pause
    uncertainty_s: float | None


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month of local time; `by_kind`: how many events of each kind, the most frequent kinds first."""

    year: int
    month: int
    by_kind: Mapping[Kind, int]

    @property
    def number(self) -> int:
        """Months since the year 0."""
        return self.year * 12 + self.month - 1

    @property
    def count(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """`without_notice`: announced events that had begun when they were first seen. `short_notices`: notices shorter
    than the longest preparation. `need_s`: that preparation, None before there was one."""

    since: datetime | None
    events: tuple[EventSummary, ...]
    watched: int
    months: tuple[Month, ...]
    kinds: tuple[Kind, ...]
    notice: Spread
    preparation: Spread
    pause: Spread
    clock: Spread
    without_notice: int
    short_notices: int
    need_s: float | None
    clock_checked: int          # events whose clock was checked at recovery
    clock_not_good: int

    def of_tone(self, tone: Severity) -> int:
        return sum(event.tone is tone for event in self.events)


def history_statistics(records: Iterable[EventRecord], times: Times, since: datetime
                       | None = None) -> HistoryStatistics:
    """Given records, oldest first, how to tell the time, and from when they count (None: all), return the figures."""
    accounts = list(records)
    counted = [account for account in accounts if since is None or account.noticed_at >= since]
    ours = [account for account in counted if not account.was_only_observed]
    announced = [account for account in ours if account.is_announced]
    notices = _spread(account.notice_s for account in announced if account.notice_s != 0)
    preparation = _spread(account.preparation_s for account in ours if _prepared_to_the_end(account))
    judged = [account.clock for account in ours if account.clock.check.checked_at is not None]
    need_s = preparation.most_s
    return HistoryStatistics(
        since=since, events=tuple(_summary(account) for account in ours), watched=len(counted) - len(ours),
        months=_months(ours, times), kinds=_kinds(ours), notice=notices, preparation=preparation,
        pause=_spread(stop.length_s for account in ours for stop in account.interruptions),
        clock=_spread(clock.check.good_after_s for clock in judged if clock.check.verdict is Verdict.GOOD),
        without_notice=sum(account.notice_s == 0 for account in announced),
        short_notices=0 if need_s is None else sum(length_s < need_s for length_s in notices.lengths_s),
        need_s=need_s, clock_checked=len(judged),
        clock_not_good=sum(clock.check.verdict is not Verdict.GOOD for clock in judged))


def _summary(account: EventRecord) -> EventSummary:
    verdict = summarize(account)
    longest = account.longest_pause
    return EventSummary(account, verdict.tone, verdict.sentence, longest.length_s if longest else None,
                longest.shown_uncertainty_s if longest else None)


def _prepared_to_the_end(account: EventRecord) -> bool:
    """What was stopped in the middle, or failed early, says nothing of how long preparation takes."""
    runs = account.runs_of(HookPhase.PREPARE)
    return bool(runs) and all(run.report.outcome in REACHED_THE_END for run in runs)


def _spread(lengths: Iterable[float | None]) -> Spread:
    given = list(lengths)
    known = sorted(length_s for length_s in given if length_s is not None)
    return Spread(tuple(known), len(given) - len(known))


def _kinds(accounts: Sequence[EventRecord]) -> tuple[Kind, ...]:
    return tuple(kind for kind, _ in Counter(account.kind for account in accounts).most_common())


def _months(accounts: Sequence[EventRecord], times: Times) -> tuple[Month, ...]:
    """Every month from the first event's to the last one's, the empty ones too; but a longer time without events, as a
    wrong clock makes it, is left out."""
    if not accounts:
        return ()
    counts: dict[int, Counter[Kind]] = {}
    for account in accounts:
        local = times.localise(account.noticed_at)
        counts.setdefault(local.year * 12 + local.month - 1, Counter())[account.kind] += 1
    numbers: list[int] = []
    for number in sorted(counts):
        if numbers and number - numbers[-1] <= EMPTY_MONTHS + 1:
            numbers += range(numbers[-1] + 1, number)
        numbers.append(number)
    return tuple(Month(number // 12, number % 12 + 1, dict(counts.get(number, Counter()).most_common()))
                 for number in numbers)
