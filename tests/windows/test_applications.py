"""Applications over the named pipe: the transport, the client's token, the client library, one event's life."""
from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agents import PATIENCE_S, World, world

from client_programs import ASYNC, BLOCKING, ClientPrograms
from tideover.api.named_pipe import pipe_name
from tideover.applications.admission import ApplicationAccess, unusable_tables
from tideover.applications.named_pipe import PipeTransport, find_user
from tideover.applications.server import ApplicationServer
from tideover.client_windows import PipeConnection
from tideover.effects import RunHook
from tideover.model import HookOutcome, HookPhase, HookSpec, Kind
from tideover.observations import ApplicationConnected, ApplicationGone, HookSettled, Observation
from tideover.settings.reader import read_settings
from tideover.settings.values import windows_paths
from tideover.system.clocks import read_moment
from tideover.winapi.security import SYSTEM, own_sid

MEDIA = HookSpec("media", 30, "", is_application=True)
FOREIGN = HookSpec("foreign", 31, "", user="SYSTEM", is_application=True)


class Serving:
    """A running server, and what it posts."""

    def __init__(self, name: str, connections_at_most: int = 64) -> None:
        self.seen: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.name = name
        specs = {spec.name: spec for spec in (MEDIA, FOREIGN)}
        self.server = ApplicationServer(
            Path(name), self.seen.put, ApplicationAccess(specs.get, lambda: (None,), connections_at_most),
            read_moment=read_moment, phase=lambda: "closed", keep_witness=lambda run: "", log=lambda name, line: None,
            on_problem=lambda reason: None)

    def next(self) -> Observation:
        return self.seen.get(timeout=PATIENCE_S)


class Client:
    """An application, line by line."""

    def __init__(self, name: str, hello: dict[str, object] | None = None) -> None:
        self.pipe, self._rest = PipeConnection(name), b""
        if hello is not None:
            self.send({"protocol": 1, "instance": "one", **hello})

    def send(self, message: object) -> None:
        self.pipe.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> Any:
        while b"\n" not in self._rest:
            data = self.pipe.recv(65536)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(pipe_name(str(tmp_path / "pipe")))
    yield made
    made.server.close()


def test_an_application_is_asked_over_the_pipe_and_its_answer_settles_the_run(serving: Serving) -> None:
    client = Client(serving.name, {"hello": "media"})
    assert client.read() == {"welcome": "media", "phase": "closed"}
    assert serving.next() == ApplicationConnected("media", "one")
    serving.server.start(RunHook(MEDIA, HookPhase.PREPARE, 17, 1, 20.0, "e", Kind.FREEZE), "trace")
    assert client.read()["prepare"]["run"] == 17
    client.send({"done": 17})
    settled = serving.next()
    assert isinstance(settled, HookSettled) and settled.report.outcome is HookOutcome.DONE
    client.pipe.close()
    assert serving.next() == ApplicationGone("media")


def test_the_clients_token_says_whose_process_it_is(serving: Serving) -> None:
    refused = Client(serving.name, {"hello": "foreign"})
    assert "names the user SYSTEM, not that of this process" in refused.read()["refused"]
    assert refused.read() is None
    assert (find_user("SYSTEM"), find_user(None)) == (SYSTEM, own_sid())


def test_a_table_whose_user_does_not_exist_is_named() -> None:
    settings = read_settings('[application.media]\nuser = "no-such-user"\n[application.own]\n', file="tideover.toml",
                             defaults=windows_paths("C:\\ProgramData"))
    assert unusable_tables(settings) == [("media", "no-such-user")]


def test_garbage_an_endless_line_and_a_second_instance_are_refused_in_one_line(serving: Serving) -> None:
    first = Client(serving.name, {"hello": "media"})
    assert "welcome" in first.read()
    assert Client(serving.name, {"hello": "media", "instance": "two"}).read()["refused"] == "media is connected already"
    for data, words in ((b"\xff" * 100 + b"\n", "not JSON"), (b"x" * 70000, "more than 64 KiB")):
        rude = Client(serving.name)
        rude.pipe.sendall(data)
        assert words in rude.read()["error"] and rude.read() is None


def test_silent_clients_make_room_for_one_that_speaks(serving: Serving) -> None:
    silent = [Client(serving.name) for _ in range(100)]
    assert "welcome" in Client(serving.name, {"hello": "media"}).read()
    deadline = time.monotonic() + PATIENCE_S
    while len(serving.server._peers) > 65:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for one in silent:
        one.pipe.close()


def test_a_listener_that_never_reads_is_dropped_and_the_others_get_each_change(serving: Serving) -> None:
    reads, never = (Client(serving.name, {"hello": name, "listen": True}) for name in ("eye", "deaf"))
    assert "welcome" in reads.read()
    deadline = time.monotonic() + PATIENCE_S
    while len(serving.server._peers) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for number in range(300):
        serving.server.tell_listeners({"event_id": "e", "phase": "preparing", "why": "x" * 2000, "number": number})
        assert reads.read()["event"]["number"] == number
    assert len(serving.server._peers) == 1
    never.pipe.close()


def test_the_name_of_the_pipe_is_free_again_at_once(tmp_path: Path) -> None:
    """A client that keeps its end open must not keep the next agent out."""
    name = pipe_name(str(tmp_path / "pipe"))
    before = Serving(name)
    held = Client(name, {"hello": "media"})
    assert "welcome" in held.read()
    before.server.close()
    after = PipeTransport(Path(name), lambda reason: None)
    after.close()
    held.pipe.close()


def test_a_client_waits_while_another_thread_reads_and_is_ended_by_shutdown(serving: Serving) -> None:
    client = Client(serving.name)
    ended: list[bytes] = []
    reading = threading.Thread(target=lambda: ended.append(client.pipe.recv(100)))
    reading.start()
    time.sleep(0.2)
    client.send({"hello": "eye", "protocol": 1, "listen": True})
    reading.join(PATIENCE_S)
    assert b"welcome" in ended[0]
    reading = threading.Thread(target=lambda: ended.append(client.pipe.recv(100)))
    reading.start()
    time.sleep(0.2)
    client.pipe.shutdown(2)
    reading.join(PATIENCE_S)
    assert ended[1] == b""


# --- a real agent, real processes

@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.configure("[application.first]\norder = 5\n[application.last]\norder = 30\n")
        made.hook("10-web.cmd")
        yield made


@pytest.fixture
def applications(here: World) -> Iterator[ClientPrograms]:
    made = ClientPrograms(here.home, pipe_name(str(here.home / "run" / "tideover.sock")) + "-applications")
    yield made
    made.close()


def both(here: World) -> bool:
    return here.ask("status").get("applications") == ["first", "last"]


def test_one_event_with_two_applications_and_a_hook_over_a_restart_of_the_agent(
        here: World, applications: ClientPrograms) -> None:
    """Prepared in order; killed and started again, the agent has the same instances back and prepares none twice."""
    here.start()
    applications.start("first", BLOCKING)
    applications.start("last", ASYNC)
    here.until(lambda: both(here))
    event = here.metadata.add_event("Freeze", duration_s=5)
    here.until(lambda: here.metadata.acknowledgements)
    assert [line.split()[:2] for line in applications.lines()] == [["first", "prepare"], ["last", "prepare"]]
    here.kill()
    here.start()
    here.until(lambda: both(here))
    here.until(lambda: here.metadata.status_of(event) == "Started")
    with here.stopped():
        time.sleep(2)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert [line.split()[:2] for line in applications.lines()] == [
        ["first", "prepare"], ["last", "prepare"], ["last", "recover"], ["first", "recover"]]
    assert len(here.metadata.acknowledgements) == 1
    assert here.stop() == 0
