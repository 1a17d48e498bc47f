"""Push signals of the hypervisor to a Linux guest: vmclock, and the physical host's name by Hyper-V."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import fcntl
import os
import select
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from tideover.pause.types import HOST_KEYS, DisruptionAnnounced, MarkerMoved, PushSignal, change_of_host
from tideover.system import ROOT

# --- vmclock: this machine was moved or restored, or soon will be (/dev/vmclock0)
# The page's layout and flags are those of the VMClock specification and linux/vmclock-abi.h; the device is there from
# Linux 6.13, and can be waited on from 7.0 where the hypervisor promises notifications. It says nothing of a plain
# stop.

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


# --- Hyper-V: the physical host's name, as its key-value daemon writes it (hv_kvp_daemon(8))
# Microsoft documents that the host's names are written again when a machine moves to another host. The daemon rewrites
# the whole pool file in place, under a record lock; keys and values are fixed fields, and what follows a NUL in them is
# what a longer word left there. We wait for no lock, and hold ours for one read: the daemon waits for it.

POOL = "var/lib/hyperv/.kvp_pool_3"      # KVP_POOL_AUTO_EXTERNAL: what the host tells the guest about itself
KEY_BYTES, VALUE_BYTES = 512, 2048       # linux/hyperv.h
RECORD_BYTES = KEY_BYTES + VALUE_BYTES
MOST_BYTES = 1 << 20                     # 400 records; the host writes about ten

# sys/inotify.h
IN_CLOSE_WRITE, IN_MOVE_SELF, IN_DELETE_SELF, IN_CREATE, IN_MOVED_TO = 0x8, 0x800, 0x400, 0x100, 0x80


def records_in(pool: bytes) -> dict[str, str] | None:
    """Given a pool file's bytes, return its keys and values; None: it ends within a record, so it is being written."""
    if len(pool) % RECORD_BYTES:
        return None
    records = (pool[at:at + RECORD_BYTES] for at in range(0, len(pool), RECORD_BYTES))
    return {_word(record[:KEY_BYTES]): _word(record[KEY_BYTES:]) for record in records}


def _word(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace").strip()


def read_records(file: Path) -> dict[str, str] | None:
    """Given a pool file, return its keys and values. None: try again, it is being written."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return records_in(os.pread(descriptor, MOST_BYTES, 0))
    except OSError:                         # locked by the writer
        return None
    finally:
        os.close(descriptor)                # gives the lock back


class HostNameReader:
    """Readable when the pool was written, where the kernel can say so; else looked at on every beat."""

    def __init__(self, file: Path, notify: int | None) -> None:
        self._file, self._notify = file, notify
        self._names: dict[str, str] = {}
        self._written: tuple[int, int] | None = None
        self.unfinished = False
        self.read()

    def fileno(self) -> int | None:
        return self._notify

    def read(self) -> tuple[PushSignal, ...]:
        """Return a change of the host's name."""
        if not self._was_written():
            return ()
        records = read_records(self._file)
        self.unfinished = records is None
        names = {key: records[key] for key in HOST_KEYS if records.get(key)} if records else {}
        before, self._names = self._names, {**self._names, **names}
        return change_of_host(before, names)

    def close(self) -> None:
        if self._notify is not None:
            os.close(self._notify)

    def _was_written(self) -> bool:
        if self._notify is not None:
            _drain(self._notify)
            _listen(self._notify, self._file)
            return True
        try:
            state = self._file.stat()
        except OSError:
            return self.unfinished
        before, self._written = self._written, (state.st_mtime_ns, state.st_size)
        return self.unfinished or before != self._written


def open_host_name_reader(root: Path = ROOT) -> HostNameReader | None:
    """Return a reader, or None where no daemon of Hyper-V keeps its pools."""
    file = root / POOL
    if sys.platform != "linux" or not file.parent.is_dir():
        return None
    notify = _notifier()
    if notify is not None:
        _listen(notify, file)
    return HostNameReader(file, notify)


def _notifier() -> int | None:
    try:
        descriptor: int = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):       # a C library without the call
        return None
    return descriptor if descriptor >= 0 else None


def _listen(notify: int, file: Path) -> None:
    """Listen to the file alone, for the other pools are written often; to its folder for as long as it is missing.
    A second call for the same file changes nothing, one for a new file of that name finds it."""
    watch = ctypes.CDLL(None).inotify_add_watch
    if watch(notify, os.fsencode(file), IN_CLOSE_WRITE | IN_MOVE_SELF | IN_DELETE_SELF) < 0:
        watch(notify, os.fsencode(file.parent), IN_CREATE | IN_MOVED_TO)


def _drain(notify: int) -> None:
    try:
        while os.read(notify, 4096):
            pass
    except BlockingIOError:
        pass
