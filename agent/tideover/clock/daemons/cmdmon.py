"""chrony's monitoring protocol, version 6: bytes in, values out (chrony's candm.h and addressing.h). Sends nothing.

A reply carries the question's sequence number, so a late answer to an earlier question is no answer.
"""
from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

VERSION = 6
N_SOURCES, SOURCE_DATA, TRACKING, SOURCE_NAME = 14, 15, 33, 65
_REPLY_OF = {N_SOURCES: 2, SOURCE_DATA: 3, TRACKING: 5, SOURCE_NAME: 19}
# The daemon answers only a question at least as long as its answer; so it cannot be made to amplify.
_QUESTION_BYTES = {N_SOURCES: 32, SOURCE_DATA: 76, TRACKING: 104, SOURCE_NAME: 284}
_QUESTION = struct.Struct("!BBBBHH4s8x")
_REPLY = struct.Struct("!BBBBHHH6x4s8x")
_ADDRESS = struct.Struct("!16sHxx")
_TRACKING = struct.Struct("!I20sHHIII9I")
_SOURCE = struct.Struct("!20shHHHHHI3I")
_NO_HIGH_SECONDS = 0x7FFFFFFF        # the daemon's time has 32 bits
_NOT_SYNCHRONISED = 3
_REFERENCE_CLOCK = 2


@dataclass(frozen=True, slots=True)
class Address:
    """A source's address as the protocol writes it; `text` is "" while chrony knows no address."""

    packed: bytes
    text: str


@dataclass(frozen=True, slots=True)
class SourceData:
    """One source of chrony's."""

    address: Address
    is_reference_clock: bool


@dataclass(frozen=True, slots=True)
class Tracking:
    """What chrony believes of the clock. correction_s > 0: this machine is behind."""

    is_synchronised: bool
    updated_s: float             # its last measurement, seconds since 1970 by this machine's clock; 0: none yet
    correction_s: float
    root_delay_s: float
    root_dispersion_s: float

    @property
    def bound_s(self) -> float:
        """Half the root delay and the root dispersion, as chrony's documentation adds them up."""
        return self.root_dispersion_s + self.root_delay_s / 2


def question(command: int, sequence: bytes, body: bytes = b"") -> bytes:
    """Given a command, four random bytes and what the command needs, return the packet."""
    return (_QUESTION.pack(VERSION, 1, 0, 0, command, 0, sequence) + body).ljust(_QUESTION_BYTES[command], b"\0")


def body_of(command: int, sequence: bytes, data: bytes) -> bytes | None:
    """Given a datagram, return the answer's body; None if it is no good answer to this question."""
    if len(data) < _REPLY.size:
        return None
    version, kind, _, _, about, reply, status, echo = _REPLY.unpack_from(data)
    is_ours = (version, kind, about, reply, status, echo) == (VERSION, 2, command, _REPLY_OF[command], 0, sequence)
    return data[_REPLY.size:] if is_ours else None


def read_count(body: bytes) -> int:
    """Given the body of N_SOURCES, return how many there are; 0 if it is cut short."""
    return int(struct.unpack_from("!I", body)[0]) if len(body) >= 4 else 0


def read_source(body: bytes) -> SourceData | None:
    """Given the body of SOURCE_DATA, return the source; None if it is cut short."""
    if len(body) < _SOURCE.size:
        return None
    fields = _SOURCE.unpack_from(body)
    return SourceData(read_address(fields[0]), fields[4] == _REFERENCE_CLOCK)


def read_address(packed: bytes) -> Address:
    """Given the 20 bytes of an address, return it."""
    octets, family = _ADDRESS.unpack(packed)
    if family == 1:
        return Address(packed, socket.inet_ntop(socket.AF_INET, octets[:4]))
    return Address(packed, socket.inet_ntop(socket.AF_INET6, octets) if family == 2 else "")


def read_name(body: bytes) -> str:
    """Given the body of SOURCE_NAME, return the name as the configuration has it."""
    return body[:256].partition(b"\0")[0].decode("ascii", "replace")


def read_tracking(body: bytes) -> Tracking | None:
    """Given the body of TRACKING, return it; None if it is cut short."""
    if len(body) < _TRACKING.size:
        return None
    reference_id, _, _, leap, high, low, nanoseconds, *floats = _TRACKING.unpack_from(body)
    seconds = (0 if high == _NO_HIGH_SECONDS else high << 32) + low + nanoseconds / 1e9
    values = [read_float(one) for one in floats]
    return Tracking(leap != _NOT_SYNCHRONISED and reference_id != 0, seconds, values[0], values[6], values[7])


def read_float(word: int) -> float:
    """Given chrony's 32-bit float (7 bits of signed exponent, 25 of signed coefficient), return its value."""
    exponent, coefficient = word >> 25, word & 0x1FFFFFF
    exponent -= 128 if exponent >= 64 else 0
    coefficient -= 1 << 25 if coefficient >= 1 << 24 else 0
    return float(coefficient * 2.0 ** (exponent - 25))
