"""ntpd, of ntp.org and of NTPsec: its servers by ntp.conf, its state by a mode 6 question to its own port.

Nothing is known to make it measure again short of a restart, after which it trusts the clock it finds.
"""
from __future__ import annotations

import math
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tideover.clock.host import HostAccess, first_of_each_name, is_there, process_runs, read_lines
from tideover.clock.types import CommandResult, DaemonReport, TimeSource, daemon_server, each_once
from tideover.model import utc_if_any
from tideover.timekeeping import ntp_packet
from tideover.timekeeping.intervals import NS

_PID_FILES = ("/run/ntpd.pid", "/var/run/ntpd.pid", "/run/ntpsec/ntpd.pid", "/var/run/ntp/ntpd.pid")
_MAIN = ("/etc/ntpsec/ntp.conf", "/etc/ntp.conf")
_FURTHER = ("/etc/ntpsec/ntp.d", "/etc/ntp.d")           # NTPsec reads these beside its main file
_REFERENCE_CLOCKS = "127.127."                           # addresses that mean a driver, not a server
_DEEPEST = 5
# RFC 9327: leap, version and mode; response, error, more and operation; sequence; status; association; offset; count
_CONTROL = struct.Struct("!BBHHHHH")
_ASK, _READ_VARIABLES, _IS_RESPONSE, _IS_ERROR = 0x16, 2, 0x80, 0x40
_NOT_SYNCHRONISED = 3
_VARIABLES = b"leap,stratum,rootdelay,rootdisp,reftime,offset"


class Ntpd:
    """Given the machine, its ntpd."""

    name = "ntpd"

    def __init__(self, surroundings: HostAccess) -> None:
        self._surroundings = surroundings

    def is_running(self) -> bool:
        return process_runs(self._surroundings, _PID_FILES, "ntpd")

    def servers(self) -> tuple[TimeSource, ...]:
        main = next((path for path in map(self._surroundings.path, _MAIN) if is_there(path)), None)
        if main is None:
            return ()
        further = first_of_each_name([self._surroundings.path(path) for path in _FURTHER], ".conf")
        return each_once(source for file in (main, *further) for source in self._read(file, 0))

    def report(self) -> DaemonReport:
        variables = self._variables()
        if variables is None:
            return DaemonReport(self.name, note="it does not answer")
        return _report_of(variables)

    def measure_again(self, may_step: Callable[[float], bool]) -> CommandResult:
        return CommandResult(trouble="ntpd cannot be made to measure again")

    def _read(self, file: Path, depth: int) -> Iterator[TimeSource]:
        for line in read_lines(file):
            words = [word for word in line.partition("#")[0].split() if word not in ("-4", "-6")]
            if len(words) < 2:
                continue
            directive, host = words[0].lower(), words[1]
            if directive in ("server", "pool") and not host.startswith(_REFERENCE_CLOCKS):
                yield daemon_server(host.strip('"'), is_pool=directive == "pool")
            elif directive == "includefile" and depth < _DEEPEST:
                yield from self._read(self._surroundings.path(host.strip('"')), depth + 1)

    def _variables(self) -> dict[str, str] | None:
        number = int.from_bytes(os.urandom(2), "big")
        head = _CONTROL.pack(_ASK, _READ_VARIABLES, number, 0, 0, 0, len(_VARIABLES))
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(self._surroundings.timeout_s)
                asking.connect(self._surroundings.ntpd_control)
                asking.send((head + _VARIABLES).ljust(_CONTROL.size + (len(_VARIABLES) + 3) // 4 * 4, b"\0"))
                return _read_variables(asking.recv(1024), number)
        except OSError:
            return None


def _read_variables(data: bytes, number: int) -> dict[str, str] | None:
    """Given a datagram and our question's number, return the variables in it; None if it is no good answer."""
    if len(data) < _CONTROL.size:
        return None
    _, operation, echo, _, _, _, count = _CONTROL.unpack_from(data)
    if echo != number or not operation & _IS_RESPONSE or operation & _IS_ERROR:
        return None
    text = data[_CONTROL.size:_CONTROL.size + count].decode("ascii", "replace")
    pairs = (item.partition("=") for item in text.split(","))
    return {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def _report_of(variables: dict[str, str]) -> DaemonReport:
    """Given ntpd's variables (milliseconds; offset > 0: this machine is behind), return what it believes."""
    try:
        is_synchronised = (int(variables["leap"]) != _NOT_SYNCHRONISED
                           and 0 < int(variables["stratum"]) < ntp_packet.UNSYNCHRONISED_STRATUM)
        bound_s = (float(variables["rootdisp"]) + float(variables["rootdelay"]) / 2) / 1000
        offset_s = 0.0 - float(variables["offset"]) / 1000
        is_readable = math.isfinite(bound_s) and math.isfinite(offset_s)
    except (KeyError, ValueError):
        is_readable = False
    if not is_readable:
        return DaemonReport(Ntpd.name, note="invalid answer")
    seconds, _, fraction = variables.get("reftime", "").removeprefix("0x").partition(".")
    try:
        updated_ns = ntp_packet.to_unix_ns((int(seconds, 16) + int(fraction, 16) / 2**32) % 2**32, ntp_packet.BUILT_NS)
    except ValueError:
        updated_ns = 0
    return DaemonReport(Ntpd.name, is_synchronised, offset_s if is_synchronised else None,
                        bound_s if is_synchronised else None, utc_if_any(updated_ns / NS) if updated_ns else None)
