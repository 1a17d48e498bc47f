"""What the kernel counts, read from /proc: who ran in a gap. Nothing here judges it.

A reading costs no wake-up: it is taken on the heartbeat's own turn, and no more often than its price allows.
"""
from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Protocol

from tideover.pause.affordable import affordable_every_ns
from tideover.system.files import ROOT
from tideover.timekeeping.gaps import NS
from tideover.timekeeping.stalls import Counters

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

    def read(self) -> Counters: ...
    def traced_by(self) -> int: ...
    def clocksource(self) -> str: ...
    def affordable_every_ns(self) -> int: ...
    def close(self) -> None: ...


def open_counters() -> CounterSource:
    """Return this machine's."""
    if sys.platform == "win32":
        from tideover.pause.switches import SwitchCounters
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

    def read(self) -> Counters:
        """Return the counters as of now."""
        began = time.perf_counter_ns()
        switches, interrupts, stolen = self._machine_counts()
        counters = Counters(switches, _own_switches(), self._waited_ns(), stolen, interrupts=interrupts,
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
