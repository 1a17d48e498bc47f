"""What several sources say together. Positive = this machine is behind."""
from __future__ import annotations

import random

import pytest

from tideover.timekeeping.intervals import NS, Interval, TimeSample, ToleranceResult, combine, compare, majority

MS = 1_000_000


def span(low_ms: float, high_ms: float) -> Interval:
    return Interval(int(low_ms * MS), int(high_ms * MS))


def sample(server: str, truth_ms: float, bound_ms: float = 1.0, address: str = "", at_s: float = 100.0) -> TimeSample:
    raw_ns = int(at_s * NS)
    return TimeSample(server, address or server, int(truth_ms * MS), 0, MS, int(bound_ms * MS), raw_ns, raw_ns, 2)


@pytest.mark.parametrize(("spans", "common"), [
    ([span(1, 3)], span(1, 3)),
    ([span(1, 3), span(2, 5)], span(2, 3)),
    ([span(1, 3), span(3, 5)], span(3, 3)),
    ([span(1, 3), span(4, 5)], None),
    ([span(0, 2), span(1, 3), span(100, 101)], span(1, 2)),
    ([span(0, 2), span(50, 51), span(100, 101)], None),
    ([span(0, 2), span(0, 2), span(100, 101), span(100, 101)], None),
    ([span(0, 4), span(1, 5), span(2, 6), span(100, 101)], span(2, 4)),
    # One liar cannot draw the answer to its side of what two honest ones leave open.
    ([span(-1, 1), span(-1, 1), span(0.9, 3)], span(-1, 1)),
    ([], None),
])
def test_the_answer_is_what_more_than_half_can_share(spans: list[Interval], common: Interval | None) -> None:
    assert majority(spans, len(spans)) == common


def test_the_truth_is_inside_whenever_most_are_right() -> None:
    """Random sources, a minority of them anywhere: the law of the bound."""
    seed = 20_261_120
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(2_000):
        count = dice.randint(1, 9)
        liars = dice.randint(0, (count - 1) // 2)
        spans = [Interval(-dice.randint(0, 1000), dice.randint(0, 1000)) for _ in range(count - liars)]
        lows = [dice.randint(-3000, 3000) for _ in range(liars)]
        spans += [Interval(low, low + dice.randint(0, 2000)) for low in lows]
        common = majority(spans, count)
        assert common is not None
        assert common.low_ns <= 0 <= common.high_ns


@pytest.mark.parametrize(("behind", "ruling"), [
    (span(-250, 250), ToleranceResult.INSIDE), (span(200, 250), ToleranceResult.INSIDE), (span(200, 250.001), ToleranceResult.OPEN),
    (span(250, 251), ToleranceResult.OPEN), (span(250.001, 251), ToleranceResult.OUTSIDE), (span(-400, -251), ToleranceResult.OUTSIDE),
    (span(-400, 400), ToleranceResult.OPEN),
])
def test_the_bound_belongs_to_the_verdict(behind: Interval, ruling: ToleranceResult) -> None:
    assert compare(behind, 250 * MS) is ruling


def test_of_one_address_the_surest_sample_counts() -> None:
    seen = [sample("a", 3, 9), sample("a", 1, 1), sample("a", 2, 5)]
    assert combine(seen, 100 * NS).chosen == (seen[1],)


def test_a_sample_loses_its_worth_with_age() -> None:
    """50 ppm: after 100 s the old 1 ms has become 6 ms."""
    seen = [sample("a", 1, 1, at_s=100), sample("a", 2, 5, at_s=200)]
    assert combine(seen, 200 * NS).chosen == (seen[1],)
    assert combine(seen, 200 * NS).truth_minus_raw == Interval(2 * MS - 5 * MS - 1, 2 * MS + 5 * MS + 1)


def test_a_source_that_jumped_is_taken_at_its_newest_word() -> None:
    """Either it was set, or the raw clock stopped meanwhile: its earlier samples are void."""
    seen = [sample("a", 0, 1, at_s=100), sample("a", 3000, 2, at_s=101)]
    assert combine(seen, 101 * NS).chosen == (seen[1],)


def test_a_server_with_many_addresses_is_one_voice() -> None:
    seen = [sample("many", 5000, address=str(n)) for n in range(5)] + [sample("a", 0), sample("b", 0)]
    standing = combine(seen, 100 * NS)
    assert standing.truth_minus_raw is not None
    assert abs(standing.truth_minus_raw.middle_ns) < MS
    assert {one.server for one in standing.outliers} == {"many"}


def test_a_server_whose_addresses_contradict_each_other_has_no_voice() -> None:
    split = [sample("many", 0, address="1"), sample("many", 5000, address="2")]
    standing = combine([*split, sample("a", 0), sample("b", 0)], 100 * NS)
    assert (standing.servers, standing.agreeing) == (3, 2)
    assert combine(split, 100 * NS).truth_minus_raw is None


def test_two_that_differ_are_a_disagreement_and_no_average() -> None:
    standing = combine([sample("a", 0), sample("b", 5000)], 100 * NS)
    assert (standing.truth_minus_raw, standing.servers) == (None, 2)


def test_the_silent_may_still_contradict_while_the_round_lasts() -> None:
    """Three of four that agree cannot be outvoted any more; two of four can."""
    asked = dict.fromkeys("abcd", 1)
    two = [sample("a", 0), sample("b", 0)]
    assert combine(two, 100 * NS, asked).truth_minus_raw is None
    assert combine([*two, sample("c", 0)], 100 * NS, asked).truth_minus_raw is not None
    assert combine(two, 100 * NS).truth_minus_raw is not None
