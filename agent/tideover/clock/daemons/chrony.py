"""chrony: servers, state over its monitoring protocol or chronyc, and its configuration."""
from __future__ import annotations

import fnmatch
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.clock.host import HostAccess, first_of_each_name, is_there, process_runs, read_lines
from tideover.clock.types import CommandResult, DaemonReport, TimeSource, daemon_server, each_once
from tideover.model import utc_if_any
from tideover.timekeeping.ntp_packet import PORT

# --- The monitoring protocol, version 6: bytes in, values out (chrony's candm.h and addressing.h)
# A reply carries the question's sequence number, so a late answer to an earlier question is no answer.

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
class ChronyAddress:
    """A source's address as the protocol writes it; `text` is "" while chrony knows no address."""

    packed: bytes
    text: str


@dataclass(frozen=True, slots=True)
class ChronySource:
    """One source of chrony's."""

    address: ChronyAddress
    is_reference_clock: bool


@dataclass(frozen=True, slots=True)
class ChronyTracking:
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


def monitor_request(command: int, sequence: bytes, body: bytes = b"") -> bytes:
    """Given a command, four random bytes and what the command needs, return the packet."""
    return (_QUESTION.pack(VERSION, 1, 0, 0, command, 0, sequence) + body).ljust(_QUESTION_BYTES[command], b"\0")


def reply_body(command: int, sequence: bytes, data: bytes) -> bytes | None:
    """Given a datagram, return the answer's body; None if it is no good answer to this question."""
    if len(data) < _REPLY.size:
        return None
    version, kind, _, _, about, reply, status, echo = _REPLY.unpack_from(data)
    is_ours = (version, kind, about, reply, status, echo) == (VERSION, 2, command, _REPLY_OF[command], 0, sequence)
    return data[_REPLY.size:] if is_ours else None


def read_source_count(body: bytes) -> int:
    """Given the body of N_SOURCES, return how many there are; 0 if it is cut short."""
    return int(struct.unpack_from("!I", body)[0]) if len(body) >= 4 else 0


def read_source(body: bytes) -> ChronySource | None:
    """Given the body of SOURCE_DATA, return the source; None if it is cut short."""
    if len(body) < _SOURCE.size:
        return None
    fields = _SOURCE.unpack_from(body)
    return ChronySource(read_address(fields[0]), fields[4] == _REFERENCE_CLOCK)


def read_address(packed: bytes) -> ChronyAddress:
    """Given the 20 bytes of an address, return it."""
    octets, family = _ADDRESS.unpack(packed)
    if family == 1:
        return ChronyAddress(packed, socket.inet_ntop(socket.AF_INET, octets[:4]))
    return ChronyAddress(packed, socket.inet_ntop(socket.AF_INET6, octets) if family == 2 else "")


def read_name(body: bytes) -> str:
    """Given the body of SOURCE_NAME, return the name as the configuration has it."""
    return body[:256].partition(b"\0")[0].decode("ascii", "replace")


def read_tracking(body: bytes) -> ChronyTracking | None:
    """Given the body of TRACKING, return it; None if it is cut short."""
    if len(body) < _TRACKING.size:
        return None
    reference_id, _, _, leap, high, low, nanoseconds, *floats = _TRACKING.unpack_from(body)
    seconds = (0 if high == _NO_HIGH_SECONDS else high << 32) + low + nanoseconds / 1e9
    values = [read_float(one) for one in floats]
    return ChronyTracking(leap != _NOT_SYNCHRONISED and reference_id != 0, seconds, values[0], values[6], values[7])


def read_float(word: int) -> float:
    """Given chrony's 32-bit float (7 bits of signed exponent, 25 of signed coefficient), return its value."""
    exponent, coefficient = word >> 25, word & 0x1FFFFFF
    exponent -= 128 if exponent >= 64 else 0
    coefficient -= 1 << 25 if coefficient >= 1 << 24 else 0
    return float(coefficient * 2.0 ** (exponent - 25))


# --- chrony.conf(5): server and pool, with include, confdir, sourcedir

MAIN = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")      # Debian and its like, the others
_COMMENTS = "!;#%"
_DEEPEST = 10            # includes within includes; chrony's own limit


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    """One server or pool directive."""

    host: str
    port: int = PORT
    is_pool: bool = False


def configured_servers(surroundings: HostAccess) -> tuple[ConfiguredServer, ...]:
    """Given the machine, return the servers that chrony is configured to use, in the files' order."""
    main = next((path for path in MAIN if is_there(surroundings.path(path))), None)
    return tuple(_server_of(name, words) for name, words in read_directives(surroundings, main)
                 if name in ("server", "pool") and words) if main else ()


def read_directives(surroundings: HostAccess, main: str) -> Iterator[tuple[str, list[str]]]:
    """Given a configuration's main file, yield each directive (in small letters) and its words, in the order in which
    chrony reads them: what a directive includes comes right after it."""
    return _read_directives(surroundings, surroundings.path(main), 0)


def _read_directives(surroundings: HostAccess, path: Path, depth: int) -> Iterator[tuple[str, list[str]]]:
    for line in read_lines(path):
        words = line.split()
        if not words or words[0][0] in _COMMENTS:
            continue
        directive = words[0].lower()
        yield directive, words[1:]
        if depth < _DEEPEST and len(words) > 1:
            for file in _further_files(surroundings, directive, words[1:]):
                yield from _read_directives(surroundings, file, depth + 1)


def _server_of(directive: str, words: list[str]) -> ConfiguredServer:
    options = [word.lower() for word in words]
    port = options[options.index("port") + 1:][:1] if "port" in options[1:] else []
    number = int(port[0]) if port and port[0].isascii() and port[0].isdecimal() else PORT
    return ConfiguredServer(words[0], number, directive == "pool")


def _further_files(surroundings: HostAccess, directive: str, words: list[str]) -> Iterable[Path]:
    if directive == "include":
        pattern = surroundings.path(words[0])
        return [pattern.parent / name for name in sorted(fnmatch.filter(_file_names(pattern.parent), pattern.name))]
    suffix = {"confdir": ".conf", "sourcedir": ".sources"}.get(directive)
    return first_of_each_name([surroundings.path(word) for word in words], suffix) if suffix else []


def _file_names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except (OSError, ValueError):       # a name with a NUL in it is no file's
        return []


# --- The daemon

_PID_FILES = ("/run/chrony/chronyd.pid", "/run/chronyd.pid", "/var/run/chrony/chronyd.pid", "/var/run/chronyd.pid")
_MOST_SOURCES = 32
# A source is selected 2 to 10 s after `burst 4/4`: its packets are 2 s apart, and a burst under way ends first.
_SELECTION_LIMIT_S = 20.0
_LOOK_EVERY_S = 0.5


class Chrony:
    """Given the machine, its chronyd."""

    name = "chrony"

    def __init__(self, surroundings: HostAccess) -> None:
        self._surroundings = surroundings

    def is_running(self) -> bool:
        return (process_runs(self._surroundings, _PID_FILES, "chronyd")
                or self._ask(N_SOURCES) is not None)

    def servers(self) -> tuple[TimeSource, ...]:
        configured = configured_servers(self._surroundings)
        pools = {one.host for one in configured if one.is_pool}
        asked = self._monitored({one.host: (one.port, one.host in pools) for one in configured})
        return each_once(asked or [daemon_server(one.host, one.port, one.is_pool) for one in configured])

    def report(self) -> DaemonReport:
        tracking = self._tracking()
        return DaemonReport(self.name, note="it does not answer") if tracking is None else daemon_report(tracking)

    def measure_again(self, may_step: Callable[[float], bool]) -> CommandResult:
        """Without `reset sources` chrony throws the new samples away as too jittery until the old ones have left its
        regression, five to six polls later (sources.c, maxjitter); without `makestep` it may slew for minutes.
        """
        before = self._tracking()
        for command in (["reset", "sources"], ["burst", "4/4"]):
            ended = self._chronyc(command)
            if ended.trouble:
                return ended
        done = "chrony was made to measure again (reset sources, burst 4/4)"
        report = self._selected_after(before.updated_s if before else 0.0)
        if report is None:
            return CommandResult(f"{done}, and has selected no source within {_SELECTION_LIMIT_S:.0f} s")
        if report.offset_s is None or not may_step(report.offset_s):
            return CommandResult(done)
        trouble = self._chronyc(["makestep"]).trouble
        return CommandResult(f"{done}; {trouble}" if trouble else f"{done} and to step the clock (makestep)")

    # --- its words ------------------------------------------------------------------------------------------------

    def _selected_after(self, before_s: float) -> DaemonReport | None:
        """Wait until chrony has selected a source by new measurements."""
        before_at = utc_if_any(before_s)
        for _ in range(int(_SELECTION_LIMIT_S / _LOOK_EVERY_S)):
            self._surroundings.sleep(_LOOK_EVERY_S)
            report = self.report()
            if report.is_synchronised and report.updated_at != before_at:
                return report
        return None

    def _chronyc(self, command: list[str]) -> CommandResult:
        """Give chronyd a command. What changes anything needs root, and chronyd's own socket."""
        ended = self._surroundings.run(["chronyc", *self._host(), *command])
        return CommandResult(ended.output, f"{' '.join(command)}: {ended.trouble}" if ended.trouble else "")

    def _host(self) -> list[str]:
        return ["-h", self._surroundings.chrony_socket] if self._surroundings.chrony_socket else []

    def _tracking(self) -> ChronyTracking | None:
        body = self._ask(TRACKING)
        if body is not None:
            return read_tracking(body)
        if not process_runs(self._surroundings, _PID_FILES, "chronyd") and not self._surroundings.chrony_socket:
            return None
        ended = self._chronyc(["-c", "tracking"])
        return None if ended.trouble else _tracking_of(ended.output)

    def _monitored(self, named: dict[str, tuple[int, bool]]) -> list[TimeSource]:
        """Its sources with the addresses it uses now, so no name need be looked up after a pause."""
        found: list[TimeSource] = []
        for number in range(min(_MOST_SOURCES, read_source_count(self._ask(N_SOURCES) or b""))):
            data = read_source(self._ask(SOURCE_DATA, number.to_bytes(4, "big")) or b"")
            if data is None or data.is_reference_clock:
                continue
            name = read_name(self._ask(SOURCE_NAME, data.address.packed) or b"")
            port, is_pool = named.get(name, (PORT, False))
            own = daemon_server(name or data.address.text, port, is_pool)
            found.append(TimeSource(daemon_server(data.address.text or name, port).server, own.origin))
        return [one for one in found if one.server]

    def _ask(self, command: int, body: bytes = b"") -> bytes | None:
        """Put one question to the monitoring port; None: no daemon there, not allowed, or no answer."""
        sequence = os.urandom(4)
        until_s = time.monotonic() + self._surroundings.timeout_s
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.connect(self._surroundings.chrony_monitor)
                asking.send(monitor_request(command, sequence, body))
                while (left_s := until_s - time.monotonic()) > 0:
                    asking.settimeout(left_s)
                    data = asking.recv(1024)
                    if data[16:20] == sequence:
                        return reply_body(command, sequence, data)
        except OSError:
            return None
        return None


def daemon_report(tracking: ChronyTracking) -> DaemonReport:
    """Given what chrony believes, return it as any time daemon's report."""
    updated_at = utc_if_any(tracking.updated_s) if tracking.updated_s else None
    if not tracking.is_synchronised:
        return DaemonReport(Chrony.name, False, updated_at=updated_at)
    return DaemonReport(Chrony.name, True, 0.0 - tracking.correction_s, tracking.bound_s, updated_at)


def _tracking_of(line: str) -> ChronyTracking | None:
    """Given what `chronyc -c tracking` printed, return it: fields in the order of its manual, times in seconds."""
    fields = line.split(",")
    try:
        numbers = [float(fields[place]) for place in (3, 4, 10, 11)]
    except (IndexError, ValueError):
        return None
    if len(fields) < 14 or not all(math.isfinite(number) for number in numbers):
        return None
    return ChronyTracking(fields[13] != "Not synchronised", *numbers)
