"""The whole life of an event, driven from outside, while something around the agent is out of order: prepared,
acknowledged, recovered by a good clock, recorded with its pause."""
from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.disks import Disk, own_mounts
from faults.table import trial
from running_agent import AGENT, World, environment, world
from tideover.simulator.http import InjectedFault

PROBED_WITHIN_S = 0.5
HALF_OPEN = 64
PROTECTED = "prepared, acknowledged, recovered, recorded"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Life:
    """One event on one agent. What is out of order says so with the names of the moments: `started`, `acknowledged`,
    `recovered`."""

    def __init__(self, here: World, befall: dict[str, Callable[[Life], None]]) -> None:
        self.here, self._befall = here, befall
        self.health, self.metrics = free_port(), free_port()
        self.package, self.stderr = AGENT, -1
        here.hook("10-app")
        here.configure(f'[health]\nlisten = "127.0.0.1:{self.health}"\n[metrics]\nlisten = "127.0.0.1:{self.metrics}"')

    def start(self, *python: str) -> None:
        with contextlib.ExitStack() as opened:
            log = self.stderr if self.stderr >= 0 else opened.enter_context((self.here.home / "agent.log").open("ab"))
            self.agent = subprocess.Popen(
                [sys.executable, *python, "-m", "tideover", "run", "--config", str(self.here.home / "tideover.toml")],
                env=environment() | {"PYTHONPATH": str(self.package), "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=log, stderr=log, cwd="/")
        self.here.agents.append(self.agent)
        self.here.until(lambda: len(self.here.metadata.requests) > 2)
        self.here.until(lambda: self.probe() == 200)
        time.sleep(0.5)
        self.comes_to("started")

    def comes_to(self, moment: str) -> None:
        self._befall.get(moment, lambda life: None)(self)

    def probe(self) -> int:
        with contextlib.suppress(urllib.request.HTTPError), contextlib.suppress(OSError):
            return int(urllib.request.urlopen(f"http://127.0.0.1:{self.health}/healthz", timeout=10).status)
        return 0

    def run(self) -> None:
        here = self.here
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        self.comes_to("acknowledged")
        here.until(lambda: here.metadata.status_of(event_id) == "Started")
        time.sleep(0.5)
        with here.stopped():
            time.sleep(1.5)
        time.sleep(0.5)
        here.metadata.remove_event(event_id)
        here.until(lambda: here.begun() == ["app prepare", "app recover"])
        self.comes_to("recovered")
        here.until(lambda: here.record()["status"] == "closed")
        record = here.record()
        assert [(run["name"], run["phase"], run["outcome"]) for run in record["hooks"]] == [
            ("app", "prepare", "done"), ("app", "recover", "done")]
        assert record["acknowledged_at"] and record["closed_at"] and len(here.metadata.acknowledgements) == 1
        assert here.begun() == ["app prepare", "app recover"] and not list((here.home / "state/hooks").glob("app"))
        assert record["outcome"] == "resumed" and any(pause["length_s"] >= 1.0 for pause in record["pauses"])
        assert record["clock"]["verdict"] == "good"
        assert [line[6] for line in here.lines() if line[2] == "recover"] == ["good"]

    def stop(self) -> None:
        assert self.agent.poll() is None, "it lives"
        self.agent.terminate()
        assert self.agent.wait(15) == 0
        assert "Traceback" not in self.here.said()


# --- what is out of order ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def log_pipe_full(here: World) -> Iterator[Life]:
    """The agent's output is not read, from the start."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    life = Life(here, {})
    life.stderr = writing
    yield life
    os.close(reading)
    os.close(writing)


def leave(free: int) -> Callable[[Life], None]:
    """Lower the agent's limit until so many descriptors are free."""
    def lower(life: Life) -> None:
        taken = {int(file.name) for file in Path(f"/proc/{life.agent.pid}/fd").iterdir()}
        limit = max(limit for limit in range(max(taken) + free + 2) if len(set(range(limit)) - taken) == free)
        hard = resource.prlimit(life.agent.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(life.agent.pid, resource.RLIMIT_NOFILE, (limit, hard))

    return lower


@contextlib.contextmanager
def three_descriptors(here: World) -> Iterator[Life]:
    yield Life(here, {"started": leave(3)})


@contextlib.contextmanager
def no_descriptor(here: World) -> Iterator[Life]:
    yield Life(here, {"started": leave(0)})


class Crowd:
    """Clients that begin a request and say no more; who is shown out comes back."""

    def __init__(self, doors: list[tuple[int, object, bytes]]) -> None:
        self._doors, self._ended = doors, threading.Event()
        self._threads = [threading.Thread(target=self._besiege, args=door, daemon=True) for door in doors]
        for thread in self._threads:
            thread.start()

    def _besiege(self, family: int, address: object, half: bytes) -> None:
        clients: list[socket.socket] = []
        while not self._ended.wait(0.05):
            while len(clients) < HALF_OPEN:
                client = socket.socket(family, socket.SOCK_STREAM)
                try:
                    client.connect(address)
                    client.sendall(half)
                except OSError:
                    client.close()
                    break
                client.setblocking(False)
                clients.append(client)
            clients = [client for client in clients if not self._was_shown_out(client)]
        for client in clients:
            client.close()

    @staticmethod
    def _was_shown_out(client: socket.socket) -> bool:
        try:
            client.recv(100)
        except BlockingIOError:
            return False
        except OSError:
            pass
        client.close()
        return True

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def crowds(here: World) -> Iterator[Life]:
    crowd: list[Crowd] = []
    half = b"GET /healthz HTTP/1.1\r\n"

    def gather(life: Life) -> None:
        crowd.append(Crowd([(socket.AF_INET, ("127.0.0.1", life.health), half),
                            (socket.AF_INET, ("127.0.0.1", life.metrics), half),
                            (socket.AF_UNIX, str(here.home / "run" / "tideover.sock"), b'{"ask": "sta')]))
        time.sleep(1.0)
        probe(life)

    def probe(life: Life) -> None:
        for path in (f"{life.health}/healthz", f"{life.metrics}/metrics"):
            begun = time.monotonic()
            with contextlib.suppress(urllib.request.HTTPError):      # 503: it drains
                urllib.request.urlopen(f"http://127.0.0.1:{path}", timeout=10).read()
            assert time.monotonic() - begun < PROBED_WITHIN_S, path
        from tideover.api.protocol import ask
        begun = time.monotonic()
        assert ask(here.home / "run" / "tideover.sock", here.home / "state", {"ask": "status"})["ok"]
        assert time.monotonic() - begun < PROBED_WITHIN_S, "the control socket"

    yield Life(here, {"started": gather, "acknowledged": probe, "recovered": probe})
    crowd[0].end()


@contextlib.contextmanager
def disk_full(here: World) -> Iterator[Life]:
    with own_mounts():
        disk = Disk(here.home / "state")
        yield Life(here, {"acknowledged": lambda life: disk.fill(), "recovered": lambda life: disk.make_room()})
        here.close()
        disk.remove()


@contextlib.contextmanager
def configuration_faulty(here: World) -> Iterator[Life]:
    def spoil(life: Life) -> None:
        (here.home / "tideover.toml").write_text("[policy\nmode = 7\n")
        life.agent.send_signal(signal.SIGHUP)

    yield Life(here, {"acknowledged": spoil})


@contextlib.contextmanager
def package_removed(here: World) -> Iterator[Life]:
    life = Life(here, {"started": lambda life: shutil.rmtree(life.package / "tideover")})
    life.package = here.home / "package"
    shutil.copytree(AGENT / "tideover", life.package / "tideover", ignore=shutil.ignore_patterns("__pycache__"))
    yield life


@pytest.mark.parametrize("disorder", [log_pipe_full, three_descriptors, no_descriptor, crowds, disk_full, configuration_faulty,
                                      package_removed], ids=lambda disorder: disorder.__name__)
def test_the_whole_life_of_an_event_while_something_is_out_of_order(tmp_path, disorder):
    with trial(disorder.__name__.replace("_", " "), "the whole life, from outside", PROTECTED), \
            world(tmp_path) as here, disorder(here) as life:
        life.start()
        life.run()
        life.stop()


# --- nothing is imported once an event may come -----------------------------------------------------------------------

def imports(here: World) -> list[str]:
    """What was imported after the agent had reported that it runs (python -X importtime)."""
    said = here.said()
    after = said[said.index("agent.started"):]
    return [line.rpartition("|")[2].strip() for line in after.splitlines() if line.startswith("import time:")]


FAILS_AT_FIRST = """
if [ "$1" = recover ] && [ ! -e {flag} ]; then exit 1; fi
if [ "$1" = prepare ]; then sleep 30; fi
"""


def test_what_an_event_needs_is_loaded_before_the_agent_is_ready_also_for_what_goes_wrong(tmp_path):
    """The package is removed in the middle. A hook that takes too long and cannot recover at first, answers that are no
    document, time servers that do not answer, a recover by hand over the socket, a reload, a stop."""
    flag = tmp_path / "may-recover"
    with world(tmp_path) as here, package_removed(here) as life:
        here.hook("20-slow", FAILS_AT_FIRST.format(flag=flag))
        path = here.home / "tideover.toml"
        path.write_text(path.read_text().replace("[health]", '[hook.slow]\ntimeout = "1s"\n[health]')
                        .replace('deadline = "60s"', 'deadline = "2s"'))
        life.start("-X", "importtime")
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: "outcome=timed-out" in here.said())
        for fault in (InjectedFault(status=503), InjectedFault(body=b"nonsense"), InjectedFault(raw=b"nonsense"), InjectedFault(reset=True)):
            here.metadata.inject_fault(fault)
        here.until(lambda: "poll.recovered" in here.said())
        here.time_server.silent = True
        here.metadata.remove_event(event_id)
        here.until(lambda: "slow recover" in here.begun())
        here.until(lambda: json.loads(here.command("status", "--json").stdout)["recover_pending"] == ["slow"], 60)
        flag.touch()
        done = here.command("recover", "--yes") if "--yes" in here.command("recover", "--help").stdout \
            else here.command("recover")
        assert done.returncode == 0, done.stderr
        here.until(lambda: here.record()["status"] == "closed")
        life.agent.send_signal(signal.SIGHUP)
        here.until(lambda: "configuration.read" in here.said())
        assert life.probe() == 200
        life.stop()
        assert imports(here) == []

