"""A network of its own in which loopback has the platform's address, and what is run in it."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_agent import environment

PLATFORM = "169.254.169.254"
PATIENCE_S = 60.0


class Place:
    """`said`: the output of `tideover simulate`, as far as it has come."""

    def __init__(self, keeper: int, said: Path) -> None:
        self._inside, self._said = ["nsenter", "-t", str(keeper), "-n"], said

    def start(self, *words: str, **more: object) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._inside, *words], text=True, **more)  # type: ignore[call-overload, no-any-return]

    def run(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._inside, *words], text=True, capture_output=True, env=env, timeout=PATIENCE_S)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until(self, words: str, count: int = 1) -> str:
        end = time.monotonic() + PATIENCE_S
        while self.said.count(words) < count:
            assert time.monotonic() < end, f"{words!r} never came:\n{self.said}"
            time.sleep(0.02)
        return self.said


@contextlib.contextmanager
def simulated(home: Path, *words: str) -> Iterator[Place]:
    """A place with `tideover simulate` at the platform's address, port 80."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a network namespace")
    keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", f"ip link set lo up && ip address add {PLATFORM}/32 dev lo && "
                               "echo ready && exec sleep 600"], stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None and keeper.stdout.readline() == "ready\n"
    place = Place(keeper.pid, home / "said")
    with (home / "said").open("w") as said:
        service = place.start(sys.executable, "-m", "tideover", "simulate", *words, "--listen", f"{PLATFORM}:80",
                              env=environment() | {"PYTHONUNBUFFERED": "1"}, stdout=said, stderr=said)
    try:
        place.until("Ctrl-C ends it")
        yield place
        service.send_signal(signal.SIGINT)
        assert service.wait(PATIENCE_S) == 0
    finally:
        for process in (service, keeper):
            process.kill()
            process.wait()
