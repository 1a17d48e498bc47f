"""The verdict of a clock check: status, offset, error bound, and the reason in words.

Sends no query. The same samples may be judged again and again, for they outlive a step of the wall clock.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from tideover.clock.convergence import agrees_with
from tideover.clock.host import USUAL_TICK_US, HostAccess
from tideover.clock.query_rounds import QueryRounds
from tideover.clock.types import DaemonReport, ServerReport
from tideover.model import NO_SOURCE, ClockCheck, ClockSample, Verdict, utc
from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.timekeeping.intervals import (
    DRIFT_PPM,
    NS,
    Consensus,
    Interval,
    TimeSample,
    ToleranceResult,
    ahead_s,
    combine,
    compare,
    is_slewing,
    kernel_rate,
    seconds_until_good,
)
from tideover.timekeeping.ntp_packet import Rejected, RejectReason

# --- Reasons: slewing, sample age, the time daemon's state

OLDER_THAN_THE_PAUSE = "older than the pause"


def slewing_text(behind: Interval | None, tolerance_ns: int, rate: float | None) -> str:
    """Given where the offset lies and the rate the clock moves at, return when it will be good; "" if that is not
    known."""
    wait_s = None if behind is None or rate is None else seconds_until_good(behind, tolerance_ns, rate)
    return "" if wait_s is None else f"the daemon is slewing; good in about {_duration(wait_s)}"


def age_text(report: DaemonReport, now: datetime, resumed_at: datetime | None) -> DaemonReport:
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
        return f"{report.name} reports nothing"
    if not report.is_synchronised:
        return f"{report.name} reports that it is not synchronised"
    if report.offset_s is None:
        return f"{report.name} reports that it is synchronised"
    return f"{report.name} reports {abs(report.offset_s) * 1e3:.3f} ms {'ahead' if report.offset_s > 0 else 'behind'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# --- From samples to the check in the record

_MOST_NAMED = 4          # servers named in one sentence

_VERDICTS = {ToleranceResult.INSIDE: Verdict.GOOD, ToleranceResult.OUTSIDE: Verdict.BAD,
             ToleranceResult.OPEN: Verdict.UNKNOWN}


def to_clock_check(standing: Consensus, wall_minus_raw_ns: int, tolerance_ns: int,
                   refused: Iterable[Rejected]) -> ClockCheck:
    """Given what the sources say and this machine's wall minus raw, return verdict, offset, bound and reason."""
    behind = standing.behind(wall_minus_raw_ns)
    if behind is None:
        return ClockCheck(Verdict.UNKNOWN, reason=_why_unknown(standing, wall_minus_raw_ns, refused))
    verdict = _VERDICTS[compare(behind, tolerance_ns)]
    return ClockCheck(verdict, ahead_s(behind.middle_ns), behind.half_ns / NS,
                      reason=_why(verdict, behind, standing, tolerance_ns), tolerance_s=tolerance_ns / NS)


def as_record(sample: TimeSample) -> ClockSample:
    """Given a sample, return it as the record keeps it: by this machine's wall clock, positive = ahead."""
    at_ns = sample.ended_raw_ns + sample.wall_minus_raw_ns
    return ClockSample(utc(at_ns / NS), sample.server, ahead_s(sample.behind_ns), sample.delay_ns / NS,
                       sample.bound_ns / NS)


def reports(standing: Consensus, wall_minus_raw_ns: int, refused: Iterable[Rejected]) -> tuple[ServerReport, ...]:
    """Given what the sources say and who was refused, return one report for each address."""
    answered = {(one.server, one.address): ServerReport(
        one.server, one.address, ahead_s(one.truth_minus_raw_ns - wall_minus_raw_ns), one.delay_ns / NS,
        one.bound_ns / NS, one.stratum, RejectReason.DISAGREES.value if one in standing.outliers else "")
        for one in standing.chosen}
    silent = {(one.server, one.address): ServerReport(one.server, one.address, dropped=one.text) for one in refused}
    return tuple((silent | answered).values())


def _why(verdict: Verdict, behind: Interval, standing: Consensus, tolerance_ns: int) -> str:
    agree = "one source" if standing.servers == 1 else f"{standing.agreeing} of {standing.servers} sources agree"
    if verdict is Verdict.BAD:
        return f"{_offset(behind.middle_ns)} ({agree})"
    if verdict is Verdict.UNKNOWN:
        return (f"{_offset(behind.middle_ns)}, but the error bound of {_span(behind.half_ns)} is too large for a "
                f"tolerance of {_span(tolerance_ns)} ({agree})")
    return agree


def _why_unknown(standing: Consensus, wall_minus_raw_ns: int, refused: Iterable[Rejected]) -> str:
    if standing.servers:
        offsets = [f"{one.server} {_offset(one.truth_minus_raw_ns - wall_minus_raw_ns)}" for one in standing.chosen]
        return f"sources disagree: {_listed(offsets)}"
    refusals = [f"{one.server}: {one.text}" for one in refused]
    return f"no valid answer: {_listed(refusals)}" if refusals else "no answer yet"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return "; ".join(texts[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _offset(behind_ns: int) -> str:
    return f"{_span(abs(behind_ns))} {'behind' if behind_ns > 0 else 'ahead'}"


def _span(ns: int) -> str:
    return f"{ns / NS:.3f} s" if ns >= NS // 10 else f"{ns / 1e6:.3f} ms"


# --- Evaluation against this machine's clock

class ClockEvaluator:
    """Given what the inquiry knows. `daemon`: the time daemon's last report; `remedies`: what was done, by event."""

    def __init__(self, inquiry: QueryRounds, clocks: RawWallClocks, surroundings: HostAccess,
                 tolerance_ns: int) -> None:
        self._inquiry, self._clocks, self._surroundings = inquiry, clocks, surroundings
        self._tolerance_ns = tolerance_ns
        self.daemon: DaemonReport | None = None
        self.remedies: dict[str, str] = {}

    def no_source(self) -> ClockCheck:
        return ClockCheck(Verdict.UNKNOWN, checked_at=utc(self._clocks.wall_ns() / NS), reason=NO_SOURCE)

    def find(self, since_ns: int, event_id: str = "", rate: float | None = None) -> ClockCheck:
        """Given the resume, the event, and the rate the clock was seen to move at, return all but the samples."""
        distance_ns, now_ns = wall_minus_raw_ns(self._clocks), self._clocks.raw_ns()
        standing = combine(self._newer(self._inquiry.samples, since_ns), now_ns)
        check = to_clock_check(standing, distance_ns, self._tolerance_ns, self._inquiry.refused.values())
        now = utc((now_ns + distance_ns) / NS)
        reasons = (check.reason, self._slewing(check, standing.behind(distance_ns), rate),
                   self._daemon_words(now, since_ns), self.remedies.get(event_id, ""))
        return replace(check, checked_at=now, reason="; ".join(filter(None, reasons)))

    def has_sample(self, since_ns: int) -> bool:
        """Is there any answer since the resume?"""
        return bool(self._newer(self._inquiry.samples, since_ns))

    def is_decided(self, known: Sequence[TimeSample], since_ns: int, asked: dict[str, int]) -> bool:
        """Given samples and who was asked, can the silent not turn the verdict any more?"""
        return self._ruling(known, since_ns, asked) in (ToleranceResult.INSIDE, ToleranceResult.OUTSIDE)

    def is_open(self, since_ns: int) -> bool:
        """Is only the bound in the way of a verdict?"""
        return self._ruling(self._inquiry.samples, since_ns, None) is ToleranceResult.OPEN

    def may_step(self, since_ns: int) -> Callable[[float], bool]:
        """Given the resume, return the question whether the daemon may step the clock by what it measured."""
        standing = combine(self._newer(self._inquiry.samples, since_ns), self._clocks.raw_ns())
        if standing.truth_minus_raw is None:
            return lambda offset_s: False
        return agrees_with(standing.truth_minus_raw, self._tolerance_ns, self._clocks)

    def wall_at(self, raw_ns: int) -> datetime:
        """Given an instant of the raw clock, return what the wall clock would have shown then, set as it is now."""
        return utc((raw_ns + wall_minus_raw_ns(self._clocks)) / NS)

    def _newer(self, samples: Sequence[TimeSample], since_ns: int) -> list[TimeSample]:
        return [one for one in samples if one.began_raw_ns >= since_ns]

    def _ruling(self, known: Sequence[TimeSample], since_ns: int, asked: dict[str, int]
                | None) -> ToleranceResult | None:
        standing = combine(self._newer(known, since_ns), self._clocks.raw_ns(), asked)
        behind = standing.behind(wall_minus_raw_ns(self._clocks))
        return None if behind is None else compare(behind, self._tolerance_ns)

    def _slewing(self, check: ClockCheck, behind: Interval | None, rate: float | None) -> str:
        if check.verdict is Verdict.GOOD or behind is None:
            return ""
        if not is_slewing(rate):
            kernel = self._surroundings.kernel_clock()
            rate = kernel_rate(kernel.tick_us, USUAL_TICK_US, kernel.frequency_ppm) if kernel else None
        return slewing_text(behind, self._tolerance_ns, rate)

    def _daemon_words(self, now: datetime, since_ns: int) -> str:
        return daemon_text(age_text(self.daemon, now, self.wall_at(since_ns))) if self.daemon else ""
