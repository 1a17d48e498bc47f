"""Doctor's findings about time sources and their distance, and about which pauses are certain to be detected."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tideover.clock.checker import IDLE_SAMPLING_S, NEAR_EVENT_SAMPLING_S
from tideover.clock.rate_limits import SPACING_S
from tideover.clock.types import ClockReport, DaemonReport, Origin, ServerReport
from tideover.findings import Finding, bad, good, remark
from tideover.humanize import length_text, offset_text, round_length_text
from tideover.model import ClockCheck, Verdict
from tideover.pause import PauseWatchSettings
from tideover.settings import Settings
from tideover.timekeeping.gaps import LEAST_WAKE_NS
from tideover.timekeeping.intervals import NS

# --- Time sources

CLOCK_TOPIC = "clock"
SERVERS = "Name time servers that answer under [clock] servers."


def check_clock(report: ClockReport | None) -> list[Finding]:
    """Given what one check found (None: it did not end in time), say what is known of the clock."""
    if report is None:
        return [bad(CLOCK_TOPIC, "the clock check did not end in time", "Run tideover clock to see which server does "
                                                                        "not answer.")]
    daemon = [_daemon(report.daemon)] if report.daemon else []
    if not report.servers:
        return [bad(CLOCK_TOPIC, "no time source can be queried: there is no time server in the configuration "
                                 "or in a "
                           "time daemon's, and no clock of the hypervisor", SERVERS), *daemon]
    return [_verdict(report.check), *_sources(report), *daemon]


def _verdict(check: ClockCheck) -> Finding:
    if check.verdict is Verdict.UNKNOWN or check.offset_s is None or check.error_bound_s is None:
        return bad(CLOCK_TOPIC, f"the clock cannot be checked: {check.reason}",
                   f"{SERVERS} A firewall must allow outgoing UDP port 123.")
    if check.verdict is Verdict.BAD:
        return bad(CLOCK_TOPIC, f"the clock is bad: {check.reason}, ± {length_text(check.error_bound_s)}",
                   "Let a time daemon correct it, or increase [clock] tolerance.")
    return good(CLOCK_TOPIC, f"the clock is good: {offset_text(check.offset_s, check.error_bound_s)} ({check.reason})")


def _sources(report: ClockReport) -> Iterator[Finding]:
    used = [one for one in report.servers if not one.dropped]
    origin = f", from {report.origin}" if report.origin else ""
    if used:
        yield good("time sources", ", ".join(f"{_name(one)} ({length_text(one.delay_s or 0.0)})" for one in used)
                   + f"{origin}; round-trip time in parentheses")
    for one in report.servers:
        if one.dropped:
            yield remark("time sources", f"{_name(one)} is not used: {one.dropped}{'' if used else origin}",
                       "Make it answer, or remove it from the configuration.")


def _name(one: ServerReport) -> str:
    return one.server if one.address in ("", one.server, f"{one.server}:123") else f"{one.server} at {one.address}"


def _daemon(daemon: DaemonReport) -> Finding:
    about = [offset_text(daemon.offset_s)] if daemon.offset_s is not None else []
    if daemon.last_update_age_s is not None:
        about.append(f"last measured {length_text(daemon.last_update_age_s)} ago")
    tail = "".join(f", {one}" for one in about) + (f" ({daemon.note})" if daemon.note else "")
    if daemon.is_synchronised:
        return good("time daemon", f"{daemon.name} reports that it is synchronised{tail} (not used as evidence)")
    if daemon.is_synchronised is None:
        return remark("time daemon", f"{daemon.name} does not report whether it is synchronised{tail}",
                    f"Check that {daemon.name} runs and that its servers answer.")
    return remark("time daemon", f"{daemon.name} reports that it is not synchronised{tail}",
                f"Check that the servers of {daemon.name} answer.")


# --- Guarantees: one sentence for each way in which the machine may pause

DRIFT_PER_S = 50e-6      # of the raw clock between two samples


@dataclass(frozen=True, slots=True)
class GuaranteeSource:
    """One source of outside time as it is asked here: how often, and to what bound its answers compare."""

    name: str
    every_s: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Pauses of at least `shortest_s` are seen within `within_s` of the resume, to ± `bound_s`. None: never."""

    stopped: str             # which clocks stop, in words
    shortest_s: float | None
    within_s: float | None
    bound_s: float | None
    by: str

    @property
    def sentence(self) -> str:
        """What `tideover doctor` prints."""
        if self.shortest_s is None or self.within_s is None or self.bound_s is None:
            return f"{self.stopped}: not detectable on this machine, {self.by}"
        return (f"{self.stopped}: pauses of {round_length_text(self.shortest_s)} or more are detected within "
                f"{round_length_text(self.within_s)}, to ± {round_length_text(self.bound_s)}, by {self.by}")


def guarantees(settings: PauseWatchSettings, outside: Sequence[GuaranteeSource]) -> tuple[Guarantee, ...]:
    """Given the settings and the sources of outside time in use, return what can be promised: while the machine's
    clocks run on, and while they stop with it."""
    wake_s = LEAST_WAKE_NS / NS
    running = Guarantee("pause with running clocks", settings.threshold_s + settings.tick_s, settings.tick_s,
                      settings.tick_s / 2 + wake_s, "the heartbeat")
    if not outside:
        return running, Guarantee("pause with stopped clocks", None, None, None,
                                "because no time server, hardware clock or metadata service is queried")
    finest = min(outside, key=lambda source: (_bound_s(source), source.every_s))
    soonest = min(outside, key=lambda source: (_shortest_s(source, settings), source.every_s))
    return running, Guarantee("pause with stopped clocks", _shortest_s(soonest, settings),
                            2 * soonest.every_s + settings.tick_s, _bound_s(finest),
                            finest.name if finest is soonest else f"{soonest.name} and {finest.name}")


def _bound_s(source: GuaranteeSource) -> float:
    return 2 * source.bound_s + DRIFT_PER_S * source.every_s


def _shortest_s(source: GuaranteeSource, settings: PauseWatchSettings) -> float:
    """What stands out beyond both bounds, and is worth telling."""
    return max(settings.threshold_s, 2 * _bound_s(source))


# --- Checks of the guarantees

DATE_ERROR_S = 1.0                      # a Date header has whole seconds (RFC 9110 §5.6.7)


def check_guarantees(settings: Settings, clock: ClockReport | None,
                     sends_date: bool) -> tuple[list[Finding], list[Guarantee]]:
    """Given the settings, what the time sources answered and whether the metadata service sends a Date, return what can
    be promised, calm and while an event is near."""
    calm = _outside(settings, clock, sends_date, IDLE_SAMPLING_S)
    watch = PauseWatchSettings(settings.pause.tick_s, threshold_s=settings.pause.threshold_s)
    findings = list(guarantees(watch, calm))
    if not calm:
        return [bad("pauses", "a pause that stops all clocks of this machine can neither be detected nor measured "
                              "because no time source answers", "Name time servers under [clock] servers.")], findings
    close = replace(watch, tick_s=min(watch.tick_s, watch.close_tick_s))
    near = guarantees(close, _outside(settings, clock, sends_date, NEAR_EVENT_SAMPLING_S))
    return [], findings + [replace(one, stopped=f"while an event is near, {one.stopped}") for one in near]


def _outside(settings: Settings, clock: ClockReport | None, sends_date: bool, every_s: float) -> list[GuaranteeSource]:
    """What compares: half of each server's round trip, for what it is wrong by itself is the same before and after."""
    answering = [one for one in clock.servers if not one.dropped and one.delay_s is not None] if clock else []
    sources = [GuaranteeSource(one.server, max(every_s, _spacing_s(one)), (one.delay_s or 0.0) / 2)
               for one in answering]
    if sends_date:
        sources.append(GuaranteeSource("the metadata service's Date", settings.source.poll_s, DATE_ERROR_S))
    return sources


def _spacing_s(one: ServerReport) -> float:
    """How often the rate limit lets the agent ask it."""
    spacings: Sequence[float] = [SPACING_S[origin] for origin in Origin if origin.value == one.origin]
    return max(spacings, default=0.0)
