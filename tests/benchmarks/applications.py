"""Applications over the socket: how fast one is asked, and what many listening clients cost the agent.

    python -m benchmarks.applications [--rounds 100] [--clients 500] [--seconds 30]   (in tests/, with the package importable)

Prints from the answer that shows an event to the first application's line: median, 95th percentile, worst, without and
with so many listening clients; and what the agent costs while nothing happens, without and with them: CPU time, wake-ups, memory.
The client that measures, and those that listen, live in this process. Asserts nothing: the machine's other work is in
the figures.
"""
from __future__ import annotations

import argparse
import json
import resource
import selectors
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.idle import _cpu_s, _resident_mib, _wakes
from benchmarks.reaction import _print, _shown_at
from running_agent import World, world

TABLES = """
[applications]
connections = 2000
[application.first]
order = 5
[application.second]
order = 15
"""


@dataclass(frozen=True)
class Idle:
    """What the agent costs while nothing happens: CPU milliseconds and wake-ups a second, resident MiB."""

    cpu_ms: float
    wakes: float
    resident_mib: float


class Participant:
    """An application that answers at once and keeps when it was asked, on the wall clock."""

    def __init__(self, path: Path, name: str) -> None:
        self.asked: list[tuple[str, float]] = []
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel.connect(str(path))
        self._send({"hello": name, "protocol": 1, "instance": "measured"})
        self._lines = self._channel.makefile("rb")
        assert b"welcome" in self._lines.readline()
        threading.Thread(target=self._answer, daemon=True).start()

    def _send(self, message: object) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _answer(self) -> None:
        for line in self._lines:
            at = time.time()
            message = json.loads(line)
            phase = next((one for one in ("prepare", "recover") if one in message), None)
            if phase is not None:
                self.asked.append((phase, at))
                self._send({"done": message[phase]["run"]})


class Listeners:
    """So many clients that listen and read what they are sent."""

    def __init__(self, path: Path, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            channel.connect(str(path))
            channel.sendall(b'{"hello": "eye", "protocol": 1, "listen": true}\n')
            assert b"welcome" in channel.recv(1024)
            self._selector.register(channel, selectors.EVENT_READ)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                channel = key.fileobj
                if isinstance(channel, socket.socket) and not channel.recv(65536):
                    self._selector.unregister(channel)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--seconds", type=float, default=30.0)
    chosen = options.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), start_after_s=60.0) as here:
        here.hook("10-only")
        here.configure(TABLES)
        agent = here.start()
        path = here.home / "run/applications/socket"
        first, _ = Participant(path, "first"), Participant(path, "second")
        time.sleep(2.0)
        _print("answer shows the event -> first application's line", _rounds(here, first, chosen.rounds))
        alone = _idle(agent.pid, chosen.seconds)
        Listeners(path, chosen.clients)
        time.sleep(2.0)
        among = _idle(agent.pid, chosen.seconds)
        for who, idle in (("no listener", alone), (f"{chosen.clients} listeners", among)):
            print(f"{who}: {idle.cpu_ms:.2f} ms CPU a second, {idle.wakes:.1f} wake-ups a second, {idle.resident_mib:.1f} MiB")
        _print(f"the same among {chosen.clients} listeners", _rounds(here, first, chosen.rounds))


def _rounds(here: World, first: Participant, count: int) -> list[float]:
    asked_ms = []
    for _ in range(count):
        posted, known, added = len(here.metadata.acknowledgements), len(first.asked), time.time()
        event = here.freeze()
        here.until(lambda: len(here.metadata.acknowledgements) > posted)     # noqa: B023
        phase, at = first.asked[known]
        assert phase == "prepare"
        asked_ms.append((at - _shown_at(here.metadata, added)) * 1000)
        here.metadata.remove_event(event)
        here.until(lambda: len(first.asked) >= known + 2 and here.record()["status"] == "closed")   # noqa: B023
    return asked_ms


def _idle(pid: int, seconds: float) -> Idle:
    cpu_s, wakes, begun = _cpu_s(pid), _wakes(pid), time.monotonic()
    time.sleep(seconds)
    lasted_s = time.monotonic() - begun
    return Idle((_cpu_s(pid) - cpu_s) / lasted_s * 1000, (_wakes(pid) - wakes) / lasted_s, _resident_mib(pid))


if __name__ == "__main__":
    main()
