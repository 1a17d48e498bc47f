"""Configuration files of time daemons: read with a bound, and without complaint. Never written."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tideover.clock.host import HostAccess
from tideover.clock.types import Origin, TimeSource
from tideover.timekeeping.ntp_packet import PORT

_MOST_BYTES = 262_144        # a configuration of a time daemon has a few kilobytes
_POOL_ZONES = ("ntp.ubuntu.com",)      # a public pool whose name does not say so


def lines(path: Path) -> list[str]:
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
        number = "".join(lines(surroundings.path(pid_file))[:1]).strip()
        if number.isdecimal() and lines(surroundings.path(f"/proc/{number}/comm"))[:1] == [command]:
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


def server(host: str, port: int = PORT, is_pool: bool = False) -> TimeSource:
    """Given a daemon's server as its configuration names it, return the source we make of it."""
    text = host if port == PORT else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return TimeSource(text, Origin.POOL if is_pool or is_pool_name(host) else Origin.DAEMON)


def is_pool_name(host: str) -> bool:
    """Is this a name of pool.ntp.org, one of its vendor zones, or something that calls itself a pool?"""
    name = host.lower().rstrip(".")
    return "pool" in name.split(".") or name in _POOL_ZONES


def each_once(sources: Iterable[TimeSource]) -> tuple[TimeSource, ...]:
    """Given sources in order, return them without repetitions; a name that is a pool anywhere is one."""
    found: dict[str, TimeSource] = {}
    for source in sources:
        if source.server not in found or source.origin is Origin.POOL:
            found[source.server] = source
    return tuple(found.values())
