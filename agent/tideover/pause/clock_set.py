"""Push signal: the wall clock was set. A timer far in the future that the kernel cancels when that happens.

timerfd_create(2), TFD_TIMER_CANCEL_ON_SET: fires on settimeofday, clock_settime, ADJ_SETOFFSET, a leap second, the
hypervisor's time sync and a resume from suspend; silent on slewing and on pauses in which the clocks stopped.
It does not say by how much: the next reading of the clocks does.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import os
import time

from tideover.pause.types import ClockSet, PushSignal

FAR_S = 2**33           # an absolute second that no clock of ours reaches
ABSOLUTE_CANCELLED_ON_SET = 1 | 2


class ClockSetReader:
    """Readable when the wall clock was set."""

    unfinished = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _arm(descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> tuple[PushSignal, ...]:
        """Return that the clock was set, and listen again: a cancelled timer stays silent until armed again."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return ()
        except OSError:                     # ECANCELED, what it is for
            pass
        _arm(self._descriptor)
        return (ClockSet(),)

    def close(self) -> None:
        os.close(self._descriptor)


def open_clock_set_reader() -> ClockSetReader | None:
    """Return a reader, or None where the system has no such timer."""
    if sys.platform != "linux":
        return None
    try:
        return ClockSetReader(_create())
    except (OSError, AttributeError):       # AttributeError: a C library without the call
        return None


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_REALTIME, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _arm(descriptor: int) -> None:
        os.timerfd_settime(descriptor, flags=os.TFD_TIMER_ABSTIME | os.TFD_TIMER_CANCEL_ON_SET, initial=float(FAR_S))

else:
    class _Time(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    class _Timer(ctypes.Structure):
        _fields_ = (("interval", _Time), ("value", _Time))

    def _create() -> int:
        descriptor: int = _library().timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        return _checked(descriptor)

    def _arm(descriptor: int) -> None:
        far = _Timer(_Time(0, 0), _Time(FAR_S, 0))
        _checked(_library().timerfd_settime(descriptor, ABSOLUTE_CANCELLED_ON_SET, ctypes.byref(far), None))

    def _library() -> ctypes.CDLL:
        return ctypes.CDLL(None, use_errno=True)

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
