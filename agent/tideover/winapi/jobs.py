"""Job objects: a job has every process that is started in it and all that those start, for good.

learn.microsoft.com/windows/win32/procthread/job-objects. A process cannot leave a job that does not allow it, whatever
it does; only what another service starts on its behalf (the service control manager, the task scheduler, WMI) is not in
it. Needs Windows 8 or Server 2012 where the agent is in a job itself (nested jobs).
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import wintypes

from tideover.winapi.calls import DWORD, ERROR_MORE_DATA, HANDLE, checked, declare, kernel32, trouble
from tideover.winapi.handles import close_handle
from tideover.winapi.security import ERROR_ALREADY_EXISTS, SecurityAttributes

JOB_OBJECT_TERMINATE, JOB_OBJECT_QUERY = 0x8, 0x4
_BASIC_PROCESS_ID_LIST, _EXTENDED_LIMIT_INFORMATION = 3, 9
_KILL_ON_JOB_CLOSE = 0x2000
ENDED_BY_US = 1                 # exit status of what is ended; a hook's own report never comes from it
_ROOM = 256                     # processes at first


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("process_time", ctypes.c_int64), ("job_time", ctypes.c_int64), ("flags", DWORD),
        ("least_working_set", ctypes.c_size_t), ("most_working_set", ctypes.c_size_t), ("processes", DWORD),
        ("affinity", ctypes.c_size_t), ("priority", DWORD), ("scheduling", DWORD))


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("basic", _BasicLimits), ("input_and_output", ctypes.c_uint64 * 6), ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t), ("process_peak", ctypes.c_size_t), ("job_peak", ctypes.c_size_t))


_create = declare(kernel32, "CreateJobObjectW", HANDLE, ctypes.c_void_p, wintypes.LPCWSTR)
_open = declare(kernel32, "OpenJobObjectW", HANDLE, DWORD, wintypes.BOOL, wintypes.LPCWSTR)
_assign = declare(kernel32, "AssignProcessToJobObject", wintypes.BOOL, HANDLE, HANDLE)
_terminate = declare(kernel32, "TerminateJobObject", wintypes.BOOL, HANDLE, wintypes.UINT)
_set = declare(kernel32, "SetInformationJobObject", wintypes.BOOL, HANDLE, ctypes.c_int, ctypes.c_void_p, DWORD)
_query = declare(kernel32, "QueryInformationJobObject", wintypes.BOOL, HANDLE, ctypes.c_int, ctypes.c_void_p, DWORD,
                 ctypes.c_void_p)


class Job:
    """A job object. Its processes die with the last handle to it, so with the process that made it at the latest."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def create(cls, name: str | None = None, attributes: SecurityAttributes | None = None) -> Job:
        """Return a new job whose processes die with us. One of that name that is there already is left alone, and the
        new one has none. Raise OSError."""
        made = ctypes.byref(attributes) if attributes is not None else None
        ctypes.set_last_error(0)
        handle = int(checked(_create(made, name)))
        if ctypes.get_last_error() == ERROR_ALREADY_EXISTS:
            close_handle(handle)
            handle = int(checked(_create(made, None)))
        job = cls(handle)
        job._dies_with_us(True)
        return job

    @classmethod
    def open(cls, name: str) -> Job | None:
        """Given the name of a job, return it, None if there is none that we may end."""
        handle = _open(JOB_OBJECT_TERMINATE | JOB_OBJECT_QUERY, False, name)
        return cls(int(handle)) if handle else None

    def take_in(self, process: int) -> None:
        """Given a handle of a process, take it into the job. Raise OSError."""
        checked(_assign(self.handle, process))

    def pids(self) -> set[int]:
        """Return the numbers of its living processes."""
        room = _ROOM
        while True:
            found = (ctypes.c_size_t * (room + 1))()      # two DWORDs, then the numbers, each as wide as a pointer
            if _query(self.handle, _BASIC_PROCESS_ID_LIST, found, ctypes.sizeof(found), None):
                listed = ctypes.cast(found, ctypes.POINTER(DWORD))[1]
                return set(found[1:1 + listed])
            if ctypes.get_last_error() != ERROR_MORE_DATA:
                raise trouble()
            room *= 4

    def end(self) -> None:
        """End all its processes, at once and without asking. Raise OSError."""
        checked(_terminate(self.handle, ENDED_BY_US))

    def let_go(self) -> None:
        """Give the job back, and let what is left in it live on. Raise OSError."""
        self._dies_with_us(False)
        close_handle(self.handle)

    def close(self) -> None:
        """Give the job back; without another handle to it, what is left in it dies."""
        close_handle(self.handle)

    def _dies_with_us(self, does: bool) -> None:
        limits = _ExtendedLimits()
        limits.basic.flags = _KILL_ON_JOB_CLOSE if does else 0
        checked(_set(self.handle, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)))
