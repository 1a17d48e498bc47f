"""The clock check against real time servers on loopback: one answer a start, good or at the deadline."""
from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import time_faults as faults
from tideover.clock import ClockChecker, ClockSettings, check_now
from tideover.clock.readings import SystemClocks
from tideover.effects import CheckClock
from tideover.model import ClockCheck, Verdict
from tideover.observations import ClockJudged, Observation
from time_faults import TimeServer


class PlayedClocks:
    """This machine's raw clock, and a wall clock that can be set."""

    def __init__(self, behind_s: float = 0.0) -> None:
        self.behind_s = behind_s

    def raw_ns(self) -> int:
        return SystemClocks().raw_ns()

    def wall_ns(self) -> int:
        return time.time_ns() - int(self.behind_s * 1e9)


class Owner:
    """Starts checks and hears the answers."""

    def __init__(self, settings: ClockSettings, clocks: PlayedClocks) -> None:
        self.heard: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.checker = ClockChecker(self.heard.put, settings, clocks)

    def start(self, round_number: int = 1, since_raw_s: float | None = None) -> CheckClock:
        effect = CheckClock("event", round_number, now_raw_s() if since_raw_s is None else since_raw_s)
        self.checker.start(effect)
        return effect

    def answer(self, timeout_s: float = 5.0) -> ClockJudged:
        judged = self.heard.get(timeout=timeout_s)
        assert isinstance(judged, ClockJudged)
        return judged

    def check(self) -> ClockCheck:
        self.start()
        return self.answer().check


def now_raw_s() -> float:
    return SystemClocks().raw_ns() / 1e9


def workers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("tideover-clock")]


@contextlib.contextmanager
def owner(*servers: TimeServer, clocks: PlayedClocks | None = None, tolerance_s: float = 0.25,
          deadline_s: float = 30.0) -> Iterator[Owner]:
    settings = ClockSettings(tuple(one.name for one in servers), tolerance_s, deadline_s)
    one = Owner(settings, clocks or PlayedClocks())
    try:
        yield one
    finally:
        one.checker.close()
        assert workers() == []


def until(happens: object, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_right_clock_is_good_after_one_exchange() -> None:
    with TimeServer() as server, owner(server) as one:
        effect = one.start(7)
        judged = one.answer()
        assert (judged.event_id, judged.round) == (effect.event_id, 7)
        assert judged.check.verdict is Verdict.GOOD
        assert len(server.questions) == 1
        assert judged.check.offset_s is not None and judged.check.error_bound_s is not None
        assert abs(judged.check.offset_s) + judged.check.error_bound_s <= 0.25
        assert judged.check.good_after_s is not None and 0 < judged.check.good_after_s < 5
        assert [sample.server for sample in judged.check.samples] == [server.name]
        assert one.checker.latest() == judged.check


@pytest.mark.parametrize("behind_s", [4.0, -4.0])
def test_a_wrong_clock_is_bad_at_the_deadline_with_the_records_sign(behind_s: float) -> None:
    """NTP counts behind as positive, the record ahead as positive."""
    with TimeServer() as server, owner(server, clocks=PlayedClocks(behind_s), deadline_s=0.1) as one:
        check = one.check()
        assert check.verdict is Verdict.BAD
        assert check.offset_s == pytest.approx(-behind_s, abs=0.1)
        assert check.good_after_s is None
        assert ("behind" if behind_s > 0 else "ahead") in check.reason
        assert check.samples[0].offset_s == pytest.approx(-behind_s, abs=0.1)


def test_a_clock_that_is_set_is_judged_at_once() -> None:
    """Without a further question if need be: what is known of the truth does not change with our wall clock."""
    clocks = PlayedClocks(4.0)
    with TimeServer() as server, owner(server, clocks=clocks) as one:
        one.start()
        until(lambda: (latest := one.checker.latest()) is not None and latest.verdict is Verdict.BAD)
        began = time.monotonic()
        clocks.behind_s = 0.001
        one.checker.clock_was_set()
        assert one.answer().check.verdict is Verdict.GOOD
        assert time.monotonic() - began < 0.9      # the schedule alone would have asked after 1 s


def test_a_server_that_was_wrong_itself_is_asked_again_at_once_when_the_clock_is_set() -> None:
    with TimeServer(ahead_s=4.0) as server, owner(server) as one:
        one.start()
        until(lambda: (latest := one.checker.latest()) is not None and latest.verdict is Verdict.BAD)
        server.ahead_s = 0.0
        one.checker.clock_was_set()
        assert one.answer().check.verdict is Verdict.GOOD


def test_an_exchange_from_before_the_resume_proves_nothing() -> None:
    with TimeServer() as server, owner(server, deadline_s=0.1) as one:
        assert one.check().verdict is Verdict.GOOD
        one.start(since_raw_s=now_raw_s() + 3600)
        check = one.answer().check
        assert (check.verdict, check.samples) == (Verdict.UNKNOWN, ())


def test_a_new_check_does_not_live_on_the_samples_of_the_last_one() -> None:
    with TimeServer() as server, owner(server, deadline_s=0.1) as one:
        assert one.check().verdict is Verdict.GOOD
        server.answer = faults.silent
        check = one.check()
        assert check.verdict is Verdict.UNKNOWN
        assert "no answer" in check.reason


def test_without_a_source_the_answer_is_unknown_at_once() -> None:
    with owner() as one:
        began = time.monotonic()
        check = one.check()
        assert (check.verdict, check.reason) == (Verdict.UNKNOWN, "no source")
        assert time.monotonic() - began < 0.5


def test_one_silent_server_of_four_does_not_delay_the_verdict() -> None:
    with TimeServer() as a, TimeServer() as b, TimeServer() as c, TimeServer(faults.silent) as d:
        with owner(a, b, c, d) as one:
            began = time.monotonic()
            assert one.check().verdict is Verdict.GOOD
            assert time.monotonic() - began < 0.8


def test_sources_that_disagree_are_no_average() -> None:
    with TimeServer() as a, TimeServer(ahead_s=0.4) as b, owner(a, b, deadline_s=0.1) as one:
        check = one.check()
        assert (check.verdict, check.offset_s) == (Verdict.UNKNOWN, None)
        assert "disagree" in check.reason


def test_a_bound_too_wide_for_the_tolerance_is_unknown_and_says_so() -> None:
    with TimeServer(faults.changed(root_dispersion_s=0.3)) as server, owner(server, deadline_s=0.1) as one:
        check = one.check()
        assert check.verdict is Verdict.UNKNOWN
        assert "bound" in check.reason
        assert check.error_bound_s is not None and check.error_bound_s > 0.3


@pytest.mark.slow
def test_a_wide_bound_shrinks_with_a_quicker_answer() -> None:
    """The first answer takes 0.4 s, so its bound of 0.2 s does not decide against 0.1 s; a second later one does."""
    def slow_once(question: faults.Question) -> list[faults.Reply]:
        return [faults.Reply(question.packet().data(), 0.4 if question.number == 0 else 0.0)]
    with TimeServer(slow_once) as server, owner(server, tolerance_s=0.1) as one:
        assert one.check().verdict is Verdict.GOOD
        assert len(server.questions) == 2


@pytest.mark.slow
def test_a_bad_clock_is_asked_about_after_one_and_two_and_four_seconds() -> None:
    with TimeServer() as server, owner(server, clocks=PlayedClocks(4.0), deadline_s=8) as one:
        one.start()
        one.answer(10)
        asked = [question.at_s - server.questions[0].at_s for question in server.questions]
        assert asked == pytest.approx([0, 1, 3, 7], abs=0.3)


def test_a_check_called_off_is_not_answered() -> None:
    with TimeServer(faults.silent) as server, owner(server, deadline_s=0.3) as one:
        effect = one.start()
        one.checker.call_off(effect.key)
        until(lambda: workers() == [])
        assert one.heard.empty()


def test_each_start_has_exactly_one_answer() -> None:
    with TimeServer() as server, owner(server) as one:
        for number in range(20):
            one.start(number)
        assert sorted(one.answer().round for _ in range(20)) == list(range(20))
        until(lambda: workers() == [])
        assert one.heard.empty()


def test_a_check_that_starts_while_another_waits_for_the_network_is_not_held_up() -> None:
    """What was on its way when the machine froze is lost; nobody waits for it."""
    def deaf_once(question: faults.Question) -> list[faults.Reply]:
        return faults.silent(question) if question.number == 0 else faults.honest(question)
    with TimeServer(deaf_once) as server, owner(server) as one:
        one.start(1)
        until(lambda: len(server.questions) == 1)
        began = time.monotonic()
        one.start(2)
        assert {one.answer().round, one.answer().round} == {1, 2}
        assert time.monotonic() - began < 0.8


def test_there_is_no_thread_while_nothing_is_checked() -> None:
    with TimeServer() as server, owner(server) as one:
        assert workers() == []
        one.check()
        until(lambda: workers() == [])
        one.checker.clock_was_set()
        one.checker.call_off("clock:event:1")
        assert workers() == []
        assert one.check().verdict is Verdict.GOOD


def test_closing_ends_a_check_under_way_without_an_answer() -> None:
    with TimeServer(faults.silent) as server, owner(server) as one:
        one.start()
        until(lambda: len(server.questions) == 1)
        began = time.monotonic()
        one.checker.close()
        assert time.monotonic() - began < 0.8
        assert one.heard.empty()


def test_a_name_is_resolved_and_its_silent_addresses_are_told() -> None:
    with TimeServer() as server:
        report = check_now(ClockSettings((f"localhost:{server.port}",)))
        assert report.check.verdict is Verdict.GOOD
        assert {one.server for one in report.servers} == {f"localhost:{server.port}"}


def test_a_name_without_an_address_is_told() -> None:
    report = check_now(ClockSettings(("no-such-host.invalid",)))
    assert report.check.verdict is Verdict.UNKNOWN
    assert "name" in report.servers[0].dropped


def test_a_server_over_ipv6_is_asked() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with TimeServer(host="::1") as server:
            assert check_now(ClockSettings((server.name,))).check.verdict is Verdict.GOOD
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback: {error}")


def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    with TimeServer() as gone:
        name = gone.name
    began = time.monotonic()
    report = check_now(ClockSettings((name,)))
    assert "cannot be reached" in report.servers[0].dropped
    assert time.monotonic() - began < 0.8


def test_the_report_shows_every_server_and_why_it_was_dropped() -> None:
    with TimeServer() as a, TimeServer() as b, TimeServer(ahead_s=9.0) as liar, TimeServer(faults.kiss(b"DENY")) as shy:
        report = check_now(ClockSettings((a.name, b.name, liar.name, shy.name)))
    dropped = {one.server: one.dropped for one in report.servers}
    assert dropped == {a.name: "", b.name: "", liar.name: "contradicts the majority", shy.name: "kiss-o'-death (DENY)"}
    good = next(one for one in report.servers if one.server == a.name)
    assert (good.stratum, good.address) == (2, a.name)
    assert good.delay_s is not None and good.bound_s is not None and good.bound_s > good.delay_s / 2


def test_a_server_that_says_deny_is_left_alone() -> None:
    with TimeServer(faults.kiss(b"DENY")) as server, owner(server, deadline_s=0.1) as one:
        assert "DENY" in one.check().reason
        assert "stay away" in one.check().reason
        assert len(server.questions) == 1


def test_a_server_that_says_rate_is_asked_more_rarely() -> None:
    with TimeServer(faults.kiss(b"RATE")) as server, owner(server, deadline_s=0.1) as one:
        one.check()
        one.check()
        assert len(server.questions) == 1


def test_checking_the_clock_sets_nothing() -> None:
    """The package has no word for setting a clock."""
    from pathlib import Path

    import tideover.clock
    for file in Path(tideover.clock.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert not any(word in text for word in ("clock_settime", "settimeofday", "ADJ_SETOFFSET")), file
