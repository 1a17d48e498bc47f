"""Access to the machine for the clock check: files, devices, the kernel's clock state, other programs.

One value, so that a test can play any machine.
"""
from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tideover.clock.types import DEADLINE_S, MOST_BYTES, CommandResult
from tideover.system import ROOT
from tideover.system.commands import finish_command, start_command

# --- Other programs of the system: argument list, deadline, bounded output; never a shell

# Nothing of the agent's own environment. On Linux the language fixes what the programs print; those of Windows print in
# the system's language and code page, and no option changes that.
if sys.platform == "win32":
    from tideover.winapi.base import system_directory

    _DIRECTORY, _ENCODING = system_directory(), "oem"
    _ENVIRONMENT = {"SystemRoot": _DIRECTORY.rpartition("\\")[0], "PATH": _DIRECTORY}
    _SUFFIX = ".exe"
else:
    _DIRECTORY, _ENCODING = "/", "utf-8"
    _ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    _SUFFIX = ""


def run_command(arguments: Sequence[str], deadline_s: float = DEADLINE_S) -> CommandResult:
    """Given a program of the system and its arguments, run it until the deadline at most; return the beginning of what
    it printed."""
    name = Path(arguments[0]).name
    program = shutil.which(arguments[0] + _SUFFIX, path=_ENVIRONMENT["PATH"])
    if program is None:
        return CommandResult(trouble=f"{name} is not installed")
    try:
        ended = finish_command(start_command([program, *arguments[1:]], _ENVIRONMENT, _DIRECTORY), deadline_s,
                               MOST_BYTES)
    except subprocess.TimeoutExpired:
        return CommandResult(trouble=f"{name} did not end within {deadline_s:.3g} s")
    except OSError as error:
        return CommandResult(trouble=f"{name} cannot be run: {error.strerror or error}")
    text = ended.output.decode(_ENCODING, "replace").strip()
    if ended.status and not ended.was_cut:
        return CommandResult(text, f"{name} failed: {text[-200:] or f'exit status {ended.status}'}")
    return CommandResult(text)


# --- The kernel's clock discipline (adjtimex, read only)

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


# --- Access

if sys.platform == "win32":
    import psutil

    from tideover.winapi.base import read_value as read_registry

    def is_service_running(name: str) -> bool:
        """Given a service's name, return whether it runs now."""
        try:
            return psutil.win_service_get(name).status() == psutil.STATUS_RUNNING
        except (psutil.Error, OSError):     # there is none, or it is not ours to ask
            return False
else:
    def is_service_running(name: str) -> bool:
        """Only Windows has services."""
        return False

    def read_registry(key: str, name: str) -> str | int | bytes | list[str] | None:
        """Nothing: only Windows has one."""
        return None

CHRONY_MONITOR = ("127.0.0.1", 323)      # chrony's default `cmdport`, open to local users for monitoring
NTPD_CONTROL = ("127.0.0.1", 123)
# For a daemon on this machine, whose answer takes 0.1 ms; room for the crowd after a resume. A port where no program
# listens refuses at once.
TIMEOUT_S = 0.25


def read_device_ns(device: str) -> int:
    """Given a PTP clock's device, return its nanoseconds since 1970. Raise OSError if it cannot be read.

    A descriptor stands for a clock as ((~fd) << 3) | 3 (the kernel's FD_TO_CLOCKID).
    """
    if sys.platform == "win32":
        raise FileNotFoundError(errno.ENOENT, "Windows has no such devices", device)
    descriptor = os.open(device, os.O_RDONLY)
    try:
        return time.clock_gettime_ns((~descriptor << 3) | 3)
    finally:
        os.close(descriptor)


def random_fraction() -> float:
    """Return a number from 0 up to 1 that another machine would not draw as well."""
    return os.urandom(1)[0] / 256


@dataclass(frozen=True, slots=True)
class HostAccess:
    """Given a root of the file system and ways to reach the rest, the machine."""

    root: Path = ROOT
    chrony_monitor: tuple[str, int] = CHRONY_MONITOR
    chrony_socket: str = ""              # where chronyc finds chronyd; "": where it was built to look
    ntpd_control: tuple[str, int] = NTPD_CONTROL
    timeout_s: float = TIMEOUT_S
    read_device_ns: Callable[[str], int] = read_device_ns
    run: Callable[[Sequence[str]], CommandResult] = run_command
    registry: Callable[[str, str], str | int | bytes | list[str] | None] = read_registry    # below HKEY_LOCAL_MACHINE
    is_service_running: Callable[[str], bool] = is_service_running
    kernel_clock: Callable[[], KernelClock | None] = read_kernel_clock
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random_fraction

    def path(self, absolute: str) -> Path:
        """Given an absolute path of the machine, return where it lies for us."""
        return self.root / absolute.lstrip("/")


# --- Files of other programs: read with a bound, and without complaint. Never written

_MOST_BYTES = 262_144        # a configuration of a time daemon has a few kilobytes


def read_lines(path: Path) -> list[str]:
    """Given a file, return its lines; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
    except (OSError, ValueError):       # a name with a NUL in it is no file's
        return []


def is_there(path: Path) -> bool:
    """Whether there is such a file or directory; one in a directory this user may not enter is as good as none."""
    try:
        return path.exists()
    except OSError:
        return False


def process_runs(surroundings: HostAccess, pid_files: Iterable[str], command: str) -> bool:
    """Given pid files and a command's name, does one of them name a live process of that command?"""
    for pid_file in pid_files:
        number = "".join(read_lines(surroundings.path(pid_file))[:1]).strip()
        if number.isdecimal() and read_lines(surroundings.path(f"/proc/{number}/comm"))[:1] == [command]:
            return True
    return False


def first_of_each_name(directories: Sequence[Path], suffix: str) -> list[Path]:
    """Given directories, the strongest first, return their files in the order of their names, each name once."""
    found: dict[str, Path] = {}
    for directory in directories:
        try:
            names = sorted(path.name for path in directory.iterdir())
        except (OSError, ValueError):
            continue
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name, directory / name)
    return [found[name] for name in sorted(found)]
