"""One check at once, for a person at a terminal."""
from __future__ import annotations

from dataclasses import replace

from tideover.clock.inquiry import ROUND_S, Inquiry
from tideover.clock.nouns import ClockReport, ClockSettings, Origin, Source
from tideover.clock.readings import Clocks, SystemClocks, wall_minus_raw_ns
from tideover.clock.verdict import as_record, conclude, reports
from tideover.model import NO_SOURCE, ClockCheck, Verdict, utc
from tideover.timekeeping.agreement import NS, stand


def check_now(settings: ClockSettings, clocks: Clocks | None = None, limit_s: float = ROUND_S) -> ClockReport:
    """Given the owner's settings, ask every source once and return what they say. Blocks for `limit_s` at most.

    Raise ValueError if a server is not written as "host", "host:port" or "[v6]:port".
    """
    readings = clocks or SystemClocks()
    sources = tuple(Source(server, Origin.OWNER) for server in settings.servers)
    if not sources:
        return ClockReport(ClockCheck(Verdict.UNKNOWN, checked_at=utc(readings.wall_ns() / NS), reason=NO_SOURCE), ())
    inquiry = Inquiry(readings)
    new = inquiry.ask(sources, limit_s, lambda: False, lambda known, asked: False)
    inquiry.close()
    distance_ns, now_ns = wall_minus_raw_ns(readings), readings.raw_ns()
    standing, refused = stand(new, now_ns), tuple(inquiry.refused.values())
    check = conclude(standing, distance_ns, int(settings.tolerance_s * NS), refused)
    check = replace(check, checked_at=utc((now_ns + distance_ns) / NS), samples=tuple(as_record(one) for one in new))
    return ClockReport(check, reports(standing, distance_ns, refused))
