"""A clock watched on after its verdict, in simulated time; and how long a slewing one still needs."""
from __future__ import annotations

from dataclasses import dataclass

import pytest

from clock_played import SimulatedClocks, owner, until, workers
from tideover.clock.convergence import CONVERGED, FOLLOWING, STUCK, ClockInstant, ConvergenceMonitor
from tideover.clock.verdict import slewing_text
from tideover.clock.worker import pause_before, pause_while_following
from tideover.model import ClockCheck, ClockSample, Verdict, utc
from tideover.timekeeping.intervals import NS, Interval, kernel_rate, measured_rate, seconds_until_good
from time_faults import TimeServer

SECOND = NS


@dataclass
class Told:
    state: str
    after_s: float
    check: ClockCheck


class Life:
    """One clock over time: behind by so much, slewed at a rate, with a daemon that updates now and then."""

    def __init__(self, behind_s: float, slew: float = 0.0, tolerance_s: float = 0.25) -> None:
        self.clocks, self.slew, self.tolerance_s = SimulatedClocks(behind_s), slew, tolerance_s
        self.since_ns = self.clocks.raw_ns()
        self.following = ConvergenceMonitor("event", self.since_ns, self.check(), self.instant())

    def check(self) -> ClockCheck:
        is_good = abs(self.clocks.behind_s) <= self.tolerance_s
        return ClockCheck(Verdict.GOOD if is_good else Verdict.BAD, -self.clocks.behind_s, 0.001,
                          utc(self.clocks.truth_s), good_after_s=0.01 if is_good else None)

    def instant(self) -> ClockInstant:
        return ClockInstant(self.clocks.raw_ns(), self.clocks.wall_ns() - self.clocks.raw_ns())

    def pass_time(self, seconds: float) -> None:
        self.clocks.pass_time(seconds)
        mended_s = min(abs(self.clocks.behind_s), self.slew * seconds)
        self.clocks.behind_s -= mended_s if self.clocks.behind_s > 0 else -mended_s

    def live(self, updates_s: tuple[float, ...] = (), steps_s: dict[int, float] | None = None) -> Told:
        """Follow with the schedule's own pauses until something is reported. `steps_s`: at which look what is stepped."""
        resumed_at = utc(self.clocks.truth_s)
        for number in range(1, 100):
            left_s = (self.following.until_ns - self.clocks.raw_ns()) / NS
            self.pass_time(min(pause_while_following(number, 1.0), left_s))
            self.clocks.behind_s -= (steps_s or {}).get(number, 0.0)
            after_s = (self.clocks.raw_ns() - self.since_ns) / NS
            for update_s in updates_s:
                if update_s <= after_s:
                    self.following.note_update(utc(resumed_at.timestamp() + update_s), resumed_at)
            new = [ClockSample(utc(self.clocks.truth_s), "server", -self.clocks.behind_s, 0.001)]
            check = self.check()
            state = self.following.update(check, new, self.instant())
            if state is not None:
                return Told(state, after_s, self.following.report(check))
        raise AssertionError("nothing was ever told")


def test_a_good_clock_has_converged_after_three_good_answers() -> None:
    told = Life(0.001).live()
    assert (told.state, told.after_s, len(told.check.samples)) == (CONVERGED, 3.0, 2)
    assert told.check.good_after_s == 0.01


def test_a_slewed_clock_has_converged_when_it_is_good_and_runs_evenly_again() -> None:
    """5 s at chrony's 83 300 ppm take 60 s; inside the tolerance it is still being moved, and not reported before."""
    told = Life(5.0, slew=0.0833).live()
    assert told.state == CONVERGED
    assert 60 < told.after_s < 300
    assert told.check.good_after_s is not None and 57 <= told.check.good_after_s <= 64
    assert [one.offset_s for one in told.check.samples] == sorted(one.offset_s for one in told.check.samples)


def test_a_daemon_that_had_to_correct_the_clock_is_given_a_second_measurement() -> None:
    """chrony has stepped half way at its first, 2.3 s off and "Normal"."""
    assert Life(5.0).live(updates_s=(10.0, 200.0), steps_s={2: 5.0}).after_s >= 200
    assert Life(5.0).live(updates_s=(1.0, 2.0), steps_s={2: 5.0}).after_s < 70
    assert Life(5.0).live(updates_s=(), steps_s={2: 5.0}).after_s < 70


def test_a_clock_that_is_not_corrected_is_stuck_after_ten_minutes() -> None:
    told = Life(5.0).live()
    assert (told.state, told.after_s, told.check.verdict) == (STUCK, 600.0, Verdict.BAD)
    assert told.check.good_after_s is None


def test_a_clock_that_is_still_being_corrected_is_not_stuck() -> None:
    """adjtime's 500 ppm: 5 s take 2.8 hours."""
    assert Life(5.0, slew=0.0005).live().state == FOLLOWING
    assert Life(5.0).live(steps_s={3: 2.5}).state == FOLLOWING


def test_a_step_begins_the_counting_again() -> None:
    """Good, good, stepped away and back: three good answers must follow the last step."""
    told = Life(0.0).live(steps_s={2: 0.1, 3: -0.1})
    assert told.state == CONVERGED
    assert len(told.check.samples) >= 5


def test_a_curve_too_long_for_the_record_keeps_its_shape() -> None:
    life = Life(5.0)
    for _ in range(1000):
        life.pass_time(0.1)
        life.following.update(life.check(), [ClockSample(utc(life.clocks.truth_s), "s", -5.0, 0.0)], life.instant())
    samples = life.following.report(life.check()).samples
    assert 100 <= len(samples) <= 240
    assert samples[0].at < samples[-1].at


def test_without_new_answers_nothing_converges() -> None:
    life = Life(0.0)
    for _ in range(10):
        life.pass_time(5.0)
        assert life.following.update(life.check(), [], life.instant()) is None


@pytest.mark.parametrize(("spacing_s", "pauses"), [
    (0.0, [1, 2, 4, 8, 16, 32, 64, 64]), (1.0, [1, 2, 4, 8, 16, 32, 64, 64]), (15.0, [15, 30, 60, 64, 64]),
    (1800.0, [1800, 1800]),
])
def test_following_grows_rarer_and_keeps_to_the_rate_limits(spacing_s: float, pauses: list[float]) -> None:
    asked = [pause_while_following(number, spacing_s) for number in range(1, len(pauses) + 1)]
    assert asked == [pytest.approx(pause) for pause in pauses]


def test_a_check_under_way_asks_after_one_two_and_four_seconds_or_each_second_when_only_time_is_missing() -> None:
    assert [pause_before(number, False) for number in range(1, 7)] == [1, 2, 4, 8, 15, 15]
    assert [pause_before(number, True) for number in (1, 2, 8, 9)] == [1, 1, 1, 15]


def test_the_kernel_tells_how_fast_the_clock_is_moved() -> None:
    """chrony's tick of 10 833 is 83 300 ppm: 12 s for each second of error."""
    rate = kernel_rate(10_833, 10_000, -20.0)
    assert rate == pytest.approx(0.08328)
    behind = Interval(int(4.9 * NS), int(5.0 * NS))
    assert seconds_until_good(behind, NS // 4, rate) == pytest.approx(4.75 / 0.08328)
    assert slewing_text(behind, NS // 4, rate) == "the daemon is slewing; good in about 57 s"
    assert slewing_text(Interval(-behind.high_ns, -behind.low_ns), NS // 4, -0.0005) == (
        "the daemon is slewing; good in about 158 min")


@pytest.mark.parametrize("rate", [0.0, 50e-6, -0.08])
def test_a_clock_that_does_not_move_or_moves_away_has_no_estimate(rate: float) -> None:
    assert slewing_text(Interval(4 * NS, 5 * NS), NS // 4, rate) == ""


def test_a_step_is_no_rate_and_two_readings_at_once_are_none() -> None:
    assert measured_rate(NS, 5 * NS) is None
    assert measured_rate(NS // 10, 1000) is None
    assert measured_rate(NS, 83_000_000) == pytest.approx(0.083)


@pytest.mark.slow
def test_a_live_clock_is_followed_until_it_has_converged_and_reported_once() -> None:
    """The engine calls off what is answered; the clock is watched on all the same, and then no thread is left."""
    with TimeServer() as server, owner(server) as one:
        effect = one.start()
        judged = one.answer()
        one.checker.cancel(effect.key)
        told = one.followed.get(timeout=40)      # asked again after 8 and 16 s
        assert (told.event_id, told.state, told.check.verdict) == ("event", CONVERGED, Verdict.GOOD)
        assert len(judged.check.samples) == 1
        assert len(told.check.samples) == 2
        assert told.check.good_after_s == judged.check.good_after_s
        until(lambda: workers() == [])
        assert one.followed.empty()
