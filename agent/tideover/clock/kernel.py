"""How the kernel is disciplining the clock just now (adjtimex with modes 0). Asks only; changes nothing."""
from __future__ import annotations

import ctypes
import struct
import sys
from dataclasses import dataclass

# struct timex of 64-bit Linux (linux/timex.h): modes, offset, freq, maxerror, esterror, status, constant, precision,
# tolerance, time (2), tick; the rest is of no use here.
_TIMEX = struct.Struct("@I4xqqqqi4xqqqqqq")
_TIMEX_BYTES = 208
_CLOCK_REALTIME = 0
_PPM = 65_536                   # freq is ppm with a 16-bit fraction
USUAL_TICK_US = 10_000          # 1 s / USER_HZ, which is 100 on every 64-bit port in use


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What moves the clock. Set by the time daemon, whose state a bit alone does not tell (chrony without rtcsync)."""

    tick_us: int
    frequency_ppm: float


def read_kernel_clock() -> KernelClock | None:
    """Return how the clock is being disciplined, None where the system does not say."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).clock_adjtime(_CLOCK_REALTIME, buffer) < 0:
        return None
    fields = _TIMEX.unpack_from(buffer)
    return KernelClock(fields[11], fields[2] / _PPM)
