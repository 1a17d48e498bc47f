"""Kernel counters that show who ran in a gap, the machine's usual activity, and how often reading them is affordable.

A reading costs no wake-up: it is taken on the heartbeat's own turn, and no more often than its price allows.
"""
from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tideover.system import ROOT
from tideover.timekeeping.gaps import (
    NOT_KNOWN,
    KernelCounters,
    ProcessActivity,
    Stall,
    background_rate,
    stall_between,
)
from tideover.timekeeping.intervals import NS

# Of one processor's time. /proc/stat costs 5 µs here and 1 ms on a machine with hundreds of processors; at this share
# the first is read on every beat and the second every 2 s.
AFFORDABLE_SHARE = 5e-4


def affordable_every_ns(price_ns: int) -> int:
    """Given what one reading costs in ns, return how far apart readings must be to cost no more than their share."""
    return int(price_ns / AFFORDABLE_SHARE)


# --- Linux: /proc

if sys.platform == "win32":
    def _own_switches() -> int | None:
        """Nothing: Windows does not count them for a process."""
        return None

else:
    import resource

    def _own_switches() -> int | None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_nvcsw + used.ru_nivcsw

CLOCKSOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"

STAT_BYTES = 1 << 14         # the ctxt line follows one line a processor and the interrupts' line
STAT_BYTES_WIDE = 1 << 20


class CounterSource(Protocol):
    """Where the evidence of a gap is read. Read on the watching thread only: one of the counters is that thread's."""

    def read(self) -> KernelCounters: ...
    def traced_by(self) -> int: ...
    def clocksource(self) -> str: ...
    def affordable_every_ns(self) -> int: ...
    def close(self) -> None: ...


def open_counters() -> CounterSource:
    """Return this machine's."""
    if sys.platform == "win32":
        return SwitchCounters()
    return MachineCounters()


class MachineCounters:
    """The real ones. A file that this machine does not have, or that cannot be read, is left out without noise."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._stat = _opened(root / "proc/stat")
        self._schedstat: int | None = None
        self._group = _own_group(root)
        self._frozen = _opened(self._group / "cgroup.stat.local") if self._group else None
        self._throttled = _opened(self._group / "cpu.stat") if self._group else None
        self._stat_bytes = STAT_BYTES
        self._price_ns = 0
        self._tick_ns = NS // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)

    def read(self) -> KernelCounters:
        """Return the counters as of now."""
        began = time.perf_counter_ns()
        switches, interrupts, stolen = self._machine_counts()
        counters = KernelCounters(switches, _own_switches(), self._waited_ns(), stolen, interrupts=interrupts,
                            frozen_ns=_field_ns(self._frozen, b"frozen_usec"),
                            throttled_ns=_field_ns(self._throttled, b"throttled_usec"))
        price = time.perf_counter_ns() - began
        self._price_ns = price if not self._price_ns else min(price, (7 * self._price_ns + price) // 8)
        return counters

    def affordable_every_ns(self) -> int:
        """Return how far apart readings must be to cost no more than their share."""
        return affordable_every_ns(self._price_ns)

    def traced_by(self) -> int:
        """Return the pid of a debugger that holds this process; 0: none (proc(5), TracerPid)."""
        try:
            status = (self._root / "proc/self/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0
        number = status.partition("TracerPid:")[2].split(maxsplit=1)[:1]
        return int(number[0]) if number and number[0].isdigit() else 0

    def clocksource(self) -> str:
        """Return the name of the kernel's clocksource; empty where it does not say."""
        try:
            return (self._root / CLOCKSOURCE).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        for descriptor in (self._stat, self._schedstat, self._frozen, self._throttled):
            if descriptor is not None:
                os.close(descriptor)
        self._stat = self._schedstat = self._frozen = self._throttled = None

    def _machine_counts(self) -> tuple[int | None, int | None, int | None]:
        """Context switches, interrupts, and time stolen by the hypervisor in ns (proc(5), /proc/stat)."""
        text = _text(self._stat, self._stat_bytes)
        if b"\nctxt " not in text and len(text) == self._stat_bytes:
            self._stat_bytes = STAT_BYTES_WIDE
            text = _text(self._stat, self._stat_bytes)
        total = text.partition(b"\n")[0].split()      # cpu user nice system idle iowait irq softirq steal …
        stolen = int(total[8]) * self._tick_ns if len(total) > 8 else None
        return _number_after(text, b"\nctxt "), _number_after(text, b"\nintr "), stolen

    def _waited_ns(self) -> int | None:
        """How long this thread was ready to run without running (kernel doc scheduler/sched-stats)."""
        if self._schedstat is None:
            self._schedstat = _opened(self._root / "proc/thread-self/schedstat")
        fields = _text(self._schedstat, 128).split()
        return int(fields[1]) if len(fields) >= 2 else None


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None


def _text(descriptor: int | None, size: int) -> bytes:
    if descriptor is None or sys.platform == "win32":
        return b""
    try:
        return os.pread(descriptor, size, 0)
    except OSError:
        return b""


def _number_after(text: bytes, name: bytes) -> int | None:
    number = text.partition(name)[2].split(maxsplit=1)[:1]
    return int(number[0]) if number and number[0].isdigit() else None


def _field_ns(descriptor: int | None, name: bytes) -> int | None:
    """One `name microseconds` line of a control group's file, in ns."""
    for line in _text(descriptor, 4096).splitlines():
        key, _, value = line.partition(b" ")
        if key == name and value.strip().isdigit():
            return int(value) * 1000
    return None


def _own_group(root: Path) -> Path | None:
    """The control group of this process (kernel doc cgroup-v2, /proc/PID/cgroup); None without version 2 of them."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    path = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
        if path is not None and (root / mount / "cgroup.controllers").exists():
            return root / mount / path
    return None


# --- Windows: context switches
# Windows tells neither how long we were ready to run nor what the hypervisor took, so that this is all the evidence.

if sys.platform == "win32":
    import time

    from tideover.timekeeping.gaps import KernelCounters
    from tideover.winapi.clocks import read_context_switches

    class SwitchCounters:
        """The counters of `CounterSource` that there are here."""

        def __init__(self) -> None:
            self._price_ns = 0

        def read(self) -> KernelCounters:
            """Return the counters as of now. Our own switches are among the machine's: a few dozen a second."""
            began = time.perf_counter_ns()
            counters = KernelCounters(switches=read_context_switches())
            self._price_ns = max(1000, time.perf_counter_ns() - began)
            return counters

        def traced_by(self) -> int:
            return 0

        def clocksource(self) -> str:
            return ""

        def affordable_every_ns(self) -> int:
            """Return how far apart readings must be to cost no more than their share."""
            return affordable_every_ns(self._price_ns)

        def close(self) -> None:
            """It holds nothing."""


# --- Baseline: how busy the machine's other processes usually are

# The background rate is the lower quartile of the newest stretches: a burst of work does not raise it, and a machine
# that has just become quiet does not look like a paused one. A second evens out what happens every second.
STRETCH_NS = NS
STRETCHES_KEPT = 20
STRETCHES_NEEDED = 3


class ActivityBaseline:
    """Keeps the counters fresh within their price, learns the background rate, and gathers what both say of a gap."""

    def __init__(self, source: CounterSource) -> None:
        self._source = source
        self._counters, self._read_at_ns = KernelCounters(), 0
        self._stretch, self._stretch_at_ns = KernelCounters(), 0
        self._rates: deque[ProcessActivity] = deque(maxlen=STRETCHES_KEPT)
        self._processors = os.cpu_count() or 1
        self._clocksource = ""

    def begin(self, raw_ns: int) -> None:
        """Given the time, read the counters for the first time."""
        self._source.read()       # the first costs more than all others: files to open, code to load
        self._read(raw_ns)
        self._stretch, self._stretch_at_ns = self._counters, raw_ns
        self._clocksource = self._source.clocksource()

    def learn(self, raw_ns: int, event_is_near: bool = False) -> None:
        """Given the time of an ordinary beat, read the counters if that is affordable by now.

        While an event is near they are read at any price: what ran before a stop must not be taken for having run in
        it. So is the little that the first judgement needs."""
        if not event_is_near and raw_ns - self._read_at_ns < self._rest_ns():
            return
        self._read(raw_ns)
        if raw_ns - self._stretch_at_ns >= STRETCH_NS:
            rate = background_rate(self._stretch, self._counters, (raw_ns - self._stretch_at_ns) / NS)
            if rate != NOT_KNOWN:
                self._rates.append(rate)
            self._stretch, self._stretch_at_ns = self._counters, raw_ns

    def _rest_ns(self) -> int:
        affordable_ns = self._source.affordable_every_ns()
        return affordable_ns if len(self._rates) >= STRETCHES_NEEDED else min(STRETCH_NS, affordable_ns)

    def around(self, raw_ns: int, length_ns: int, suspended_ns: int) -> Stall:
        """Given the time after a gap, and how long it must have been, return the evidence whether the machine or only
        the process was paused."""
        before, elapsed_s = self._counters, (raw_ns - self._read_at_ns) / NS
        self._read(raw_ns)
        self._stretch, self._stretch_at_ns = self._counters, raw_ns
        stall = stall_between(before, self._counters, gap_s=length_ns / NS,
                              running_s=max(0.0, elapsed_s - length_ns / NS), rate=self._rate(),
                              processors=self._processors)
        return replace(stall, suspended_s=suspended_ns / NS, traced_by=self._source.traced_by())

    def clocksource(self) -> tuple[str, str] | None:
        """Return the kernel's clocksource before, as last asked, and now; None where it does not say."""
        before, self._clocksource = self._clocksource, self._source.clocksource()
        return (before, self._clocksource) if before and self._clocksource else None

    def close(self) -> None:
        self._source.close()

    def _read(self, raw_ns: int) -> None:
        self._counters, self._read_at_ns = self._source.read(), raw_ns

    def _rate(self) -> ProcessActivity:
        if len(self._rates) < STRETCHES_NEEDED:
            return NOT_KNOWN
        return ProcessActivity(_quiet(one.switches for one in self._rates),
                               _quiet(one.interrupts for one in self._rates))


def _quiet(rates: Iterable[float | None]) -> float | None:
    """The lower quartile."""
    known = sorted(one for one in rates if one is not None)
    return known[len(known) // 4] if known else None
