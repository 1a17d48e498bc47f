"""Job objects of Windows, and processes that are started in one. Everything else about processes is psutil's.

Jobs are pywin32's. Starting a process is ctypes': pywin32 has no attribute list, by which a process inherits two
handles and no more.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import wintypes
from dataclasses import dataclass
from typing import Any

import pywintypes
import win32api
import win32job

from tideover.winapi.base import (
    DWORD,
    HANDLE,
    check,
    close_handle,
    declare,
    kernel32,
    number_of,
    os_errors,
    wait_for_any,
)

# --- Job objects: a job holds every process started in it and all that those start
# learn.microsoft.com/windows/win32/procthread/job-objects. A process cannot leave a job that does not allow it,
# whatever it does; only what another service starts on its behalf (the service control manager, the task scheduler,
# WMI) is not in it. Needs Windows 8 or Server 2012 where the agent is in a job itself (nested jobs).

JOB_OBJECT_TERMINATE, JOB_OBJECT_QUERY = 0x8, 0x4
ERROR_ALREADY_EXISTS = 183
ENDED_BY_US = 1                 # exit status of what is ended; a hook's own report never comes from it


class Job:
    """A job object. Its processes die with the last handle to it, so with the process that made it at the latest."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def create(cls, name: str | None = None, attributes: Any = None) -> Job:
        """Return a new job whose processes die with us. One of that name that is there already is left alone, and the
        new one has one of its own. `attributes`: of `security_attributes`. Raise OSError."""
        make: Any = win32job.CreateJobObject
        unnamed = f"Local\\tideover-{os.getpid()}-{os.urandom(8).hex()}"      # pywin32 takes no job without a name
        with os_errors():
            win32api.SetLastError(0)
            handle = make(attributes, name or unnamed)
            if win32api.GetLastError() == ERROR_ALREADY_EXISTS:
                handle = make(attributes, unnamed)
            job = cls(number_of(handle))
            job._dies_with_us(True)
        return job

    @classmethod
    def open(cls, name: str) -> Job | None:
        """Given the name of a job, return it, None if there is none that we may end."""
        open_job: Any = win32job.OpenJobObject
        try:
            return cls(number_of(open_job(JOB_OBJECT_TERMINATE | JOB_OBJECT_QUERY, False, name)))
        except pywintypes.error:
            return None

    def take_in(self, process: int) -> None:
        """Given a handle of a process, take it into the job. Raise OSError."""
        with os_errors():
            win32job.AssignProcessToJobObject(self.handle, process)

    def pids(self) -> set[int]:
        """Return the numbers of its living processes."""
        with os_errors():
            return set(win32job.QueryInformationJobObject(self.handle, win32job.JobObjectBasicProcessIdList))

    def end(self) -> None:
        """End all its processes, at once and without asking. Raise OSError."""
        with os_errors():
            win32job.TerminateJobObject(self.handle, ENDED_BY_US)

    def let_go(self) -> None:
        """Give the job back, and let what is left in it live on. Raise OSError."""
        with os_errors():
            self._dies_with_us(False)
        close_handle(self.handle)

    def close(self) -> None:
        """Give the job back; without another handle to it, what is left in it dies."""
        close_handle(self.handle)

    def _dies_with_us(self, does: bool) -> None:
        kind = win32job.JobObjectExtendedLimitInformation
        limits = win32job.QueryInformationJobObject(self.handle, kind)
        limits["BasicLimitInformation"]["LimitFlags"] = win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE if does else 0
        win32job.SetInformationJobObject(self.handle, kind, limits)


# --- Processes

_CREATE_SUSPENDED, _CREATE_UNICODE_ENVIRONMENT, _CREATE_NO_WINDOW = 0x4, 0x400, 0x0800_0000
_EXTENDED_STARTUPINFO_PRESENT, _STARTF_USESTDHANDLES = 0x80000, 0x100
_ATTRIBUTE_HANDLE_LIST = 0x20002


class _StartupInfo(ctypes.Structure):
    _fields_ = (
        ("size", DWORD), ("reserved", wintypes.LPWSTR), ("desktop", wintypes.LPWSTR), ("title", wintypes.LPWSTR),
        ("place_and_size", DWORD * 7), ("flags", DWORD), ("show", wintypes.WORD), ("reserved_size", wintypes.WORD),
        ("reserved_2", ctypes.c_void_p), ("input", HANDLE), ("output", HANDLE), ("error", HANDLE),
        ("attributes", ctypes.c_void_p))


class _ProcessInformation(ctypes.Structure):
    _fields_ = (("process", HANDLE), ("thread", HANDLE), ("pid", DWORD), ("thread_id", DWORD))


_initialize = declare(kernel32, "InitializeProcThreadAttributeList", wintypes.BOOL, ctypes.c_void_p, DWORD, DWORD,
                      ctypes.POINTER(ctypes.c_size_t))
_update = declare(kernel32, "UpdateProcThreadAttribute", wintypes.BOOL, ctypes.c_void_p, DWORD, ctypes.c_size_t,
                  ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)
_delete = declare(kernel32, "DeleteProcThreadAttributeList", None, ctypes.c_void_p)
_create_process = declare(kernel32, "CreateProcessW", wintypes.BOOL, wintypes.LPCWSTR, wintypes.LPWSTR, ctypes.c_void_p,
                  ctypes.c_void_p, wintypes.BOOL, DWORD, ctypes.c_void_p, wintypes.LPCWSTR, ctypes.c_void_p,
                  ctypes.c_void_p)
_resume_thread = declare(kernel32, "ResumeThread", DWORD, HANDLE)
_terminate_process = declare(kernel32, "TerminateProcess", wintypes.BOOL, HANDLE, wintypes.UINT)
_exit_code = declare(kernel32, "GetExitCodeProcess", wintypes.BOOL, HANDLE, ctypes.POINTER(DWORD))


@dataclass(frozen=True, slots=True)
class Started:
    """A process that we started. `handle` is ours: it keeps the number from being used again."""

    pid: int
    handle: int


def start_in_job(command: str, environment: Mapping[str, str], directory: str, streams: tuple[int, int],
                 job: Job) -> Started:
    """Given a command line, its whole environment, where it starts, its input and its output (inheritable handles)
    and a job, start it there. It gets no window and no other handle of ours. Raise OSError.

    It is taken into the job before its first instruction: nothing that it starts can be outside.
    """
    information, size = _ProcessInformation(), ctypes.sizeof(_StartupInfo)
    flags = _CREATE_SUSPENDED | _CREATE_UNICODE_ENVIRONMENT | _CREATE_NO_WINDOW | _EXTENDED_STARTUPINFO_PRESENT
    block = ctypes.create_unicode_buffer(_environment_block(environment))
    line = ctypes.create_unicode_buffer(command)
    inlet, outlet = streams
    with _handing_over(sorted(set(streams))) as attributes:
        startup = _StartupInfo(size=size, flags=_STARTF_USESTDHANDLES, input=inlet, output=outlet, error=outlet,
                               attributes=attributes)
        check(_create_process(None, line, None, None, True, flags, block, directory, ctypes.byref(startup),
                        ctypes.byref(information)))
    try:
        job.take_in(information.process)
        check(_resume_thread(information.thread) != 0xFFFFFFFF)
    except OSError:
        _terminate_process(information.process, 1)
        close_handle(information.process)
        raise
    finally:
        close_handle(information.thread)
    return Started(information.pid, information.process)


def command_line(words: Sequence[str]) -> str:
    """Given words, return the line from which a C program reads them back. Not for cmd.exe, which reads its own way."""
    return subprocess.list2cmdline(words)


def has_exited(handle: int) -> bool:
    """Given a process, return whether it has ended."""
    return wait_for_any([handle], 0) is not None


def exit_code(handle: int) -> int:
    """Given a process that has ended, return its exit status, 0 to 2**32 - 1. Raise OSError."""
    code = DWORD()
    check(_exit_code(handle, ctypes.byref(code)))
    return code.value


@contextmanager
def _handing_over(handles: Sequence[int]) -> Iterator[int]:
    """The attribute list by which a new process inherits these handles and none besides."""
    size = ctypes.c_size_t()
    _initialize(None, 1, 0, ctypes.byref(size))
    attributes = ctypes.create_string_buffer(size.value)
    check(_initialize(attributes, 1, 0, ctypes.byref(size)))
    listed = (HANDLE * len(handles))(*handles)
    try:
        check(_update(attributes, 0, _ATTRIBUTE_HANDLE_LIST, listed, ctypes.sizeof(listed), None, None))
        yield ctypes.addressof(attributes)
    finally:
        _delete(attributes)


def _environment_block(environment: Mapping[str, str]) -> str:
    """Names are one whatever their case; the later of two counts. The block is sorted by them (CreateProcessW)."""
    names = {name.upper(): (name, value) for name, value in environment.items()}
    return "".join(f"{name}={value}\0" for _, (name, value) in sorted(names.items())) + "\0"
