"""From what the sources say to the check as the record knows it: verdict, offset, bound, and the reason in words."""
from __future__ import annotations

from collections.abc import Iterable, Sequence

from tideover.clock.nouns import ServerReport
from tideover.model import ClockCheck, ClockSample, Verdict, utc
from tideover.timekeeping.agreement import NS, Interval, Ruling, Sample, Standing, ahead_s, rule
from tideover.timekeeping.ntp import Fault, Refused

_MOST_TOLD = 4          # servers named in one sentence

_VERDICTS = {Ruling.INSIDE: Verdict.GOOD, Ruling.OUTSIDE: Verdict.BAD, Ruling.OPEN: Verdict.UNKNOWN}


def conclude(standing: Standing, wall_minus_raw_ns: int, tolerance_ns: int, refused: Iterable[Refused]) -> ClockCheck:
    """Given what the sources say and this machine's wall minus raw, return verdict, offset, bound and reason."""
    behind = standing.behind(wall_minus_raw_ns)
    if behind is None:
        return ClockCheck(Verdict.UNKNOWN, reason=_why_unknown(standing, wall_minus_raw_ns, refused))
    verdict = _VERDICTS[rule(behind, tolerance_ns)]
    return ClockCheck(verdict, ahead_s(behind.middle_ns), behind.half_ns / NS,
                      reason=_why(verdict, behind, standing, tolerance_ns), tolerance_s=tolerance_ns / NS)


def as_record(sample: Sample) -> ClockSample:
    """Given a sample, return it as the record keeps it: by this machine's wall clock, positive = ahead."""
    at_ns = sample.ended_raw_ns + sample.wall_minus_raw_ns
    return ClockSample(utc(at_ns / NS), sample.server, ahead_s(sample.behind_ns), sample.delay_ns / NS,
                       sample.bound_ns / NS)


def reports(standing: Standing, wall_minus_raw_ns: int, refused: Iterable[Refused]) -> tuple[ServerReport, ...]:
    """Given what the sources say and who was refused, return one report for each address."""
    heard = {(one.server, one.address): ServerReport(
        one.server, one.address, ahead_s(one.truth_minus_raw_ns - wall_minus_raw_ns), one.delay_ns / NS,
        one.bound_ns / NS, one.stratum, Fault.DISAGREES.value if one in standing.outliers else "")
        for one in standing.chosen}
    silent = {(one.server, one.address): ServerReport(one.server, one.address, dropped=one.text) for one in refused}
    return tuple((silent | heard).values())


def _why(verdict: Verdict, behind: Interval, standing: Standing, tolerance_ns: int) -> str:
    agree = "one source" if standing.servers == 1 else f"{standing.agreeing} of {standing.servers} sources agree"
    if verdict is Verdict.BAD:
        return f"{_offset(behind.middle_ns)} ({agree})"
    if verdict is Verdict.UNKNOWN:
        return (f"{_offset(behind.middle_ns)}, but the error bound of {_span(behind.half_ns)} does not decide "
                f"against a tolerance of {_span(tolerance_ns)} ({agree})")
    return agree


def _why_unknown(standing: Standing, wall_minus_raw_ns: int, refused: Iterable[Refused]) -> str:
    if standing.servers:
        said = [f"{one.server} {_offset(one.truth_minus_raw_ns - wall_minus_raw_ns)}" for one in standing.chosen]
        return f"sources disagree: {_listed(said)}"
    told = [f"{one.server}: {one.text}" for one in refused]
    return f"no valid answer: {_listed(told)}" if told else "no answer yet"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_TOLD
    return "; ".join(texts[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")


def _offset(behind_ns: int) -> str:
    return f"{_span(abs(behind_ns))} {'behind' if behind_ns > 0 else 'ahead'}"


def _span(ns: int) -> str:
    return f"{ns / NS:.3f} s" if ns >= NS // 10 else f"{ns / 1e6:.3f} ms"
