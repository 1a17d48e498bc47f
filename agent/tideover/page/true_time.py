"""Where a moment of the record lies in true time, as far as the readings of outside time say. Pure.

A record's moments are what this machine's clock showed then. A machine that stands still may have a clock that stands
still with it: after the resume it is behind by the pause, until somebody steps it. Drawn as they stand in the record
the pause would lie on top of what came before it. Only where the first reading after a pause says that the clock had
lost just that pause are the moments after it moved, by what the readings say.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime

from tideover.page.account import Account, Reading, Stop

SLACK_S = 0.1        # readings come some milliseconds after the resume, and a slew may have begun


def seconds_since_notice(account: Account) -> Callable[[datetime], float]:
    """Given an account, return what turns its moments into seconds of true time since it was noticed."""
    def since(at: datetime) -> float:
        return (at - account.noticed).total_seconds()

    shifts = [(stop.ended, _after(stop, account)) for stop in account.pauses if clock_stood_still(stop, account)]
    shifts.sort(key=lambda shift: shift[0])
    beginnings = [begun for begun, _ in shifts]

    def seconds(at: datetime) -> float:
        index = bisect_right(beginnings, at) - 1
        return since(at) if index < 0 else _true_s(at, shifts[index][1], since)

    return seconds


def clock_stood_still(stop: Stop, account: Account) -> bool:
    """Whether the first reading after this pause says that the clock had lost its length, neither more nor less."""
    after = _after(stop, account)
    if not after or stop.length_s is None or stop.cause not in ("vm-pause", "suspend"):
        return False
    doubt_s = (stop.uncertainty_s or 0.0) + (after[0].error_bound_s or 0.0) + SLACK_S
    return stop.length_s > doubt_s and abs(after[0].offset_s + stop.length_s) <= doubt_s


def _after(stop: Stop, account: Account) -> Sequence[Reading]:
    """The readings between this pause's end and the next one's."""
    later = [other.ended for other in account.pauses if other.ended > stop.ended]
    return [one for one in account.clock.readings if one.at >= stop.ended and (not later or one.at < min(later))]


def _true_s(at: datetime, readings: Sequence[Reading], since: Callable[[datetime], float]) -> float:
    """By the reading before, the first one where there is none; never past the true time of the next reading."""
    index = max(0, bisect_right([one.at for one in readings], at) - 1)
    true_s = since(at) - readings[index].offset_s
    if index + 1 == len(readings):
        return true_s
    following = readings[index + 1]
    return min(true_s, since(following.at) - following.offset_s)
