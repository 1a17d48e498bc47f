"""One event on one layout: its moments as seconds of true time, its pauses, and the axis that shows them all. Pure."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tideover.page.account import Account, Stop
from tideover.page.axis import Axis, Span, axis_over
from tideover.page.flags import flag_width
from tideover.page.layout import Layout
from tideover.page.milestones import milestones
from tideover.page.true_time import seconds_since_notice
from tideover.wording import Times


@dataclass(frozen=True, slots=True)
class Rest:
    """A pause on the axis. `whole`: as long as it may have been; `sure`: as long as it was at least."""

    whole: Span
    sure: Span
    stop: Stop


class Stage:
    """One account on one layout: its moments as seconds, its axis. Changes nothing after it is made."""

    def __init__(self, account: Account, times: Times, layout: Layout) -> None:
        self.account, self.times, self.layout = account, times, layout
        self.seconds: Callable[[datetime], float] = seconds_since_notice(account)
        self.rests = tuple(self._rest(stop) for stop in account.pauses)
        self.end_s = max(self._ends())
        widest = max((flag_width(one, layout) for one in milestones(account)), default=0.0)
        self.right = layout.width - max(layout.right, widest + 2)
        self.not_before_s = self._not_before_s()
        self.axis: Axis = axis_over(self._news(), Span(layout.left or 2.0, self.right), layout.cut)

    def _rest(self, stop: Stop) -> Rest:
        end = self.seconds(stop.ended)
        if stop.length_s is None:
            return Rest(Span(end, end), Span(end, end), stop)
        begin, doubt_s = end - stop.length_s, stop.uncertainty_s or 0.0
        return Rest(Span(begin - doubt_s, end), Span(min(begin + doubt_s, end), end), stop)

    def _ends(self) -> list[float]:
        account = self.account
        now = [] if account.is_over else [(self.times.now - account.noticed).total_seconds()]
        return [*now, *(self.seconds(move.at) for move in account.moves),
                *(self.seconds(run.ended or run.began) for run in account.runs),
                *(rest.whole.end for rest in self.rests), 0.0]

    def _not_before_s(self) -> float | None:
        account = self.account
        at = None if account.not_before is None else self.seconds(account.not_before)
        waits = not account.is_over and account.started is None
        return at if at is not None and at >= 0 and (waits or at <= self.end_s) else None

    def _news(self) -> list[Span]:
        """What the axis must show. A NotBefore is part of the story unless all was over before."""
        account = self.account
        moments = [self.seconds(move.at) for move in account.moves if move.what != "clock followed"]
        moments += [] if account.is_over else [self.end_s]
        moments += [] if self.not_before_s is None else [self.not_before_s]
        spans = [Span(at, at) for at in moments]
        spans += [Span(self.seconds(run.began), self.seconds(run.ended or run.began)) for run in account.runs]
        spans += [rest.whole for rest in self.rests]
        judged = account.clock.checked_at
        if judged is not None and self.rests and judged >= self.rests[-1].stop.ended:
            spans.append(Span(self.rests[-1].whole.end, self.seconds(judged)))
        return spans
