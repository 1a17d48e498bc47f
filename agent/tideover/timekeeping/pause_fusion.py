"""All evidence of one incident to its cause, duration and certainty: the whole truth table, as one function.

Frozen time `F` is how far outside time moved against CLOCK_MONOTONIC_RAW; with the visible gap `V` of the raw clock
the blackout is V + F. The step `S` of the wall clock never adds length: it says whether the clock was put right. The
raw clock is the local side throughout, because a host may step the wall clock between two answers of a server.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from tideover.model import Cause, Quality
from tideover.timekeeping.gaps import STEP_NS, StallVerdict
from tideover.timekeeping.intervals import NS, Interval, drift_ns, majority

# A Date header counts whole seconds and may have been made up to a second before it was sent (servers keep it ready).
DATE_MIDDLE_NS = NS // 2
DATE_BOUND_NS = NS

# How far the wall clock may have been off before a pause, when it was not measured: the default tolerance.
PRIOR_OFFSET_NS = NS // 4
# … and how long a host takes to step it after the resume.
HOST_STEP_DELAY_NS = NS // 10

# Where nothing else decides, what was to be expected does.
DUE = "this machine cannot tell a pause from a stall of this process, and a pause was expected"

# Hyper-V's hardware clock repeats the last word of the host, which freezes with the guest; the host speaks every 5 s
# (kernel source, hv_util.c). That it has not moved means something only after that.
SLOW_TO_NOTICE = {"hyperv": 6 * NS}


@dataclass(frozen=True, slots=True)
class SourceSample:
    """One answer of one source of time: the truth was offset_ns ± bound_ns ahead of the raw clock at raw_ns."""

    raw_ns: int          # when the question left: what was asked after a resume was answered after it
    offset_ns: int
    bound_ns: int

    def interval_at(self, raw_ns: int) -> Interval:
        """Given another instant, return where truth minus raw lies there."""
        bound = self.bound_ns + drift_ns(raw_ns - self.raw_ns)
        return Interval(self.offset_ns - bound, self.offset_ns + bound)


def intersect(older: SourceSample, newer: SourceSample) -> SourceSample | None:
    """Given two samples of one source, return what both say as one, as of the newer; None: they contradict."""
    span = _shared(older.interval_at(newer.raw_ns), newer.interval_at(newer.raw_ns))
    return SourceSample(newer.raw_ns, span.middle_ns, span.half_ns) if _is_possible(span) else None


def compatible_suffix(samples: Sequence[SourceSample]) -> list[SourceSample]:
    """Given one source's samples in order, return those that can be true together with the newest."""
    kept: list[SourceSample] = []
    span = samples[-1].interval_at(samples[-1].raw_ns)
    for sample in reversed(samples):
        narrower = _shared(span, sample.interval_at(samples[-1].raw_ns))
        if _is_possible(narrower):
            span = narrower
            kept.insert(0, sample)
    return kept


def repaired(samples: Sequence[SourceSample]) -> list[SourceSample]:
    """Given one source's samples that no single stop explains, return those worth keeping.

    The newest word bears out older ones: what stands against it was an error. Else it is a second jump, and all that
    the word before it does not bear out is from before the first."""
    borne_out = compatible_suffix(samples)
    return borne_out if len(borne_out) > 1 else [*compatible_suffix(samples[:-1]), samples[-1]]


def as_one_stop(samples: Sequence[SourceSample]) -> list[SourceSample]:
    """Given one source's samples that show two stops or more, return those from before the first and from after
    the last: they show all as one. Where the newest word bears out the oldest, what lies between was an error."""
    borne_out = compatible_suffix(samples)
    if borne_out[0] is samples[0]:
        return borne_out
    fronts = list(accumulate((one.interval_at(samples[-1].raw_ns) for one in samples), _shared))
    front = [sample for sample, span in zip(samples, fronts, strict=True) if _is_possible(span)]
    return [*front, *(one for one in borne_out if one.raw_ns > front[-1].raw_ns)]


def sample_of_date(date: datetime, asked_raw_ns: int, received_raw_ns: int) -> SourceSample:
    """Given the Date of an answer (RFC 9110 §6.6.1, whole seconds) and when it was asked for and had, return it as a
    sample of outside time."""
    middle, half = (asked_raw_ns + received_raw_ns) // 2, (received_raw_ns - asked_raw_ns + 1) // 2
    truth = round(date.timestamp()) * NS + DATE_MIDDLE_NS
    return SourceSample(asked_raw_ns, truth - middle, DATE_BOUND_NS + half)


@dataclass(frozen=True, slots=True)
class Frozen:
    """How long the raw clock stopped by one source, and between which of its answers it did."""

    length: Interval
    before_ns: int           # raw time of the last answer that is surely from before
    after_ns: int            # … of the first one that is surely from after
    newest_ns: int
    answers_after: int       # surely from after

    @property
    def is_proven(self) -> bool:
        return self.length.low_ns > 0


def frozen_by(samples: Sequence[SourceSample], since_ns: int | None = None) -> Frozen | None:
    """Given one source's samples in order, return by how much outside time moved against the raw clock, at most once.

    Samples that cannot all be true show it by themselves: the length is then all that any split which makes both
    sides possible allows. Else `since_ns` splits them. None: nothing to compare, or no single stop explains them."""
    if not samples:
        return None
    spans = [one.interval_at(samples[-1].raw_ns) for one in samples]
    fronts = list(accumulate(spans, _shared))
    backs = list(accumulate(reversed(spans), _shared))[::-1]
    if _is_possible(fronts[-1]):
        splits = [at for at, one in enumerate(samples) if since_ns is not None and one.raw_ns >= since_ns][:1]
    else:
        splits = [at for at in range(1, len(samples)) if _is_possible(fronts[at - 1]) and _is_possible(backs[at])]
    found = [Interval(backs[at].low_ns - fronts[at - 1].high_ns, backs[at].high_ns - fronts[at - 1].low_ns)
             for at in splits if at > 0]
    if not found:
        return None
    length = Interval(min(one.low_ns for one in found), max(one.high_ns for one in found))
    return Frozen(length, samples[splits[0] - 1].raw_ns, samples[splits[-1]].raw_ns, samples[-1].raw_ns,
                  len(samples) - splits[-1])


def _shared(one: Interval, other: Interval) -> Interval:
    """What two intervals share; one that ends before it begins when that is nothing, and stays so."""
    return Interval(max(one.low_ns, other.low_ns), min(one.high_ns, other.high_ns))


def _is_possible(span: Interval) -> bool:
    return span.low_ns <= span.high_ns


def may_vote(source: str, frozen: Frozen) -> bool:
    """Given what a source says, return whether it can know: one that learns of a resume late has no say until then."""
    late = next((delay for name, delay in SLOW_TO_NOTICE.items() if name in source), 0)
    return frozen.is_proven or frozen.newest_ns - frozen.after_ns >= late


def agreed(sources: Sequence[Interval]) -> Interval | None:
    """Given the frozen time by each source, return what more than half say; None: no source, or no majority.

    A stop cannot be negative: a source that went back was set itself, and has no say."""
    possible = [one for one in sources if one.high_ns >= 0]
    return majority(possible, len(possible)) if possible else None


@dataclass(frozen=True, slots=True)
class Incident:
    """Everything known of one incident. `frozen`: by each source with a say, less any suspend."""

    visible: Interval | None = None              # of the gap: [elapsed - period, elapsed]; None: no gap
    visible_slack_ns: int = 0                    # the usual wake latency
    stall: StallVerdict | None = None                  # whether the machine or only the process was paused in the gap
    frozen: tuple[Interval, ...] = ()
    stepped_ns: int = 0
    suspended_ns: int = 0
    suspended_slack_ns: int = 0
    markers: tuple[str, ...] = ()                # that prove a move of this machine, in words
    hints: tuple[str, ...] = ()                  # that go with one, and with much else
    event_open: bool = False                     # an event is near or has started
    period_ns: int = 0                           # of the heartbeat


@dataclass(frozen=True, slots=True)
class FusionResult:
    """What happened. `length_ns` None: something did, and its duration cannot be known."""

    cause: Cause
    length_ns: int | None
    uncertainty_ns: int | None
    quality: Quality
    evidence: tuple[str, ...]


def judge(incident: Incident) -> FusionResult | None:
    """Given an incident, return what it was. None: nothing worth a name."""
    frozen = agreed(incident.frozen)
    signs = (*incident.markers, *incident.hints)
    if incident.suspended_ns >= STEP_NS:
        return _suspended(incident)
    if frozen is not None and frozen.low_ns > 0:
        return _stood_still(incident, frozen, signs)
    if incident.visible is not None and incident.stall is not None:
        return _gap(incident, incident.visible, incident.stall, frozen)
    if abs(incident.stepped_ns) >= STEP_NS:
        return _stepped(incident, frozen, signs)
    if incident.markers:
        return _moved(incident, frozen, signs)
    return None


def _suspended(incident: Incident) -> FusionResult:
    return FusionResult(Cause.SUSPEND, incident.suspended_ns, incident.suspended_slack_ns, Quality.MEASURED,
                   ("the clock that counts suspends moved against the monotonic one by "
                    f"{seconds(incident.suspended_ns)}",))


def _stood_still(incident: Incident, frozen: Interval, signs: tuple[str, ...]) -> FusionResult:
    """Outside time went on without us: only a stop of the machine can do that."""
    length = frozen
    evidence = [f"the time servers moved by {seconds(frozen.middle_ns)} ± {seconds(frozen.half_ns)} against the raw "
                "clock"]
    if incident.visible is not None:
        # A gap without a verdict may be part of the stop, or what a busy host did to the machine after it.
        surely_ns = max(0, incident.visible.low_ns - incident.visible_slack_ns) if incident.stall is not None else 0
        high = incident.visible.high_ns
        length = Interval(surely_ns + frozen.low_ns, high + frozen.high_ns)
        evidence.append(f"and the raw clock itself shows a gap of at most {seconds(high)}")
    evidence.append(_wall_sentence(incident.stepped_ns, frozen))
    quality = Quality.MEASURED if length.half_ns * 2 <= length.middle_ns else Quality.BOUNDED
    return FusionResult(Cause.VM_PAUSE, length.middle_ns, length.half_ns, quality, (*evidence, *signs))


def _wall_sentence(stepped_ns: int, frozen: Interval) -> str:
    if abs(stepped_ns) < STEP_NS:
        return f"the wall clock was left behind by {seconds(frozen.middle_ns)}"
    if abs(stepped_ns - frozen.middle_ns) <= frozen.half_ns + PRIOR_OFFSET_NS:
        return f"the wall clock was corrected since: {step_words(stepped_ns)}"
    return f"clock disturbed: {step_words(stepped_ns)}, which does not match the pause"


def _gap(incident: Incident, visible: Interval, stall: StallVerdict, frozen: Interval | None) -> FusionResult:
    """The raw clock ran on through the stop: its gap is the length, the counters or a marker say whose it was."""
    cause, quality, evidence = stall.cause, stall.quality, (*stall.evidence, *incident.markers, *incident.hints)
    if quality is Quality.INFERRED and (incident.markers or incident.event_open):
        due = () if incident.markers else (DUE, stall.evidence[0])
        cause, evidence = Cause.VM_PAUSE, (*due, *incident.markers, *incident.hints)
    if frozen is not None:
        evidence = (*evidence, f"the time servers agree with the raw clock to {seconds(frozen.half_ns)}")
    return FusionResult(cause, visible.middle_ns, visible.half_ns + incident.visible_slack_ns, quality, evidence)


def _stepped(incident: Incident, frozen: Interval | None, signs: tuple[str, ...]) -> FusionResult:
    stepped, step = incident.stepped_ns, step_words(incident.stepped_ns)
    is_undecided = frozen is None or frozen.low_ns <= stepped <= frozen.high_ns
    if is_undecided and stepped > 0 and (incident.event_open or incident.markers):
        return FusionResult(Cause.VM_PAUSE, stepped, PRIOR_OFFSET_NS + HOST_STEP_DELAY_NS, Quality.INFERRED,
                       (f"{step}, as a host does after a pause, and a pause was expected",
                        "no time server to measure it", *signs))
    outside = ("no time server to detect a pause" if frozen is None or is_undecided
               else f"time servers show no pause longer than {seconds(max(0, frozen.high_ns))}")
    return FusionResult(Cause.CLOCK_STEP, 0, 0, Quality.MEASURED, (step, outside, *signs))


def _moved(incident: Incident, frozen: Interval | None, signs: tuple[str, ...]) -> FusionResult:
    """Moved to another host, and no clock shows for how long."""
    if frozen is None:
        return FusionResult(Cause.VM_PAUSE, None, None, Quality.UNKNOWN, (*signs, "no time server to measure it"))
    most = max(incident.period_ns, frozen.high_ns)
    return FusionResult(Cause.VM_PAUSE, most // 2, most - most // 2, Quality.BOUNDED,
                   (*signs, f"too short to show: less than {seconds(most)}"))


def seconds(length_ns: int) -> str:
    """Given nanoseconds, return them for people."""
    return f"{length_ns / NS:.3f} s"


def step_words(stepped_ns: int) -> str:
    """Given a step of the wall clock, return it in words."""
    return f"the wall clock was set {'forward' if stepped_ns > 0 else 'back'} by {seconds(abs(stepped_ns))}"
