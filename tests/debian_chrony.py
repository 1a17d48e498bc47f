"""A real chrony for the tests: this machine's own, or Debian's package unpacked into the user's cache. Never installed.

The daemons run on loopback with -x: they measure, and do not touch this machine's clock.
"""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tideover.clock.host import run_command
from tideover.clock.types import CommandResult

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tideover" / "debian-chrony"


@dataclass(frozen=True)
class Chrony:
    """The two programs."""

    chronyd: str
    chronyc: str

    @contextmanager
    def serving(self, directory: Path) -> Iterator[int]:
        """A time server that serves this machine's own time on a free port of loopback."""
        port = free_port()
        with self._running(directory / "server", [
                "local stratum 2", "allow 127/8", f"port {port}", "bindaddress 127.0.0.1", "cmdport 0",
                "bindcmdaddress /"]):
            yield port

    @contextmanager
    def following(self, directory: Path, server_port: int) -> Iterator[tuple[str, tuple[str, int]]]:
        """A client of that server; gives its command socket and its monitoring port."""
        monitor, commands = free_port(), directory / "run" / "chronyd.sock"
        commands.parent.mkdir(mode=0o750)
        with self._running(directory / "client", [
                f"server 127.0.0.1 port {server_port} iburst minpoll 2 maxpoll 2", "server 127.0.0.77 port 9", "port 0",
                f"cmdport {monitor}", "bindcmdaddress 127.0.0.1", f"bindcmdaddress {commands}", "makestep 1.0 -1"]):
            yield str(commands), ("127.0.0.1", monitor)

    @contextmanager
    def _running(self, directory: Path, lines: Sequence[str]) -> Iterator[None]:
        directory.mkdir(mode=0o750)
        configuration = directory / "chrony.conf"
        configuration.write_text("\n".join([*lines, f"pidfile {directory}/pid", ""]))
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen([self.chronyd, "-x", "-n", "-u", "root", "-f", str(configuration)],
                                       stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)

    def run(self, arguments: Sequence[str]) -> CommandResult:
        """As the agent's own `run_command`, with the chronyc that belongs to this chronyd."""
        return run_command([self.chronyc if arguments[0] == "chronyc" else arguments[0], *arguments[1:]])


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose sockets have short enough names."""
    path = Path(tempfile.mkdtemp(prefix="tideover-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def find_chrony() -> Chrony:
    """Return a real chrony, or skip the test with the reason."""
    if os.geteuid() != 0:
        pytest.skip("chronyd wants root even with -x")
    installed = shutil.which("chronyd", path="/usr/sbin:/usr/bin"), shutil.which("chronyc", path="/usr/sbin:/usr/bin")
    if installed[0] and installed[1]:
        return Chrony(installed[0], installed[1])
    unpacked = Chrony(str(CACHE / "usr/sbin/chronyd"), str(CACHE / "usr/bin/chronyc"))
    if not Path(unpacked.chronyd).exists():
        _unpack()
    ended = subprocess.run([unpacked.chronyd, "-v"], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"chronyd does not run here: {ended.stderr.strip()}")
    return unpacked


def _unpack() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip("no chrony here, and no apt to bring one")
    CACHE.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(["apt-get", "download", "chrony"], cwd=CACHE, capture_output=True, text=True, check=False)
    packages = sorted(CACHE.glob("chrony_*.deb"))
    if not packages:
        pytest.skip(f"chrony's package cannot be had: {ended.stderr.strip()[-200:]}")
    subprocess.run(["dpkg", "-x", str(packages[-1]), str(CACHE)], check=True)


def wait_for(happens: object, limit_s: float = 20.0) -> float:
    """Wait until it happens; return how long it took."""
    began = time.monotonic()
    while not happens():  # type: ignore[operator]
        assert time.monotonic() - began < limit_s
        time.sleep(0.1)
    return time.monotonic() - began
