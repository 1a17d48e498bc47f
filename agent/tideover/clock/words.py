"""What else belongs into a reason: how the clock is moving, and what the time daemon believes. Text only."""
from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tideover.clock.nouns import DaemonReport
from tideover.timekeeping.agreement import DRIFT_PPM, Interval
from tideover.timekeeping.slew import seconds_until_good

OLDER_THAN_THE_PAUSE = "older than the pause"


def slewing_text(behind: Interval | None, tolerance_ns: int, rate: float | None) -> str:
    """Given where the offset lies and the rate the clock moves at, return when it will be good; "" if nobody knows."""
    wait_s = None if behind is None or rate is None else seconds_until_good(behind, tolerance_ns, rate)
    return "" if wait_s is None else f"the daemon is slewing; good in about {_duration(wait_s)}"


def aged(report: DaemonReport, now: datetime, resumed_at: datetime | None) -> DaemonReport:
    """Given what a daemon believes, now and the resume by the same wall clock, return it with the age of its word.

    Its bound grows with age (ClockBound's 50 ppm), for the daemon's own drift rates know nothing of another host.
    """
    if report.updated_at is None:
        return report
    age_s = max(0.0, (now - report.updated_at).total_seconds())
    bound_s = None if report.bound_s is None else report.bound_s + age_s * DRIFT_PPM * 1e-6
    is_old = resumed_at is not None and report.updated_at <= resumed_at
    note = "; ".join(filter(None, (report.note, OLDER_THAN_THE_PAUSE if is_old else "")))
    return replace(report, last_update_age_s=age_s, bound_s=bound_s, note=note)


def daemon_text(report: DaemonReport) -> str:
    """Given what a daemon believes, return it as a clause of a sentence."""
    parts = [_belief(report)]
    if report.last_update_age_s is not None:
        parts.append(f"measured {_duration(report.last_update_age_s)} ago")
    return ", ".join(filter(None, (*parts, report.note)))


def _belief(report: DaemonReport) -> str:
    if report.is_synchronised is None:
        return f"{report.name} says nothing"
    if not report.is_synchronised:
        return f"{report.name} says that it is not synchronised"
    if report.offset_s is None:
        return f"{report.name} says that it is synchronised"
    return f"{report.name} says {abs(report.offset_s) * 1e3:.3f} ms {'ahead' if report.offset_s > 0 else 'behind'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
