"""The packet and the checks of one exchange: bytes and numbers in, a sample or a reason out."""
from __future__ import annotations

import calendar
from dataclasses import replace

import pytest
from ntplib import NTP

from tideover.timekeeping import ntp_packet
from tideover.timekeeping.intervals import NS, TimeSample
from tideover.timekeeping.ntp_packet import Rejected, RejectReason, RoundTrip
from time_faults import Packet

NOW_S = 1_795_200_000.25
RAW_NS = 5_000 * NS
COOKIE = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def trip(elapsed_ms: float = 2.0, wall_moved_ms: float = 0.0, now_s: float = NOW_S) -> RoundTrip:
    """An exchange of this machine, whose wall clock is right when the server says now_s half-way."""
    elapsed_ns = int(elapsed_ms * 1e6)
    distance_ns = int(now_s * NS) - RAW_NS - elapsed_ns // 2
    return RoundTrip("server", "192.0.2.1:123", RAW_NS, RAW_NS + elapsed_ns, distance_ns - int(wall_moved_ms * 1e6),
                distance_ns, frozenset([b"\x0a\x00\x00\x63"]))


def packet(now_s: float = NOW_S, **fields: object) -> Packet:
    return replace(Packet(COOKIE, now_s, now_s), **fields)  # type: ignore[arg-type]


def outcome(sent: Packet, exchange: RoundTrip | None = None, near_s: float = NOW_S) -> TimeSample | Rejected:
    return ntp_packet.validate(ntp_packet.read_reply(sent.data(), int(near_s * NS)), exchange or trip())


def test_the_question_tells_nothing_but_a_cookie() -> None:
    asked = ntp_packet.question(COOKIE)
    assert (asked[0], asked[1:40], asked[40:], len(asked)) == (0x23, bytes(39), COOKIE, 48)


def test_a_packet_is_read_by_its_fields() -> None:
    """The simulator's own packer is the independent witness of the format."""
    read = ntp_packet.read_reply(packet(leap=1, stratum=3, precision=-18, root_delay_s=0.25, root_dispersion_s=0.125).data(),
                                 int(NOW_S * NS))
    assert (read.leap, read.version, read.mode, read.stratum, read.precision) == (1, 4, 4, 3, -18)
    assert (read.root_delay_ns, read.root_dispersion_ns) == (250_000_000, 125_000_000)
    assert read.received_ns == read.sent_ns == pytest.approx(NOW_S * NS, abs=500)


def test_the_bound_of_a_sample_covers_what_its_doubles_cannot_hold() -> None:
    """ntplib keeps a time as a double: the nearest one is up to 0.24 µs away."""
    for step in range(50):
        truth_s = NOW_S + step * 0.000_000_137
        read = ntp_packet.read_reply(packet(truth_s).data(), int(NOW_S * NS))
        assert abs(read.sent_ns - truth_s * NS) <= ntp_packet.STAMP_PRECISION_NS


def test_a_rejected_answer_is_explained_in_ntps_own_words() -> None:
    told = [outcome(sent).text for sent in (packet(mode=5), packet(stratum=16, leap=0), packet(stratum=200, leap=3),
                                            packet(stratum=2, reference_id=b"\x0a\x00\x00\x63"))]
    assert told == ["not a server packet (broadcast)",
                    "server not synchronised (unsynchronized (16), no warning)",
                    "server not synchronised (stratum 200, unknown (clock unsynchronized))",
                    "it is synchronised to this machine (10.0.0.99)"]


def test_a_good_answer_is_a_sample_with_its_bound() -> None:
    """θ ± (δ/2 + root distance + precision + drift), positive when this machine is behind."""
    sample = outcome(packet(NOW_S + 4.0))
    assert isinstance(sample, TimeSample)
    assert sample.behind_ns == pytest.approx(4 * NS, abs=1000)
    assert sample.delay_ns == 2_000_000
    assert 1_000_000 + 750_000 < sample.bound_ns < 1_000_000 + 750_000 + 20_000
    slow = outcome(packet(NOW_S + 4.0), trip(elapsed_ms=2000))
    assert isinstance(slow, TimeSample)
    assert slow.bound_ns - sample.bound_ns - 999_000_000 > 99_000      # 50 ppm of what the raw clock counted


@pytest.mark.parametrize(("fault", "fields"), [
    (RejectReason.MODE, {"mode": 3}),
    (RejectReason.MODE, {"mode": 5}),
    (RejectReason.VERSION, {"version": 2}),
    (RejectReason.VERSION, {"version": 5}),
    (RejectReason.KISS, {"stratum": 0, "reference_id": b"DENY"}),
    (RejectReason.UNSYNCHRONISED, {"stratum": 16}),
    (RejectReason.UNSYNCHRONISED, {"leap": 3}),
    (RejectReason.NO_TIMES, {"received_s": 0.0}),
    (RejectReason.NO_TIMES, {"sent_s": 0.0}),
    (RejectReason.BACKWARDS, {"received_s": NOW_S + 0.001}),
    (RejectReason.HELD_LONG, {"sent_s": NOW_S + 4.5}),
    (RejectReason.FAR, {"root_dispersion_s": 30.0}),
    (RejectReason.FAR, {"root_delay_s": 4.0}),
    (RejectReason.FAR, {"precision": 4}),
    (RejectReason.FAR, {"precision": 127}),
    (RejectReason.NEGATIVE_DELAY, {"received_s": NOW_S - 0.01}),
    (RejectReason.REFERENCE, {"reference_age_s": -1.0}),
    (RejectReason.REFERENCE, {"reference_age_s": 90_000.0}),
    (RejectReason.LOOP, {"reference_id": b"\x0a\x00\x00\x63"}),
])
def test_each_bad_answer_has_its_own_reason(fault: RejectReason, fields: dict[str, object]) -> None:
    found = outcome(packet(**fields))
    assert isinstance(found, Rejected)
    assert found.fault is fault


def test_an_answer_after_three_seconds_is_too_slow() -> None:
    found = outcome(packet(), trip(elapsed_ms=3001))
    assert isinstance(found, Rejected) and found.fault is RejectReason.SLOW


def test_the_name_of_a_stratum_1_clock_is_no_loop() -> None:
    assert isinstance(outcome(packet(stratum=1, reference_id=b"\x0a\x00\x00\x63")), TimeSample)


def test_a_clock_set_between_question_and_answer_is_noticed() -> None:
    """ntplib makes 1.5 s of a step of 3 s: plausible and wrong."""
    found = outcome(packet(), trip(wall_moved_ms=3000))
    assert isinstance(found, Rejected) and found.fault is RejectReason.CLOCK_SET


def test_a_slewing_daemon_is_no_step() -> None:
    """chrony slews by up to 8.3 %."""
    assert isinstance(outcome(packet(), trip(elapsed_ms=500, wall_moved_ms=41)), TimeSample)


@pytest.mark.parametrize(("data", "answers"), [
    (packet().data(), True),
    (packet(origin=bytes(8)).data(), False),
    (packet(origin=b"\x01\x02\x03\x04\x05\x06\x07\x09").data(), False),
    (packet(length=40).data(), False),
    (packet(length=47).data(), False),
    (packet().data() + bytes(20), True),
    (b"", False),
])
def test_only_a_whole_packet_with_our_cookie_is_the_answer(data: bytes, answers: bool) -> None:
    assert ntp_packet.is_answer_to(data, COOKIE) is answers


def test_the_era_that_begins_in_2036_is_read_rightly() -> None:
    """2036-02-07 06:28:16 UTC is second 0 of era 1; the machine may be on either side of it, or in 1970."""
    rollover_s = calendar.timegm((2036, 2, 7, 6, 28, 16))
    for truth_s in (rollover_s - 1.0, float(rollover_s) + 0.5, rollover_s + 86_400.0):
        for local_s in (truth_s, truth_s - 5, truth_s + 5, NOW_S):
            sample = outcome(packet(truth_s), trip(now_s=local_s), near_s=local_s)
            assert isinstance(sample, TimeSample)
            assert sample.behind_ns / NS == pytest.approx(truth_s - local_s, abs=1e-5)
    assert ntp_packet.to_unix_ns(2_300_000_000 + NTP.NTP_DELTA - 2**32, 0) == 2_300_000_000 * NS      # a machine that woke in 1970
    assert ntp_packet.to_unix_ns(NOW_S + NTP.NTP_DELTA, 0) == pytest.approx(NOW_S * NS, abs=500)


def test_an_exchange_across_the_rollover_itself_is_ordinary() -> None:
    """Asked in era 0 and answered in era 1: 2036-02-08 must be a day like any other."""
    rollover_s = float(calendar.timegm((2036, 2, 7, 6, 28, 16)))
    sent = packet(received_s=rollover_s - 0.001, sent_s=rollover_s + 0.001)
    sample = outcome(sent, trip(elapsed_ms=4, now_s=rollover_s), near_s=rollover_s)
    assert isinstance(sample, TimeSample)
    assert (abs(sample.behind_ns) < 10_000, abs(sample.delay_ns - 2_000_000) < 10_000) == (True, True)


def test_no_server_is_believed_in_a_leap_second() -> None:
    midnight_s = float(calendar.timegm((2028, 7, 1, 0, 0, 0)))
    for after_s, leap, refused in ((-1.5, 1, True), (0.5, 1, True), (-0.5, 2, True), (-60, 1, False), (-0.5, 0, False)):
        truth_s = midnight_s + after_s
        found = outcome(packet(truth_s, leap=leap), trip(now_s=truth_s), near_s=truth_s)
        assert (isinstance(found, Rejected) and found.fault is RejectReason.LEAP) is refused


@pytest.mark.parametrize(("text", "host", "port"), [
    ("time.example.org", "time.example.org", 123), ("time.example.org:1123", "time.example.org", 1123),
    ("192.0.2.7:9", "192.0.2.7", 9), ("[fd00::1]:5123", "fd00::1", 5123), ("[fd00::1]", "fd00::1", 123),
    ("fd00::1", "fd00::1", 123),
])
def test_a_server_is_a_host_with_or_without_a_port(text: str, host: str, port: int) -> None:
    assert ntp_packet.split_server(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":123", "host:", "host:ntp", "host:0", "host:70000", "[fd00::1", "[fd00::1]x",
                                  "a b", " host", "host:-1", "host:١٢٣"])
def test_what_is_no_server_is_refused_as_that(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|port"):
        ntp_packet.split_server(text)
