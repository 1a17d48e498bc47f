"""The NTP packet and what one exchange proves (RFC 5905, RFC 4330): its checks, why it is rejected.

Never sends, never reads a clock.

The packet is ntplib's, as are the texts about it. Ours is what ntplib does not do: the nonce, compared as bytes (a
double loses its low bits); the era that begins in 2036; the checks of an answer; the bound of its error. Times are
integers of nanoseconds since 1970, with the era already unfolded.
"""
from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ntplib import NTP, NTPException, NTPPacket, leap_to_text, mode_to_text, ref_id_to_text, stratum_to_text

from tideover.timekeeping.intervals import NS, TimeSample, drift_ns

PORT = 123                              # the number: "ntp" needs /etc/services
PACKET_BYTES = 48
NONCE_BYTES = 8
_FIRST_BYTE = 0x23                      # leap 0, version 4, mode 3 (client)
_SERVER_MODE = 4

_ERA_S = 1 << 32
_DAY_NS = 86_400 * NS

# A machine whose clock says 1970 still reads the answers of 2040 rightly: no server is older than this program.
BUILT_NS = 1_795_132_800 * NS           # 2026-11-20

MAX_HOLD_NS = 4 * NS                    # T3-T2; chrony's MAX_SERVER_INTERVAL
MAX_ROOT_DISTANCE_NS = 3 * NS // 2      # ntpd's MAXDIST
MAX_DELAY_NS = 3 * NS
MAX_REFERENCE_AGE_NS = _DAY_NS
LEAP_NS = 2 * NS                        # around the leap second no answer means much
UNSYNCHRONISED_STRATUM = 16
LOCAL_PRECISION_NS = 1_000              # one clock read from Python, with room
STAMP_PRECISION_NS = 500                # ntplib keeps times as doubles of seconds since 1900
_SET_FLOOR_NS = 1_000_000               # wall and raw may differ by this and, while a daemon slews, by a tenth


class RejectReason(enum.Enum):
    """Why an answer, or its absence, counts for nothing."""

    NO_ANSWER = "no answer"
    NOT_OURS = "answered, but not to this query"
    UNREACHABLE = "cannot be reached"
    NO_ADDRESS = "no address for its name"
    HELD_BACK = "not queried: too soon after the last query"
    BANNED = "not queried: kiss-o'-death DENY or RSTR"
    MODE = "not a server packet"
    VERSION = "unsupported NTP version"
    KISS = "kiss-o'-death"
    UNSYNCHRONISED = "server not synchronised"
    NO_TIMES = "zero timestamp"
    BACKWARDS = "server timestamps run backwards"
    HELD_LONG = "server processing time too long"
    FAR = "root distance too large"
    NEGATIVE_DELAY = "negative delay"
    SLOW = "round-trip delay too long"
    REFERENCE = "reference timestamp in the future or too old"
    LOOP = "it is synchronised to this machine"
    CLOCK_SET = "this machine's clock was set during the exchange"
    LEAP = "a leap second is under way"
    STALE = "not updated by the host since the pause"
    DISAGREES = "falseticker"


@dataclass(frozen=True, slots=True)
class Rejected:
    """One address whose answer does not count, and why."""

    server: str
    address: str
    fault: RejectReason
    detail: str = ""

    @property
    def text(self) -> str:
        return f"{self.fault.value} ({self.detail})" if self.detail else self.fault.value


@dataclass(frozen=True, slots=True)
class NtpReply:
    """The fields of a server's packet; times in nanoseconds since 1970, 0 when the field was empty."""

    leap: int
    version: int
    mode: int
    stratum: int
    precision: int                      # log2 of seconds
    root_delay_ns: int
    root_dispersion_ns: int
    reference_id: bytes
    reference_ns: int
    received_ns: int                    # T2
    sent_ns: int                        # T3

    @property
    def kiss(self) -> str:
        """The code of a kiss-o'-death, which is an answer of stratum 0 (untrusted bytes: only what can be printed).
        ntplib's texts know clocks, not these codes."""
        code = self.reference_id.rstrip(b"\0").decode("ascii", "replace")
        return "".join(letter if letter.isprintable() else "?" for letter in code) or "?"

    @property
    def root_distance_ns(self) -> int:
        return self.root_delay_ns // 2 + self.root_dispersion_ns + precision_ns(self.precision)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Our side of one exchange, on the raw clock. The wall clock's distance from it shows whether it was set."""

    server: str
    address: str
    sent_raw_ns: int
    received_raw_ns: int
    wall_minus_raw_before_ns: int
    wall_minus_raw_ns: int
    own_ids: frozenset[bytes] = frozenset()      # reference ids that mean this machine

    @property
    def elapsed_ns(self) -> int:
        return self.received_raw_ns - self.sent_raw_ns

    def delay_ns(self, reply: NtpReply) -> int:
        return self.elapsed_ns - (reply.sent_ns - reply.received_ns)

    @property
    def was_clock_set(self) -> bool:
        moved_ns = self.wall_minus_raw_ns - self.wall_minus_raw_before_ns
        return abs(moved_ns) > _SET_FLOOR_NS + self.elapsed_ns // 10


def question(cookie: bytes) -> bytes:
    """Given 8 random bytes, return the packet to send.

    The transmit field carries the cookie and every other field is empty: a forger must guess 64 bits, and our
    clock is private (RFC 4330 §4; draft-ietf-ntp-data-minimization).
    """
    return bytes([_FIRST_BYTE]) + bytes(PACKET_BYTES - 1 - NONCE_BYTES) + cookie


def is_answer_to(data: bytes, cookie: bytes) -> bool:
    """Given a datagram and our cookie, is it the answer to our question, whatever it says?"""
    return len(data) >= PACKET_BYTES and data[24:32] == cookie


def read_reply(data: bytes, near_ns: int) -> NtpReply:
    """Given at least 48 bytes and a time within 68 years of the truth, return the packet's fields."""
    packet = NTPPacket()
    packet.from_data(data)
    return NtpReply(packet.leap, packet.version, packet.mode, packet.stratum, packet.precision,
                    int(packet.root_delay * NS), int(packet.root_dispersion * NS), packet.ref_id.to_bytes(4, "big"),
                    to_unix_ns(packet.ref_timestamp, near_ns), to_unix_ns(packet.recv_timestamp, near_ns),
                    to_unix_ns(packet.tx_timestamp, near_ns))


def to_unix_ns(stamp_s: float, near_ns: int) -> int:
    """Given an NTP timestamp in seconds, return nanoseconds since 1970 in the era nearest to a time; 0 stays 0.

    The 32 bits of seconds wrap on 2036-02-07 06:28:16 UTC; the era is the one within 68 years of `near_ns`
    or of this program's own date, whichever is later.
    """
    if stamp_s == 0:
        return 0
    whole_s = int(stamp_s)
    seconds = whole_s - NTP.NTP_DELTA
    pivot_s = max(near_ns, BUILT_NS) // NS
    seconds += (pivot_s - seconds + _ERA_S // 2) // _ERA_S * _ERA_S
    return int(seconds * NS + round((stamp_s - whole_s) * NS))


def precision_ns(log2_s: int) -> int:
    """Given a precision as the packet writes it, return nanoseconds."""
    return NS << log2_s if log2_s >= 0 else max(1, NS >> -log2_s)


def _is_leap_second_near(reply: NtpReply) -> bool:
    into_day_ns = reply.sent_ns % _DAY_NS
    return reply.leap in (1, 2) and (into_day_ns < LEAP_NS or into_day_ns >= _DAY_NS - LEAP_NS)


def _is_delay_negative(reply: NtpReply, trip: RoundTrip) -> bool:
    return trip.delay_ns(reply) < -(precision_ns(reply.precision) + 2 * STAMP_PRECISION_NS)


def _is_reference_odd(reply: NtpReply) -> bool:
    age_ns = reply.sent_ns - reply.reference_ns
    return reply.reference_ns == 0 or age_ns < 0 or age_ns > MAX_REFERENCE_AGE_NS


# The order is the order of telling: what makes a packet meaningless stands before what makes it a bad one.
CHECKS: tuple[tuple[RejectReason, Callable[[NtpReply, RoundTrip], bool]], ...] = (
    (RejectReason.MODE, lambda reply, trip: reply.mode != _SERVER_MODE),
    (RejectReason.VERSION, lambda reply, trip: reply.version not in (3, 4)),
    (RejectReason.KISS, lambda reply, trip: reply.stratum == 0),
    (RejectReason.UNSYNCHRONISED, lambda reply, trip: reply.leap == 3 or reply.stratum >= UNSYNCHRONISED_STRATUM),
    (RejectReason.NO_TIMES, lambda reply, trip: reply.received_ns == 0 or reply.sent_ns == 0),
    (RejectReason.BACKWARDS, lambda reply, trip: reply.sent_ns < reply.received_ns),
    (RejectReason.HELD_LONG, lambda reply, trip: reply.sent_ns - reply.received_ns > MAX_HOLD_NS),
    (RejectReason.FAR, lambda reply, trip: reply.root_distance_ns > MAX_ROOT_DISTANCE_NS),
    (RejectReason.NEGATIVE_DELAY, lambda reply, trip: _is_delay_negative(reply, trip)),
    (RejectReason.SLOW, lambda reply, trip: trip.delay_ns(reply) > MAX_DELAY_NS),
    (RejectReason.REFERENCE, lambda reply, trip: _is_reference_odd(reply)),
    # Stratum 1 writes the name of its clock there, which only looks like an address.
    (RejectReason.LOOP, lambda reply, trip: reply.stratum > 1 and reply.reference_id in trip.own_ids),
    (RejectReason.LEAP, lambda reply, trip: _is_leap_second_near(reply)),
    (RejectReason.CLOCK_SET, lambda reply, trip: trip.was_clock_set),
)


def validate(reply: NtpReply, trip: RoundTrip) -> TimeSample | Rejected:
    """Given an answer to our own question and our side of the exchange, return the sample or why there is none."""
    for fault, is_faulty in CHECKS:
        if is_faulty(reply, trip):
            return Rejected(trip.server, trip.address, fault, _detail(fault, reply, trip))
    delay_ns = max(0, trip.delay_ns(reply))
    # T2-R1 and T3-R4 measure the truth against the raw clock, once with each leg of the way in it.
    truth_minus_raw_ns = (reply.received_ns - trip.sent_raw_ns + reply.sent_ns - trip.received_raw_ns) // 2
    bound_ns = (delay_ns + 1) // 2 + reply.root_distance_ns + LOCAL_PRECISION_NS + STAMP_PRECISION_NS
    bound_ns += drift_ns(trip.elapsed_ns)
    return TimeSample(trip.server, trip.address, truth_minus_raw_ns, trip.wall_minus_raw_ns, delay_ns,
                  bound_ns, trip.sent_raw_ns, trip.received_raw_ns, reply.stratum)


def _detail(fault: RejectReason, reply: NtpReply, trip: RoundTrip) -> str:
    match fault:
        case RejectReason.MODE:
            return str(mode_to_text(reply.mode))
        case RejectReason.VERSION:
            return f"version {reply.version}"
        case RejectReason.KISS:
            return reply.kiss
        case RejectReason.UNSYNCHRONISED:
            return f"{_stratum_text(reply.stratum)}, {leap_to_text(reply.leap)}"
        case RejectReason.FAR:
            return f"{reply.root_distance_ns / NS:.3g} s"
        case RejectReason.SLOW:
            return f"{trip.delay_ns(reply) / NS:.3g} s"
        case RejectReason.LOOP:
            return str(ref_id_to_text(int.from_bytes(reply.reference_id, "big")))
        case RejectReason.LEAP:
            return str(leap_to_text(reply.leap))
        case _:
            return ""


def _stratum_text(stratum: int) -> str:
    """Not for 0, which is a kiss-o'-death: ntplib's table fails on it."""
    try:
        return str(stratum_to_text(stratum))
    except NTPException:        # a reserved number
        return f"stratum {stratum}"


def split_server(text: str) -> tuple[str, int]:
    """Given "host", "host:port" or "[v6]:port", return host and port. Raise ValueError if it is none of these."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: expected [address]:port")
        port = rest[1:] if rest else str(PORT)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = str(PORT)
    if not host or host != host.strip() or any(letter.isspace() for letter in host):
        raise ValueError(f"{text!r}: expected host, host:port or [address]:port")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return host, int(port)
