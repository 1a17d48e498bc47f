"""How durations and timestamps are shown, on a terminal and on a page alike: to the digit that is known, and no zone guessed."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tideover.humanize import (
    Times,
    bounded_text,
    countdown_text,
    distance_text,
    length_text,
    moment_text,
    offset_text,
    round_length_text,
    zone_text,
)

NOW = datetime(2026, 11, 20, 10, 3, tzinfo=UTC)
CET = timezone(timedelta(hours=1), "CET")


# --- lengths ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("seconds", "words"), [
    (None, "not known"), (0, "0 ms"), (0.0, "0 ms"), (-0.0000001, "0 ms"), (-0.00001, "-0.01 ms"), (0.000123, "0.12 ms"),
    (0.0004, "0.4 ms"), (0.8314, "831 ms"), (0.9996, "1 s"), (4.1844, "4.184 s"), (5.0031, "5.003 s"), (-4, "-4 s"),
    (-0.25, "-250 ms"), (59.9994, "59.999 s"), (59.9996, "1 min"), (60, "1 min"), (90, "1 min 30 s"),
    (75.3, "1 min 15.3 s"), (599.9996, "10 min"), (605, "10 min 5 s"), (871.2, "14 min 31 s"), (3599.6, "1 h"),
    (3600, "1 h"), (7199, "1 h 59 min"), (11520, "3 h 12 min"), (93784, "26 h 3 min"), (172799.6, "2 d"),
    (187200, "2 d 4 h"), (604800, "7 d")])
def test_a_length_is_reported_in_the_units_that_fit_and_keeps_what_was_measured(seconds, words):
    """A pause of 75.3 s is neither "1 min" nor "1 min 15 s"."""
    assert length_text(seconds) == words


def test_a_length_of_which_only_the_bound_is_known_is_shown_as_that():
    assert bounded_text(3.927, 3.927) == "at most 7.854 s"
    assert bounded_text(4.184, 0.031) == "4.184 s ± 31 ms"
    assert bounded_text(4.184, None) == "4.184 s"
    assert bounded_text(None, None) == bounded_text(None, 0.1) == "not known"


@pytest.mark.parametrize(("length_s", "doubt_s", "words"), [
    (871.2, 0.031, "14 min 31.2 s ± 31 ms"), (871.2, 2.0, "14 min 31 s ± 2 s"), (11525.25, 0.05, "3 h 12 min 5.25 s ± 50 ms"),
    (11525.25, 90.0, "3 h 12 min ± 1 min 30 s"), (187265.0, 5.0, "2 d 4 h 1 min 5 s ± 5 s")])
def test_a_long_pause_is_shown_as_finely_as_it_was_measured(length_s, doubt_s, words):
    """14 min 31 s ± 31 ms would be false where 14 min 31.2 s was measured."""
    assert bounded_text(length_s, doubt_s) == words


def test_a_sentence_has_two_decimals_and_no_more():
    assert [round_length_text(seconds) for seconds in (None, 0.0314, 4.1844, 75.34, 871.2)] == [
        "not known", "31 ms", "4.18 s", "1 min 15 s", "14 min 31 s"]
    assert bounded_text(4.1844, 0.0311, rounded=True) == "4.18 s ± 31 ms"
    assert bounded_text(75.3, 0.0311, rounded=True) == "1 min 15.3 s ± 31 ms", "no coarser than its bound"
    assert bounded_text(3.927, 3.927, rounded=True) == "at most 7.85 s"


def test_an_offset_says_in_words_which_way():
    """A sign alone is read both ways: NTP counts behind as positive."""
    assert offset_text(-3.0) == "3 s behind" and offset_text(0.000123, 0.004) == "0.12 ms ahead ± 4 ms"
    assert offset_text(0.0) == "no offset" and offset_text(None) == offset_text(None, 0.1) == "not known"


@pytest.mark.parametrize(("seconds", "words"), [
    (0.0, "now"), (0.9, "now"), (-0.5, "now"), (3.2, "3 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7199, "119 min ago"),
    (7200, "2 h ago"), (172800, "2 d ago"), (-41, "in 41 s"), (-900, "in 15 min")])
def test_a_distance_is_reported_in_one_unit_and_never_rounded_up(seconds, words):
    assert distance_text(seconds) == words


def test_a_countdown_is_no_finer_than_it_can_be_read():
    assert [countdown_text(seconds) for seconds in (3.21, 60, 899.4, 7261, None)] == [
        "3.2 s", "1 min 0 s", "14 min 59 s", "2 h 1 min", "not known"]


# --- moments ------------------------------------------------------------------------------------------------------

def test_a_moment_of_a_record_is_reported_in_local_time_and_how_long_ago():
    times = Times(NOW, zone=CET)
    assert times.moment("2026-11-20T10:00:00.000Z") == "2026-11-20 11:00:00 CET (3 min ago)"
    assert times.local("2026-11-20T10:17:00.000Z") == times.local(NOW + timedelta(minutes=14)) == "2026-11-20 11:17:00 CET"
    assert (times.moment(None), times.local(None), times.ago(None)) == ("-", "-", "-")
    assert times.this_moment() == "2026-11-20 11:03:00 CET"


def test_exact_moments_are_those_of_the_record():
    times = Times(NOW, utc=True)
    assert times.moment("2026-11-20T10:00:00.123Z") == times.local("2026-11-20T10:00:00.123Z") == "2026-11-20T10:00:00.123Z"
    assert times.local("2026-11-20T10:00:00Z") == "2026-11-20T10:00:00Z", "not a digit more than was written down"
    assert times.this_moment() == "2026-11-20T10:03:00.000Z" and times.moment(None) == "-"
    assert times.clock_times([datetime.fromisoformat("2026-11-20T10:00:00.123Z")]) == ("TIME", ["2026-11-20T10:00:00.123Z"])


def test_a_story_of_one_day_shows_the_time_of_day_and_one_over_two_days_shows_the_days():
    times = Times(NOW, zone=CET)
    assert times.clock_times([datetime.fromisoformat("2026-11-20T10:00:00.123Z"), datetime.fromisoformat("2026-11-20T10:00:01.000Z")]) == (
        "TIME (CET)", ["11:00:00.123", "11:00:01.000"])
    assert times.clock_times([datetime.fromisoformat("2026-11-20T22:59:00.000Z"), datetime.fromisoformat("2026-11-20T23:01:00.000Z")]) == (
        "TIME", ["2026-11-20 23:59:00 CET", "2026-11-21 00:01:00 CET"])


def test_utc_stands_beside_local_time_with_its_day_where_that_is_another():
    times, late = Times(NOW, zone=CET), datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    assert times.full(NOW) == "2026-11-20 11:03:00 CET (UTC+01:00); 10:03:00 UTC"
    assert times.full(late) == "2026-11-21 00:30:00 CET (UTC+01:00); 2026-11-20 23:30:00 UTC"
    assert times.brief(NOW, NOW) == "11:03:00 CET; 10:03:00 UTC"
    assert times.brief(late, NOW) == "2026-11-21 00:30:00 CET; 23:30:00 UTC"
    assert (times.clock(late), times.utc_clock(late), times.is_utc(late)) == ("00:30:00.000", "23:30:00.000", False)


def test_where_local_time_is_utc_it_is_shown_once():
    for times in (Times(NOW, utc=True), Times(NOW, zone=UTC), Times(NOW, utc=True, zone=CET)):
        assert times.full(NOW) == "2026-11-20 10:03:00 UTC" and times.brief(NOW, NOW) == "10:03:00 UTC"
        assert times.zone_and_distance(NOW) == "UTC" and times.is_utc(NOW)


@pytest.mark.parametrize(("hours", "name", "short", "whole"), [
    (1, "CET", "CET", "CET (UTC+01:00)"), (0, "GMT", "GMT", "GMT (UTC+00:00)"), (0, "UTC", "UTC", "UTC"),
    (1, "W. Europe Standard Time", "UTC+01:00", "UTC+01:00"), (1, "Romance", "UTC+01:00", "UTC+01:00"),
    (-3, "-03", "UTC-03:00", "UTC-03:00"),
    (5.75, "+0545", "UTC+05:45", "UTC+05:45")])
def test_a_zone_without_a_short_name_is_reported_by_its_distance_from_utc(hours, name, short, whole):
    """Windows has only long names; some zones are called by a number; and a name alone can mean several zones."""
    zone = timezone(timedelta(hours=hours), name)
    assert zone_text(NOW.astimezone(zone)) == short and Times(NOW, zone=zone).zone_and_distance(NOW) == whole
    assert moment_text(NOW.astimezone(zone)).endswith(f"00 {short}")


def test_the_last_day_there_is_can_be_shown_where_it_is_over_already():
    """A NotBefore of the year 9999 is shown as it was given, not refused."""
    ahead, behind = timezone(timedelta(hours=13)), timezone(timedelta(hours=-5))
    last, first = datetime(9999, 12, 31, 23, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)
    assert Times(NOW, zone=ahead).local(last) == "9999-12-31 23:59:00 UTC"
    assert Times(NOW, zone=behind).local(first).endswith("-01-01 00:00:00 UTC")
