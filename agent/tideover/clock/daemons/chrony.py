"""chrony: asked over its monitoring port where it answers, else by its configuration; told through chronyc."""
from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable

from tideover.clock.daemons import cmdmon
from tideover.clock.daemons.chrony_configuration import configured_servers
from tideover.clock.daemons.files import each_once, process_runs, server
from tideover.clock.ended import Ended
from tideover.clock.nouns import DaemonReport, Source
from tideover.clock.surroundings import Surroundings
from tideover.model import utc_if_any
from tideover.timekeeping.ntp import PORT

_PID_FILES = ("/run/chrony/chronyd.pid", "/run/chronyd.pid", "/var/run/chrony/chronyd.pid", "/var/run/chronyd.pid")
_MOST_SOURCES = 32
# A source is selected 2 to 10 s after `burst 4/4`: its packets are 2 s apart, and a burst under way ends first.
_SELECTION_LIMIT_S = 20.0
_LOOK_EVERY_S = 0.5


class Chrony:
    """Given the machine, its chronyd."""

    name = "chrony"

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def is_running(self) -> bool:
        return (process_runs(self._surroundings, _PID_FILES, "chronyd")
                or self._ask(cmdmon.N_SOURCES) is not None)

    def servers(self) -> tuple[Source, ...]:
        configured = configured_servers(self._surroundings)
        pools = {one.host for one in configured if one.is_pool}
        asked = self._monitored({one.host: (one.port, one.host in pools) for one in configured})
        return each_once(asked or [server(one.host, one.port, one.is_pool) for one in configured])

    def report(self) -> DaemonReport:
        tracking = self._tracking()
        return DaemonReport(self.name, note="it does not answer") if tracking is None else report_of(tracking)

    def measure_afresh(self, may_step: Callable[[float], bool]) -> Ended:
        """Without `reset sources` chrony throws the new samples away as too jittery until the old ones have left its
        regression, five to six polls later (sources.c, maxjitter); without `makestep` it may slew for minutes.
        """
        before = self._tracking()
        for command in (["reset", "sources"], ["burst", "4/4"]):
            ended = self._chronyc(command)
            if ended.trouble:
                return ended
        told = "chrony was told to measure afresh (reset sources, burst 4/4)"
        report = self._selected_after(before.updated_s if before else 0.0)
        if report is None:
            return Ended(f"{told}, and has selected no source within {_SELECTION_LIMIT_S:.0f} s")
        if report.offset_s is None or not may_step(report.offset_s):
            return Ended(told)
        trouble = self._chronyc(["makestep"]).trouble
        return Ended(f"{told}; {trouble}" if trouble else f"{told} and to step the clock (makestep)")

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

    def _chronyc(self, command: list[str]) -> Ended:
        """Give chronyd a command. What changes anything needs root, and chronyd's own socket."""
        ended = self._surroundings.run(["chronyc", *self._host(), *command])
        return Ended(ended.output, f"{' '.join(command)}: {ended.trouble}" if ended.trouble else "")

    def _host(self) -> list[str]:
        return ["-h", self._surroundings.chrony_socket] if self._surroundings.chrony_socket else []

    def _tracking(self) -> cmdmon.Tracking | None:
        body = self._ask(cmdmon.TRACKING)
        if body is not None:
            return cmdmon.read_tracking(body)
        if not process_runs(self._surroundings, _PID_FILES, "chronyd") and not self._surroundings.chrony_socket:
            return None
        ended = self._chronyc(["-c", "tracking"])
        return None if ended.trouble else _tracking_of(ended.output)

    def _monitored(self, named: dict[str, tuple[int, bool]]) -> list[Source]:
        """Its sources with the addresses it uses now, so no name need be looked up after a pause."""
        found: list[Source] = []
        for number in range(min(_MOST_SOURCES, cmdmon.read_count(self._ask(cmdmon.N_SOURCES) or b""))):
            data = cmdmon.read_source(self._ask(cmdmon.SOURCE_DATA, number.to_bytes(4, "big")) or b"")
            if data is None or data.is_reference_clock:
                continue
            name = cmdmon.read_name(self._ask(cmdmon.SOURCE_NAME, data.address.packed) or b"")
            port, is_pool = named.get(name, (PORT, False))
            own = server(name or data.address.text, port, is_pool)
            found.append(Source(server(data.address.text or name, port).server, own.origin))
        return [one for one in found if one.server]

    def _ask(self, command: int, body: bytes = b"") -> bytes | None:
        """Put one question to the monitoring port; None: nobody there, not allowed, or no answer."""
        sequence = os.urandom(4)
        until_s = time.monotonic() + self._surroundings.patience_s
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.connect(self._surroundings.chrony_monitor)
                asking.send(cmdmon.question(command, sequence, body))
                while (left_s := until_s - time.monotonic()) > 0:
                    asking.settimeout(left_s)
                    data = asking.recv(1024)
                    if data[16:20] == sequence:
                        return cmdmon.body_of(command, sequence, data)
        except OSError:
            return None
        return None


def report_of(tracking: cmdmon.Tracking) -> DaemonReport:
    """Given what chrony believes, return it as any time daemon's report."""
    updated_at = utc_if_any(tracking.updated_s) if tracking.updated_s else None
    if not tracking.is_synchronised:
        return DaemonReport(Chrony.name, False, updated_at=updated_at)
    return DaemonReport(Chrony.name, True, 0.0 - tracking.correction_s, tracking.bound_s, updated_at)


def _tracking_of(line: str) -> cmdmon.Tracking | None:
    """Given what `chronyc -c tracking` printed, return it: fields in the order of its manual, times in seconds."""
    fields = line.split(",")
    try:
        numbers = [float(fields[place]) for place in (3, 4, 10, 11)]
    except (IndexError, ValueError):
        return None
    if len(fields) < 14 or not all(math.isfinite(number) for number in numbers):
        return None
    return cmdmon.Tracking(fields[13] != "Not synchronised", *numbers)
