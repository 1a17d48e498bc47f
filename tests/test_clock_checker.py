"""The clock check against real time servers on loopback: one answer a start, good or at the deadline."""
from __future__ import annotations

import socket
import time

import pytest

import tideover.clock.worker  # noqa: F401  # what the first check would import, so that none is slow for it
import time_faults as faults
from clock_played import NOWHERE, PlayedClocks, now_raw_s, owner, pass_time, settings_for, until, workers
from tideover.clock.on_demand import check_now, watch_clock
from tideover.model import Verdict
from time_faults import TimeServer


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
    with TimeServer() as server, owner(server, clocks=PlayedClocks(behind_s)) as one:
        check = one.check_to_the_deadline("one source")
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
        pass_time(one.clocks, 3.0, server)
        one.checker.clock_was_set()
        assert one.answer().check.verdict is Verdict.GOOD


def test_a_check_tells_what_it_was_judged_against_and_each_samples_bound() -> None:
    with TimeServer() as server, owner(server, tolerance_s=0.2) as one:
        check = one.check()
        assert check.tolerance_s == 0.2
        assert check.samples and all(sample.error_bound_s and sample.error_bound_s > sample.delay_s / 2
                                     for sample in check.samples)


def test_an_exchange_from_before_the_resume_proves_nothing() -> None:
    with TimeServer() as server, owner(server) as one:
        assert one.check().verdict is Verdict.GOOD
        pass_time(one.clocks, 3.0, server)
        check = one.check_to_the_deadline("no answer yet", since_raw_s=now_raw_s() + 3600)
        assert (check.verdict, check.samples) == (Verdict.UNKNOWN, ())


@pytest.mark.slow
def test_what_was_heard_between_the_resume_and_the_check_stands_in_its_record() -> None:
    with TimeServer() as server, owner(server) as one:
        resumed_raw_s = now_raw_s()
        one.checker.sample_near_event()
        until(lambda: (latest := one.checker.latest()) is not None and latest.verdict is Verdict.GOOD)
        asked = len(server.questions)
        one.start(since_raw_s=resumed_raw_s)
        samples = one.answer().check.samples
        assert samples and len(samples) >= asked


@pytest.mark.slow
def test_a_new_check_does_not_live_on_the_samples_of_the_last_one() -> None:
    with TimeServer() as server, owner(server) as one:
        assert one.check().verdict is Verdict.GOOD
        server.answer = faults.silent
        assert one.check_to_the_deadline("no answer").verdict is Verdict.UNKNOWN


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
    with TimeServer() as a, TimeServer(ahead_s=0.4) as b, owner(a, b) as one:
        check = one.check_to_the_deadline("disagree")
        assert (check.verdict, check.offset_s) == (Verdict.UNKNOWN, None)
        assert "disagree" in check.reason


def test_a_bound_too_wide_for_the_tolerance_is_unknown_and_says_so() -> None:
    with TimeServer(faults.changed(root_dispersion_s=0.3)) as server, owner(server) as one:
        check = one.check_to_the_deadline("bound")
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
def test_a_bad_clock_is_asked_about_every_two_seconds_at_first() -> None:
    with TimeServer() as server, owner(server, clocks=PlayedClocks(4.0), deadline_s=8) as one:
        one.start()
        one.answer(10)
        asked = [question.at_s - server.questions[0].at_s for question in server.questions]
        assert asked == pytest.approx([0, 2.1, 4.2], abs=0.3)


def test_a_check_called_off_is_not_answered() -> None:
    with TimeServer(faults.silent) as server, owner(server, deadline_s=0.3) as one:
        effect = one.start()
        one.checker.cancel(effect.key)
        until(lambda: workers() == [])
        assert one.heard.empty()


def test_each_start_has_exactly_one_answer() -> None:
    with TimeServer() as server, owner(server) as one:
        resumed_raw_s = now_raw_s()
        for number in range(20):
            one.start(number, resumed_raw_s)
        assert sorted(one.answer().round for _ in range(20)) == list(range(20))
        one.checker.close()
        assert one.heard.empty()


def test_a_check_that_starts_while_another_waits_for_the_network_is_not_held_up() -> None:
    """What was on its way when the machine froze is lost; it is not waited for."""
    def deaf_once(question: faults.Question) -> list[faults.Reply]:
        return faults.silent(question) if question.number == 0 else faults.honest(question)
    with TimeServer(deaf_once) as server, owner(server) as one:
        one.start(1)
        until(lambda: len(server.questions) == 1)
        pass_time(one.clocks, 3.0, server)      # the stop
        began = time.monotonic()
        one.start(2)
        assert {one.answer().round, one.answer().round} == {1, 2}
        assert time.monotonic() - began < 0.8


def test_there_is_no_thread_while_nothing_is_checked() -> None:
    with TimeServer(faults.silent) as server, owner(server) as one:
        assert workers() == []
        one.checker.cancel(one.start().key)
        until(lambda: workers() == [])
        one.checker.clock_was_set()
        one.checker.cancel("clock:event:1")
        assert workers() == []
        server.answer = faults.honest
        pass_time(one.clocks, 3.0, server)      # the cancelled check may have asked already: then its address rests
        assert one.check().verdict is Verdict.GOOD


def test_closing_ends_a_check_under_way_without_an_answer() -> None:
    with TimeServer(faults.silent) as server, owner(server) as one:
        one.start()
        until(lambda: len(server.questions) == 1)
        began = time.monotonic()
        one.checker.close()
        assert time.monotonic() - began < 0.8
        assert one.heard.empty()


def test_a_name_is_resolved_and_its_silent_addresses_are_reported() -> None:
    with TimeServer() as server:
        report = check_now(settings_for(f"localhost:{server.port}"), surroundings=NOWHERE)
        assert report.check.verdict is Verdict.GOOD
        assert {one.server for one in report.servers} == {f"localhost:{server.port}"}


def test_a_name_without_an_address_is_reported() -> None:
    report = check_now(settings_for("no-such-host.invalid"), surroundings=NOWHERE)
    assert report.check.verdict is Verdict.UNKNOWN
    assert "name" in report.servers[0].dropped


def test_a_server_over_ipv6_is_asked() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with TimeServer(host="::1") as server:
            assert check_now(settings_for(server.name), surroundings=NOWHERE).check.verdict is Verdict.GOOD
    except OSError as error:
        pytest.skip(f"no IPv6 on loopback: {error}")


def test_a_port_without_a_listener_is_reported_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.connect(("127.0.0.1", 9))         # it hears no other peer, and no other program gets the port
        for _ in range(20):
            began = time.monotonic()
            report = check_now(settings_for(f"127.0.0.1:{taken.getsockname()[1]}"), surroundings=NOWHERE)
            if "cannot be reached" in report.servers[0].dropped:
                break
            time.sleep(0.1)         # the kernel limits its ICMP messages, those for all programs together
    assert "cannot be reached" in report.servers[0].dropped
    assert time.monotonic() - began < 2.0


def test_the_report_shows_every_server_and_why_it_was_dropped() -> None:
    with TimeServer() as a, TimeServer() as b, TimeServer(ahead_s=9.0) as liar, TimeServer(faults.kiss(b"DENY")) as shy:
        report = check_now(settings_for(a.name, b.name, liar.name, shy.name), surroundings=NOWHERE)
    dropped = {one.server: one.dropped for one in report.servers}
    assert dropped == {a.name: "", b.name: "", liar.name: "falseticker", shy.name: "kiss-o'-death (DENY)"}
    good = next(one for one in report.servers if one.server == a.name)
    assert (good.stratum, good.address) == (2, a.name)
    assert good.delay_s is not None and good.bound_s is not None and good.bound_s > good.delay_s / 2


def test_a_server_that_says_deny_is_left_alone() -> None:
    with TimeServer(faults.kiss(b"DENY")) as server, owner(server, deadline_s=5.0) as one:
        assert one.check_to_the_deadline("DENY").verdict is Verdict.UNKNOWN
        assert one.check_to_the_deadline("not queried: kiss-o'-death").verdict is Verdict.UNKNOWN
        assert len(server.questions) == 1


def test_a_server_that_says_rate_is_asked_more_rarely() -> None:
    with TimeServer(faults.kiss(b"RATE")) as server, owner(server, deadline_s=20.0) as one:
        one.check_to_the_deadline("RATE")
        one.clocks.skipped_s -= 19.0
        one.check_to_the_deadline("RATE")
        assert len(server.questions) == 1


def test_what_was_followed_of_an_earlier_pause_is_reported_before_it_is_dropped() -> None:
    """A further pause begins a new check; the samples since the last verdict are in the record all the same."""
    with TimeServer() as server, owner(server) as one:
        one.check()
        pass_time(one.clocks, 3.0, server)
        one.checker.clock_was_set()
        until(lambda: len(server.questions) == 2)
        until(lambda: one.checker.latest() is not None and one.checker.latest().good_after_s is None)
        pass_time(one.clocks, 3.0, server)
        one.check()
        told = one.followed.get(timeout=5)
        assert (told.state, len(told.check.samples)) == ("following", 1)


def test_between_checks_the_newest_finding_is_that_of_what_was_heard_last() -> None:
    """A clock that was bad at the last event and has been corrected since must not look bad for ever."""
    clocks = PlayedClocks(4.0)
    with TimeServer() as server, owner(server, clocks=clocks) as one:
        one.checker.sample_near_event()
        one.checker.sample_now()
        until(lambda: (latest := one.checker.latest()) is not None and latest.verdict is Verdict.BAD)
        clocks.behind_s, clocks.skipped_s = 2.2, 2.2      # the skip alone put the wall clock ahead of the server
        one.checker.sample_now()
        until(lambda: one.checker.latest().verdict is Verdict.GOOD)
        assert one.heard.empty() and one.followed.empty(), "nobody asked for a check, and none is answered"


def test_a_suspected_stop_is_measured_also_when_the_questions_of_before_have_used_up_the_credit() -> None:
    with TimeServer() as server, owner(server) as one:
        one.checker.sample_near_event()
        until(lambda: len(server.questions) == 1)
        for number in range(2, 7):
            pass_time(one.clocks, 2.2, server)
            one.checker.clock_was_set()
            until(lambda number=number: len(server.questions) == number)
        pass_time(one.clocks, 2.2, server)
        one.checker.clock_was_set()
        time.sleep(0.02)
        assert len(server.questions) == 6
        one.checker.sample_now()
        until(lambda: len(server.questions) == 7)


@pytest.mark.slow
def test_a_suspected_stop_is_measured_as_soon_as_each_server_may_be_asked_again() -> None:
    """Near an event they take turns, here every four seconds: not after a stop."""
    with TimeServer() as a, TimeServer() as b, owner(a, b) as one:
        one.checker.sample_near_event()
        until(lambda: (len(a.questions), len(b.questions)) == (1, 1))
        began = time.monotonic()
        one.checker.sample_now()
        until(lambda: (len(a.questions), len(b.questions)) == (2, 2))
        assert 1.9 < time.monotonic() - began < 3.5


def test_checking_the_clock_sets_nothing() -> None:
    """The package has no word for setting a clock."""
    from pathlib import Path

    import tideover.clock
    for file in Path(tideover.clock.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert not any(word in text for word in ("clock_settime", "settimeofday", "ADJ_SETOFFSET")), file


def test_a_server_that_is_written_like_none_is_reported_and_nothing_breaks() -> None:
    """Settings are validated long before, but another program's configuration may hold anything."""
    report = check_now(settings_for("[::1"), surroundings=NOWHERE)
    assert report.check.verdict is Verdict.UNKNOWN
    assert "expected [address]:port" in report.servers[0].dropped


def test_the_report_names_where_its_sources_came_from() -> None:
    with TimeServer() as server:
        report = check_now(settings_for(server.name), surroundings=NOWHERE)
    assert (report.origin, report.servers[0].origin, report.daemon) == ("the configuration",) * 2 + (None,)


def test_a_server_that_steps_is_taken_at_its_newest_word() -> None:
    """Watching: first right, then 5 s ahead. Neither an average nor the old word with the better bound."""
    with TimeServer(faults.stepping(5.0)) as server:
        clocks = PlayedClocks()
        watching = watch_clock(settings_for(server.name), clocks, interval_s=0.0, surroundings=NOWHERE)
        first = next(watching).check
        pass_time(clocks, 3.0, server)
        second = next(watching).check
        watching.close()
    assert (first.verdict, second.verdict) == (Verdict.GOOD, Verdict.BAD)
    assert second.offset_s == pytest.approx(-5.0, abs=0.1)


def test_watching_keeps_the_rate_limits_from_one_look_to_the_next() -> None:
    """The owner's server: never twice within 2 s; the looks between judge its earlier samples."""
    with TimeServer() as server:
        clocks, looks = PlayedClocks(), []
        watching = watch_clock(settings_for(server.name), clocks, interval_s=0.0, surroundings=NOWHERE)
        for _ in range(12):
            looks.append(next(watching).check.verdict)
            pass_time(clocks, 0.5, server)
        watching.close()
        assert looks == [Verdict.GOOD] * 12
        assert len(server.questions) == 3


def test_four_servers_on_loopback_are_heard_within_a_tenth_of_a_second() -> None:
    with TimeServer() as a, TimeServer() as b, TimeServer() as c, TimeServer() as d, owner(a, b, c, d) as one:
        took_s = []
        for number in range(4):
            began = time.monotonic()
            one.start(number)
            assert one.answer().check.verdict is Verdict.GOOD
            took_s.append(time.monotonic() - began)
            pass_time(one.clocks, 3.0, a, b, c, d)
    print(f"verdict of four servers on loopback: {min(took_s) * 1e3:.1f} ms at best, {max(took_s) * 1e3:.1f} ms at worst")
    assert min(took_s) < 0.1


def test_an_exchange_across_the_rollover_of_2036_is_ordinary() -> None:
    """2036-02-08, and the very second the count begins again: a live exchange with both clocks there."""
    for there_s in (2_085_978_496.0, 2_085_978_495.9999, 2_086_041_600.0):
        ahead_s = there_s - time.time()
        with TimeServer(ahead_s=ahead_s) as server:
            clocks = PlayedClocks(behind_s=-ahead_s + 0.5)
            check = check_now(settings_for(server.name, tolerance_s=1.0), clocks, surroundings=NOWHERE)
        assert (check.check.verdict, round(check.check.offset_s or 0, 1)) == (Verdict.GOOD, -0.5)


def test_in_a_leap_second_no_server_is_believed_and_afterwards_all_is_well() -> None:
    """2028-06-30 23:59:60 would be announced by leap = 1; within 2 s of it a server may show either second."""
    midnight_s = 1_845_936_000.0
    for after_s, verdict in ((-1.0, Verdict.UNKNOWN), (0.5, Verdict.UNKNOWN), (60.0, Verdict.GOOD)):
        ahead_s = midnight_s + after_s - time.time()
        with TimeServer(faults.changed(leap=1), ahead_s=ahead_s) as server:
            check = check_now(settings_for(server.name), PlayedClocks(-ahead_s), surroundings=NOWHERE).check
        assert check.verdict is verdict
        assert ("leap second" in check.reason) is (verdict is Verdict.UNKNOWN)


def test_a_look_while_the_agent_samples_asks_no_server_twice_within_two_seconds() -> None:
    """`tideover recover` wants to know how the clock is; the agent has just asked."""
    with TimeServer() as server, owner(server) as one:
        assert one.checker.look().verdict is Verdict.GOOD
        assert one.checker.look().verdict is Verdict.GOOD
        assert len(server.questions) == 1


@pytest.mark.slow
def test_a_check_on_demand_leaves_two_seconds_between_the_agents_question_and_its_own() -> None:
    """ntpd's limit counts the questions of an address, whichever process asks them."""
    with TimeServer() as server, owner(server) as one:
        one.start()
        assert one.answer().check.verdict is Verdict.GOOD
        asked_s = time.monotonic()
        report = check_now(settings_for(server.name), surroundings=NOWHERE, agent_queries=one.checker.recent_queries)
        assert report.check.verdict is Verdict.GOOD
        assert time.monotonic() - asked_s > 1.5 and len(server.questions) >= 2


@pytest.mark.slow
def test_a_check_on_demand_leaves_out_an_address_that_the_agent_goes_on_asking() -> None:
    with TimeServer() as server:
        report = check_now(settings_for(server.name), surroundings=NOWHERE,
                           agent_queries=lambda announced: {("127.0.0.1", server.port): 2.0})
        assert "its address was queried less than 2 s ago" in report.servers[0].dropped
        assert server.questions == []


def test_a_server_that_a_command_is_about_to_ask_is_left_alone_meanwhile() -> None:
    with TimeServer() as server, owner(server) as one:
        assert one.check().verdict is Verdict.GOOD
        pass_time(one.clocks, 20.0, server)
        assert one.checker.recent_queries([server.name]) == {}
        one.start(round_number=2)
        time.sleep(0.03)
        assert len(server.questions) == 1 and one.heard.empty()
        pass_time(one.clocks, 2.2, server)
        one.checker.clock_was_set()
        assert one.answer().check.verdict is Verdict.GOOD and len(server.questions) == 2


def test_commands_that_announce_their_questions_without_end_delay_a_check_by_two_seconds_and_no_more() -> None:
    with TimeServer() as server, owner(server) as one:
        assert one.check().verdict is Verdict.GOOD
        pass_time(one.clocks, 20.0, server)
        one.checker.recent_queries([server.name])
        one.start(round_number=2)
        for _ in range(21):
            pass_time(one.clocks, 0.1, server)
            one.checker.recent_queries([server.name])
        one.checker.clock_was_set()
        assert one.answer(timeout_s=1.0).check.verdict is Verdict.GOOD


def test_a_server_that_the_agent_has_just_asked_is_not_given_up_to_a_command() -> None:
    """The command waits, and announces itself again when it may ask."""
    with TimeServer() as server, owner(server) as one:
        assert one.check().verdict is Verdict.GOOD
        assert one.checker.recent_queries([server.name])
        pass_time(one.clocks, 2.2, server)
        assert one.checker.recent_queries([]) == {}
        one.start(round_number=2)
        assert one.answer().check.verdict is Verdict.GOOD


def test_an_announcement_of_servers_that_the_agent_does_not_ask_is_no_burden() -> None:
    with TimeServer() as server, owner(server) as one:
        one.checker.recent_queries([f"10.0.0.{number}" for number in range(200)])
        assert one.check().verdict is Verdict.GOOD
