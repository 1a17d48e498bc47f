"""Push signal: the physical host's name, as Hyper-V's key-value daemon writes it (hv_kvp_daemon(8)). Linux.

Microsoft documents that the host's names are written again when a machine moves to another host. The daemon rewrites
the whole pool file in place, under a record lock; keys and values are fixed fields, and what follows a NUL in them is
what a longer word left there. We wait for no lock, and hold ours for one read: the daemon waits for it.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import fcntl
import os
from pathlib import Path

from tideover.pause.types import HOST_KEYS, PushSignal, change_of_host
from tideover.system.platform import ROOT

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
