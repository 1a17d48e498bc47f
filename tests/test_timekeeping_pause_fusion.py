"""The truth table of an incident, row by row, and the arithmetic of outside time behind it."""
from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from pause_played import ns
from tideover.model import Cause, Quality
from tideover.timekeeping.gaps import StallVerdict
from tideover.timekeeping.intervals import Interval
from tideover.timekeeping.pause_fusion import (
    Frozen,
    Incident,
    SourceSample,
    agreed,
    frozen_by,
    intersect,
    judge,
    may_vote,
    repaired,
    sample_of_date,
)


def span(low: float, high: float) -> Interval:
    return Interval(ns(low), ns(high))


VM = StallVerdict(Cause.VM_PAUSE, Quality.MEASURED, ("no process ran",))
STALL = StallVerdict(Cause.PROCESS_STALL, Quality.MEASURED, ("others ran",))
UNCLEAR = StallVerdict(Cause.PROCESS_STALL, Quality.INFERRED, ("nothing tells",))
NOTHING, SURE = span(-0.001, 0.001), span(4.999, 5.001)
GAP = span(4.75, 5.0)
MOVED = ("the marker moved",)

ROWS = [
    # what shows, the incident, cause, length_s, uncertainty_s, quality, words of the evidence
    ("gap alone, the machine's", Incident(visible=GAP, stall=VM), Cause.VM_PAUSE, 4.875, 0.125, Quality.MEASURED, ""),
    ("gap alone, ours", Incident(visible=GAP, stall=STALL), Cause.PROCESS_STALL, 4.875, 0.125, Quality.MEASURED, ""),
    ("gap, slow to wake", Incident(visible=GAP, stall=VM, visible_slack_ns=ns(0.02)), Cause.VM_PAUSE, 4.875, 0.145,
     Quality.MEASURED, ""),
    ("gap, undetermined", Incident(visible=GAP, stall=UNCLEAR, frozen=(NOTHING,)), Cause.PROCESS_STALL, 4.875, 0.125,
     Quality.INFERRED, "agree with the raw clock"),
    ("gap, undetermined, but moved", Incident(visible=GAP, stall=UNCLEAR, markers=MOVED), Cause.VM_PAUSE, 4.875, 0.125,
     Quality.INFERRED, "the marker moved"),
    ("gap, undetermined, while a stop is due", Incident(visible=GAP, stall=UNCLEAR, event_open=True), Cause.VM_PAUSE,
     4.875, 0.125, Quality.INFERRED, "a pause was expected"),
    ("gap, ours, while a stop is due", Incident(visible=GAP, stall=STALL, event_open=True), Cause.PROCESS_STALL,
     4.875, 0.125, Quality.MEASURED, ""),
    ("frozen, wall clock left behind", Incident(frozen=(SURE,)), Cause.VM_PAUSE, 5.0, 0.001, Quality.MEASURED,
     "left behind by 5.000 s"),
    ("frozen, put right by the host", Incident(frozen=(SURE,), stepped_ns=ns(5.1)), Cause.VM_PAUSE, 5.0, 0.001,
     Quality.MEASURED, "corrected since"),
    ("frozen, and another step", Incident(frozen=(SURE,), stepped_ns=ns(2.5)), Cause.VM_PAUSE, 5.0, 0.001,
     Quality.MEASURED, "clock disturbed"),
    ("frozen, by the Date header alone", Incident(frozen=(span(0.4, 3.4),)), Cause.VM_PAUSE, 1.9, 1.5,
     Quality.BOUNDED, "the time servers moved"),
    ("clock set, no stop", Incident(frozen=(NOTHING,), stepped_ns=ns(-3)), Cause.CLOCK_STEP, 0.0, 0.0,
     Quality.MEASURED, "set back by 3.000 s"),
    ("clock set, no stop, though one is due", Incident(frozen=(NOTHING,), stepped_ns=ns(3), event_open=True),
     Cause.CLOCK_STEP, 0.0, 0.0, Quality.MEASURED, "no pause longer than 0.001 s"),
    ("clock set, nobody to ask", Incident(stepped_ns=ns(9)), Cause.CLOCK_STEP, 0.0, 0.0, Quality.MEASURED,
     "no time server to detect"),
    ("clock set forward while a stop is due, nobody to ask", Incident(stepped_ns=ns(9), event_open=True),
     Cause.VM_PAUSE, 9.0, 0.35, Quality.INFERRED, "as a host does"),
    ("clock set forward while a stop is due, outside time too coarse",
     Incident(frozen=(span(-2, 2),), stepped_ns=ns(1.2), event_open=True), Cause.VM_PAUSE, 1.2, 0.35,
     Quality.INFERRED, "as a host does"),
    ("clock set back while a stop is due", Incident(stepped_ns=ns(-9), event_open=True), Cause.CLOCK_STEP, 0.0, 0.0,
     Quality.MEASURED, "set back"),
    ("migration, in part accounted for", Incident(frozen=(SURE,), visible=span(0.05, 0.3), markers=MOVED),
     Cause.VM_PAUSE, 5.15, 0.151, Quality.MEASURED, "the marker moved"),
    ("moved, too short to show", Incident(frozen=(NOTHING,), markers=MOVED, period_ns=ns(0.25)), Cause.VM_PAUSE, 0.125,
     0.125, Quality.BOUNDED, "less than 0.250 s"),
    ("moved, coarse outside time", Incident(frozen=(span(-2, 2),), markers=MOVED, period_ns=ns(0.25)),
     Cause.VM_PAUSE, 1.0, 1.0, Quality.BOUNDED, "less than 2.000 s"),
    ("moved, nobody to ask", Incident(markers=MOVED, period_ns=ns(0.25)), Cause.VM_PAUSE, None, None, Quality.UNKNOWN,
     "no time server"),
    ("a gap, slow to wake, and frozen as well", Incident(visible=GAP, stall=VM, visible_slack_ns=ns(0.1),
                                                         frozen=(SURE,)),
     Cause.VM_PAUSE, 9.825, 0.176, Quality.MEASURED, "itself shows a gap"),
    ("clock set, outside time too coarse", Incident(frozen=(span(-2, 2),), stepped_ns=ns(1)), Cause.CLOCK_STEP, 0.0,
     0.0, Quality.MEASURED, "no time server to detect a pause"),
    ("suspended", Incident(suspended_ns=ns(60)), Cause.SUSPEND, 60.0, 0.0, Quality.MEASURED, ""),
    ("suspended, and the wall clock was set", Incident(suspended_ns=ns(60), stepped_ns=ns(2)), Cause.SUSPEND, 60.0, 0.0,
     Quality.MEASURED, ""),
    ("one server of three was set", Incident(frozen=(NOTHING, SURE, NOTHING), stepped_ns=ns(2)), Cause.CLOCK_STEP,
     0.0, 0.0, Quality.MEASURED, ""),
    ("one server of three was set back meanwhile", Incident(frozen=(SURE, span(-8, -7.9), SURE)), Cause.VM_PAUSE,
     5.0, 0.001, Quality.MEASURED, ""),
    ("a gap, and frozen as well", Incident(visible=GAP, stall=STALL, frozen=(SURE,)), Cause.VM_PAUSE, 9.875, 0.126,
     Quality.MEASURED, "itself shows a gap"),
]


@pytest.mark.parametrize(("incident", "cause", "length_s", "uncertainty_s", "quality", "words"),
                         [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_truth_table(incident: Incident, cause: Cause, length_s: float | None, uncertainty_s: float | None,
                         quality: Quality, words: str) -> None:
    finding = judge(incident)
    assert finding is not None
    assert (finding.cause, finding.quality) == (cause, quality)
    assert finding.length_ns == (None if length_s is None else pytest.approx(ns(length_s), abs=2))
    assert finding.uncertainty_ns == (None if uncertainty_s is None else pytest.approx(ns(uncertainty_s), abs=2))
    assert words in " | ".join(finding.evidence)


@pytest.mark.parametrize("incident", [
    Incident(),
    Incident(frozen=(NOTHING,)),
    Incident(frozen=(span(-5, -4),)),                                   # the only source went back
    Incident(frozen=(SURE, NOTHING)),                                   # one against one
    Incident(hints=("eth0 announced itself",)),                         # bonds do that too
    Incident(hints=("eth0 announced itself",), event_open=True),        # so does a hook that takes a link down
    Incident(visible=span(0.05, 0.3), frozen=(NOTHING,)),               # a small delay of the scheduler
], ids=["nothing", "nothing outside", "went back", "one against one", "announced", "announced while due", "small gap"])
def test_what_proves_nothing_is_no_pause(incident: Incident) -> None:
    assert judge(incident) is None


def at(raw_s: float, offset_s: float, bound_s: float = 0.001) -> SourceSample:
    return SourceSample(ns(raw_s), ns(offset_s), ns(bound_s))


def test_a_jump_between_two_answers_is_frozen_time_and_dated_by_them() -> None:
    frozen = frozen_by([at(10, 50), at(11, 50), at(12, 55), at(13, 55)])
    assert frozen is not None and frozen.is_proven
    assert frozen.length.low_ns < ns(5) < frozen.length.high_ns
    assert frozen.length.half_ns < ns(0.003)
    assert (frozen.before_ns, frozen.after_ns, frozen.answers_after) == (ns(11), ns(12), 2)


def test_answers_that_agree_show_nothing_by_themselves_and_a_bound_when_it_is_known_where_to_look() -> None:
    samples = [at(10, 50), at(11, 50.0005), at(12, 50)]
    assert frozen_by(samples) is None
    frozen = frozen_by(samples, ns(11.5))
    assert frozen is not None and not frozen.is_proven
    assert frozen.length.low_ns <= 0 <= frozen.length.high_ns < ns(0.003)
    assert frozen_by(samples, ns(9)) is None and frozen_by(samples, ns(20)) is None and frozen_by([]) is None


def test_many_coarse_answers_make_a_fine_one() -> None:
    """Whole seconds of a Date header, asked at many phases, narrow down to less than half a second on each side."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)

    def dates(first: int, last: int, lost_s: float) -> list[SourceSample]:
        asked = [second + dice.random() for second in range(first, last)]
        return [sample_of_date(datetime.fromtimestamp(int(1000 + raw + 0.01 + lost_s), UTC), ns(raw), ns(raw + 0.02))
                for raw in asked]

    for _ in range(50):
        lost = dice.uniform(2.6, 30)
        frozen = frozen_by([*dates(0, 15, 0), *dates(15, 30, lost)])
        assert frozen is not None
        assert frozen.length.low_ns <= ns(lost) <= frozen.length.high_ns, lost
        assert frozen.length.half_ns < ns(1.6)


def test_the_date_of_an_answer_is_a_second_wide_either_way_around_its_middle() -> None:
    """A Date of 12:00:00 was made at 12:00:00.5 ± 1 s, somewhere between the question and the answer."""
    sample = sample_of_date(datetime.fromtimestamp(5000, UTC), ns(100.0), ns(100.2))
    assert sample == SourceSample(ns(100.0), ns(5000.5 - 100.1), ns(1.1))


def test_the_claimed_frozen_time_holds_the_truth_when_its_place_is_not_known() -> None:
    """Answers of any precision, a raw clock that drifts, one stop: the truth lies inside whatever is claimed."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print("seed", seed)
    found = 0
    for _ in range(500):
        lost, where, drift = dice.uniform(0.01, 12), dice.uniform(1, 29), dice.uniform(-40e-6, 40e-6)
        samples = []
        for second in range(30):
            raw, bound = second + dice.random(), dice.choice((0.001, 0.02, 1.0))
            error = dice.uniform(-bound, bound)
            samples.append(at(raw, 77 + raw * drift + (lost if raw > where else 0) + error, bound))
        frozen = frozen_by(samples)
        if frozen is not None:
            found += 1
            assert frozen.length.low_ns <= ns(lost) <= frozen.length.high_ns, (lost, where)
            assert frozen.before_ns <= ns(where) <= frozen.after_ns
    assert found > 300


def test_one_wrong_answer_among_right_ones_is_forgotten() -> None:
    samples = [at(10, 50), at(11, 50), at(12, 58), at(13, 50)]
    assert frozen_by(samples) is None
    assert repaired(samples) == [samples[0], samples[1], samples[3]]


def test_a_stop_soon_after_a_small_jump_is_still_measured() -> None:
    """A source whose bound was a little too small must not hide the stop that follows."""
    samples = [at(10, 50), at(11, 50.01), at(12, 50.01), at(13, 60.01)]
    assert frozen_by(samples) is None
    frozen = frozen_by(repaired(samples))
    assert frozen is not None and abs(frozen.length.middle_ns - ns(10)) < ns(0.002)


def test_two_answers_folded_into_one_say_the_same_as_both() -> None:
    both = intersect(at(10, 50, 0.5), at(11, 50.6, 0.5))
    assert both is not None and both.raw_ns == ns(11)
    assert both.interval_at(ns(11)).low_ns == pytest.approx(ns(50.1), abs=5)
    assert ns(50.5) <= both.interval_at(ns(11)).high_ns < ns(50.501)
    assert intersect(at(10, 50), at(11, 55)) is None


def test_a_hardware_clock_that_learns_of_a_resume_late_has_no_say_until_then() -> None:
    """Hyper-V's clock froze with the guest: that it shows nothing right after a resume means nothing."""
    early = Frozen(NOTHING, ns(9), ns(10), ns(12), 3)
    late = Frozen(NOTHING, ns(9), ns(10), ns(16), 7)
    moved = Frozen(SURE, ns(9), ns(10), ns(10), 1)
    assert not may_vote("ptp_hyperv", early)
    assert may_vote("ptp_hyperv", late) and may_vote("ptp_hyperv", moved) and may_vote("ntp:a", early)


def test_no_agreement_is_not_an_agreement_on_nothing() -> None:
    assert agreed(()) is None and agreed((span(-3, -2),)) is None and agreed((SURE, NOTHING)) is None
    assert agreed((SURE, span(4, 6))) == SURE
