"""This machine's clocks on Windows, its boot, and what its kernel counts.

learn.microsoft.com/windows/win32/sysinfo/interrupt-time: biased interrupt time counts from the start of the system and
goes on while it sleeps; the unbiased one does not; neither is moved by setting the clock or by the time service. The
precise readings are taken at the moment of the call, the others are as of the last tick (0.5 to 15.6 ms old).
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import struct
import time
from collections.abc import Callable
from ctypes import wintypes

from tideover.winapi.base import kernel32, ntdll

UNIX_EPOCH = 116_444_736_000_000_000        # 1970, in units of 100 ns since 1601
UNIT_NS = 100
_REALTIME = "api-ms-win-core-realtime-l1-1-1"
_PERFORMANCE_INFORMATION, _TIME_OF_DAY_INFORMATION = 2, 3
_CONTEXT_SWITCHES_AT = 0x128                # SYSTEM_PERFORMANCE_INFORMATION, the same on every 64-bit Windows
_PERFORMANCE_BYTES = 1024                   # newer systems append to it

Read = Callable[[], int]


def _reading(library: ctypes.WinDLL, name: str) -> Read | None:
    """A call that fills in one 64-bit number, as a reading in nanoseconds; None where the system has none."""
    try:
        function = getattr(library, name)
    except AttributeError:
        return None
    function.restype, function.argtypes = None, (ctypes.POINTER(ctypes.c_uint64),)

    def read() -> int:
        number = ctypes.c_uint64()
        function(ctypes.byref(number))
        return number.value * UNIT_NS

    return read


def _realtime(name: str) -> Read | None:
    try:
        return _reading(ctypes.WinDLL(_REALTIME), name)
    except OSError:
        return None


def raw_reader() -> Read:
    """Return how to read, in ns, the clock that is never set or slewed and that stops while the machine sleeps:
    unbiased interrupt time (Windows 10, Server 2016), else the performance counter, which runs on in a sleep."""
    return _realtime("QueryUnbiasedInterruptTimePrecise") or time.perf_counter_ns


def biased_reader() -> Read | None:
    """Return how to read, in ns, the clock that is the raw one and all sleep besides; None where there is none as
    exact as the raw one (before Windows 10, Server 2016): the difference would be the noise of a tick."""
    if _realtime("QueryUnbiasedInterruptTimePrecise") is None:
        return None
    return _realtime("QueryInterruptTimePrecise")


def has_precise_interrupt_time() -> bool:
    """Whether both interrupt times can be read at the moment of the call (Windows 10, Server 2016)."""
    return biased_reader() is not None


def wall_reader() -> Read:
    """Return how to read, in ns since 1970, the clock that may be set (precise: Windows 8, Server 2012)."""
    precise = _reading(kernel32, "GetSystemTimePreciseAsFileTime")
    return time.time_ns if precise is None else lambda: precise() - UNIX_EPOCH * UNIT_NS


def read_boot_id() -> str:
    """Return the id of this boot: when the system says that it was started, before the clock was set since.

    NtQuerySystemInformation, SystemTimeOfDayInformation: BootTime moves with the clock when that is set, and
    BootTimeBias by the same amount, so that their difference stays. "" where the system does not say.
    """
    found = _query(_TIME_OF_DAY_INFORMATION, 48)
    if len(found) < 40:
        return ""
    boot, _, _, _, _, bias = struct.unpack_from("<qqqIIq", found)
    return f"{boot - bias:x}"


def read_context_switches() -> int | None:
    """Return how often the processors changed from thread to thread, modulo 2**32; None where it is not counted."""
    found = _query(_PERFORMANCE_INFORMATION, _PERFORMANCE_BYTES)
    if len(found) < _CONTEXT_SWITCHES_AT + 4:
        return None
    return int.from_bytes(found[_CONTEXT_SWITCHES_AT:_CONTEXT_SWITCHES_AT + 4], "little") or None


def _query(kind: int, size: int) -> bytes:
    function = ntdll.NtQuerySystemInformation
    function.restype = ctypes.c_ulong
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, wintypes.ULONG, ctypes.POINTER(wintypes.ULONG))
    room, used = ctypes.create_string_buffer(size), wintypes.ULONG()
    while (status := function(kind, room, len(room), ctypes.byref(used))) == 0xC0000004:   # STATUS_INFO_LENGTH_MISMATCH
        if used.value == len(room) or not used.value:
            return b""
        room = ctypes.create_string_buffer(used.value)
    return room.raw[:used.value] if status == 0 else b""
