"""What every world needs: is the program there, does the server serve, who may read its files."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..bench import Bench, Machine

PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"


FAKES = Path(__file__).parents[1] / "fakes"


def need(*programs: str) -> None:
    """Given programs a proof runs, skip it with the reason when one is not installed."""
    for program in programs:
        if shutil.which(program, path=PROGRAMS) is None:
            pytest.skip(f"{program} is not installed (tests/hooks/servers.txt says which package has it)")


def until(question: Callable[[], bool], what: str, longest_s: float = 30) -> None:
    """Given a question, ask it until it says yes. Raise AssertionError when it never does."""
    end = time.monotonic() + longest_s
    while not question():
        assert time.monotonic() < end, f"waited {longest_s} s in vain: {what}"
        time.sleep(0.05)


def answers(bench: Bench | Machine, *argv: str) -> str:
    """Given a command, return what it prints in that network, or the empty string when it fails."""
    try:
        done = subprocess.run([*bench.inside, *argv], capture_output=True, text=True, timeout=10,
                              env={"PATH": PROGRAMS, "HOME": "/root", "LANG": "C.UTF-8"})
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def listens(bench: Bench, address: str, port: int) -> bool:
    """Does a server accept connections there, seen from the clients?"""
    return bool(answers(bench, "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && echo yes"))


def fake(lab: Bench, machine: Machine, name: str, port: int, *more: str, log: Path) -> None:
    """Start one of our strict fakes on a machine and wait until it listens."""
    machine.start("/usr/bin/python3", str(FAKES / f"{name}.py"), machine.address, str(port), *more, log=log)
    until(lambda: listens(lab, machine.address, port), f"the fake {name} listens")


@contextmanager
def fake_on_loopback(name: str, *words: str, stderr: int | None = None) -> Iterator[str]:
    """Start one of our strict fakes here, on a port of its own; yield host and port once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(FAKES / f"{name}.py"), "127.0.0.1", str(port), *words],
                               env={**os.environ, "PYTHONUNBUFFERED": "1"}, stderr=stderr)
    try:
        until(lambda: _accepts(port), f"the fake {name} listens", 10)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def as_user(user: str, *paths: Path) -> tuple[str, ...]:
    """Given a server's user, give it the paths and return the command prefix that becomes it."""
    for path in paths:
        shutil.chown(path, user, user)
        parent = path
        while parent != Path("/tmp") and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
            parent = parent.parent
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")

