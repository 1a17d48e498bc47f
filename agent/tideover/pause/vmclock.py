"""Push signal: the hypervisor's own word that this machine was moved or restored, or soon will be (/dev/vmclock0).

The page's layout and flags are those of the VMClock specification and linux/vmclock-abi.h; the device is there from
Linux 6.13, and can be waited on from 7.0 where the hypervisor promises notifications. It says nothing of a plain stop.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import select
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from tideover.pause.types import DisruptionAnnounced, MarkerMoved, PushSignal
from tideover.system.platform import ROOT

DEVICE = "dev/vmclock0"
MAGIC = 0x4B4C4356           # "VCLK"
PAGE = struct.Struct("<IIHBBIQQ2xBxhBB")
PAGE_BYTES = 112

DISRUPTION_SOON = 1 << 1
DISRUPTION_IMMINENT = 1 << 2
NOTIFICATION_PRESENT = 1 << 9

CLOCK_STATUS = {0: "unknown", 1: "initializing", 2: "synchronised", 3: "free running", 4: "unreliable"}


@dataclass(frozen=True, slots=True)
class VmClockPage:
    """What the hypervisor says."""

    marker: int
    flags: int
    status: int

    @property
    def can_notify(self) -> bool:
        return bool(self.flags & NOTIFICATION_PRESENT)


def page_in(data: bytes) -> VmClockPage | None:
    """Given the page's bytes, return what it says; None: not such a page, or just being written."""
    if len(data) < PAGE.size:
        return None
    magic, _, _, _, _, sequence, marker, flags, status, *_ = PAGE.unpack_from(data)
    return VmClockPage(marker, flags, status) if magic == MAGIC and not sequence % 2 else None


class VmClockReader:
    """Readable when the page changed, where the hypervisor notifies; else read on every beat."""

    def __init__(self, descriptor: int, page: VmClockPage) -> None:
        self._descriptor, self._page = descriptor, replace(page, flags=0)
        self._is_waitable = page.can_notify and _is_silent(descriptor)
        self.unfinished = True              # a disruption announced before we came is news too

    def fileno(self) -> int | None:
        return self._descriptor if self._is_waitable else None

    def read(self) -> tuple[PushSignal, ...]:
        """Return what the hypervisor says that it did not say before."""
        page = _page(self._descriptor)
        self.unfinished = page is None
        if page is None:
            return ()
        before, self._page = self._page, page
        signals: list[PushSignal] = []
        if page.marker != before.marker:
            signals.append(MarkerMoved(before.marker, page.marker))
        for flag in (DISRUPTION_SOON, DISRUPTION_IMMINENT):
            if page.flags & ~before.flags & flag:
                signals.append(DisruptionAnnounced(flag == DISRUPTION_IMMINENT))
        return tuple(signals)

    def close(self) -> None:
        os.close(self._descriptor)


def open_vmclock_reader(root: Path = ROOT) -> VmClockReader | None:
    """Return a reader, or None where the machine has no such device or we may not read it (a udev rule may allow)."""
    try:
        descriptor = os.open(root / DEVICE, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    page = _page(descriptor)
    if page is None:
        os.close(descriptor)
        return None
    return VmClockReader(descriptor, page)


def read_page(file: Path) -> VmClockPage | None:
    """Given the device, return what it says now; None: it may not be read, or is no such device."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    page = _page(descriptor)
    os.close(descriptor)
    return page


def _is_silent(descriptor: int) -> bool:
    """Whether waiting would wait: before Linux 7.0 the device counts as readable for ever."""
    wait = select.poll()
    wait.register(descriptor, select.POLLIN)
    return not wait.poll(0)


def _page(descriptor: int) -> VmClockPage | None:
    """Reading, and not mapping, is what tells the kernel that the change was seen."""
    try:
        return page_in(os.pread(descriptor, PAGE_BYTES, 0))
    except OSError:                         # ETIMEDOUT: it was being written all the time
        return None
