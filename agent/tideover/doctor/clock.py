"""Outside time: which sources there are, how far away each is, what they say, and what the time daemon believes."""
from __future__ import annotations

from collections.abc import Iterator

from tideover.clock import ClockReport, DaemonReport, ServerReport
from tideover.doctor.findings import Finding, bad, good, note
from tideover.model import ClockCheck, Verdict
from tideover.wording import length_text, offset_text

TOPIC = "clock"
SERVERS = "Name time servers that answer under [clock] servers."


def look_at_clock(report: ClockReport | None) -> list[Finding]:
    """Given what one check found (None: it did not end in time), say what is known of the clock."""
    if report is None:
        return [bad(TOPIC, "one check of the clock did not end in time", "See where it waits: tideover clock")]
    daemon = [_daemon(report.daemon)] if report.daemon else []
    if not report.servers:
        return [bad(TOPIC, "nobody outside can be asked for the time: there is no time server in the settings or in a "
                           "time daemon's, and no clock of the hypervisor", SERVERS), *daemon]
    return [_verdict(report.check), *_sources(report), *daemon]


def _verdict(check: ClockCheck) -> Finding:
    if check.verdict is Verdict.UNKNOWN or check.offset_s is None or check.error_bound_s is None:
        return bad(TOPIC, f"the clock cannot be checked: {check.reason}",
                   f"{SERVERS} A firewall has to let UDP port 123 out.")
    if check.verdict is Verdict.BAD:
        return bad(TOPIC, f"the clock is bad: {check.reason}, ± {length_text(check.error_bound_s)}",
                   "Have a time daemon put it right, or widen [clock] tolerance.")
    return good(TOPIC, f"the clock is good: {offset_text(check.offset_s, check.error_bound_s)} ({check.reason})")


def _sources(report: ClockReport) -> Iterator[Finding]:
    heard = [one for one in report.servers if not one.dropped]
    origin = f", from {report.origin}" if report.origin else ""
    if heard:
        yield good("time sources", ", ".join(f"{_name(one)} ({length_text(one.delay_s or 0.0)})" for one in heard)
                   + f"{origin}; in brackets the way there and back")
    for one in report.servers:
        if one.dropped:
            yield note("time sources", f"{_name(one)} does not count: {one.dropped}{'' if heard else origin}",
                       "Have it answer, or leave it out.")


def _name(one: ServerReport) -> str:
    return one.server if one.address in ("", one.server, f"{one.server}:123") else f"{one.server} at {one.address}"


def _daemon(daemon: DaemonReport) -> Finding:
    about = [offset_text(daemon.offset_s)] if daemon.offset_s is not None else []
    if daemon.last_update_age_s is not None:
        about.append(f"last measured {length_text(daemon.last_update_age_s)} ago")
    tail = "".join(f", {one}" for one in about) + (f" ({daemon.note})" if daemon.note else "")
    if daemon.is_synchronised:
        return good("time daemon", f"{daemon.name} believes that it is synchronised{tail}; its word is no proof")
    if daemon.is_synchronised is None:
        return note("time daemon", f"{daemon.name} does not say whether it is synchronised{tail}",
                    f"See whether {daemon.name} runs, and whether its servers answer.")
    return note("time daemon", f"{daemon.name} says that it is not synchronised{tail}",
                f"See whether the servers of {daemon.name} answer.")
