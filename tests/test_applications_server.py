"""The server of applications, over real sockets. The engine's part is played: what it is told is kept."""
from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import time
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

from tideover.applications import admission, unix_socket
from tideover.applications.admission import ApplicationAccess
from tideover.applications.server import ApplicationServer
from tideover.effects import RunHook
from tideover.model import HookOutcome, HookPhase, HookSpec, Kind
from tideover.observations import ApplicationConnected, ApplicationGone, HookSettled
from tideover.system.clocks import read_moment

MEDIA = HookSpec("media", 30, "", is_application=True)
FOREIGN = HookSpec("foreign", 31, "", user="daemon", is_application=True)
NEEDED = HookSpec("needed", 32, "", is_application=True, fails_absent=True)
USERS = {None: os.geteuid(), "daemon": 1}


class World:
    """A running server, and what it posts."""

    def __init__(self, path: Path, connections_at_most: int = 64) -> None:
        self.seen: queue.SimpleQueue = queue.SimpleQueue()
        self.lines: list[tuple[str, str]] = []
        specs = {spec.name: spec for spec in (MEDIA, FOREIGN, NEEDED)}
        self.path = path
        self.server = ApplicationServer(
            path, self.seen.put, ApplicationAccess(specs.get, lambda: (None,), connections_at_most, USERS.get),
            read_moment=read_moment, phase=lambda: "closed", keep_witness=lambda run: "",
            log=lambda name, line: self.lines.append((name, line)), on_problem=lambda reason: None)

    def next(self, timeout_s: float = 5.0):
        return self.seen.get(timeout=timeout_s)


class Client:
    """An application, line by line."""

    def __init__(self, path: Path, name: str = "media", instance: str = "one", hello: bool = True, **more: object) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel.connect(str(path))        # waits where a timeout would have it fail: the queue may be full
        self.channel.settimeout(5.0)
        self.file = self.channel.makefile("rb")
        if hello:
            self.send({"hello": name, "protocol": 1, "instance": instance, **more})

    def send(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):      # it was refused before it had spoken
            self.channel.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> dict | None:
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self.file.close()
        self.channel.close()


@pytest.fixture
def world(tmp_path):
    running = World(tmp_path / "socket")
    yield running
    running.server.close()


def run(spec: HookSpec = MEDIA, number: int = 17, phase: HookPhase = HookPhase.PREPARE, limit_s: float = 20.0, resumed: str = "") -> RunHook:
    return RunHook(spec, phase, number, 1, limit_s, "e", Kind.FREEZE, resumed_instance=resumed)


def connected(world: World, **more: object) -> Client:
    client = Client(world.path, **more)
    assert client.read() == {"welcome": "media", "phase": "closed"}
    assert world.next() == ApplicationConnected("media", more.get("instance", "one"))
    return client


def settled(world: World, number: int = 17) -> HookSettled:
    while not isinstance(seen := world.next(), HookSettled):
        pass
    assert seen.run == number
    return seen


def test_an_application_that_is_connected_is_asked_and_its_answer_settles_the_run(world):
    client = connected(world)
    world.server.start(run(), "trace")
    asked = client.read()["prepare"]
    assert (asked["run"], asked["kind"], asked["trace_id"]) == (17, "freeze", "trace")
    client.send({"done": 17})
    report = settled(world).report
    assert (report.outcome, report.exit_status, report.begun) == (HookOutcome.DONE, 0, True)
    client.close()
    assert world.next() == ApplicationGone("media")


def test_an_application_that_is_away_has_nothing_to_prepare_or_has_failed_as_its_table_says(world):
    world.server._began_s -= 60.0
    world.server.start(run(), "t")
    assert (report := settled(world).report).outcome is HookOutcome.NOTHING and not report.begun
    world.server.start(run(NEEDED, 18), "t")
    assert (report := settled(world, 18).report).outcome is HookOutcome.FAILED and not report.begun
    assert report.note == "it is not connected"


@pytest.mark.slow
def test_just_after_the_agents_start_applications_have_a_moment_to_connect(world):
    world.server.start(run(), "t")
    time.sleep(0.5)
    client = connected(world)
    assert client.read()["prepare"]["run"] == 17


def test_a_cancelled_run_still_gives_one_answer_and_the_late_one_is_no_violation(world):
    client = connected(world)
    world.server.start(run(), "t")
    client.read()
    world.server.cancel(run())
    assert client.read() == {"cancel": {"run": 17}}
    client.send({"failed": 17, "why": "cancelled"})
    assert settled(world).report.outcome is HookOutcome.STOPPED
    client.send({"done": 17})
    world.server.start(run(number=18, phase=HookPhase.RECOVER), "t")
    assert client.read()["recover"]["run"] == 18
    assert ("media", "its answer came after the run was over") in world.lines


def test_a_run_that_takes_too_long_is_cancelled_and_has_timed_out(world):
    client = connected(world)
    world.server.start(run(limit_s=0.03), "t")
    client.read()
    assert client.read() == {"cancel": {"run": 17}}
    client.send({"done": 17})
    report = settled(world).report
    assert report.outcome is HookOutcome.TIMED_OUT and report.begun


def test_the_same_instance_goes_on_with_its_run_after_a_lost_connection(world):
    client = connected(world)
    world.server.start(run(), "t")
    client.read()
    client.close()
    again = Client(world.path)
    assert again.read()["welcome"] == "media" and again.read()["prepare"]["run"] == 17
    again.send({"done": 17})
    assert settled(world).report.outcome is HookOutcome.DONE


def test_another_instance_ends_the_run_of_the_one_before_as_failed(world):
    client = connected(world)
    world.server.start(run(), "t")
    client.read()
    client.close()
    other = Client(world.path, instance="two")
    seen = [world.next() for _ in range(3)]
    assert [type(one).__name__ for one in seen] == ["ApplicationGone", "HookSettled", "ApplicationConnected"]
    assert seen[1].report.outcome is HookOutcome.FAILED and seen[1].report.begun
    other.close()


@pytest.mark.slow
def test_a_connection_that_ends_for_good_fails_the_run(world):
    client = connected(world)
    world.server.start(run(), "t")
    client.read()
    client.close()
    assert settled(world).report.note == "the connection ended during the run"


def test_a_run_of_before_the_agents_restart_goes_on_with_its_instance_alone(world):
    client = connected(world)
    world.server.start(run(resumed="one"), "t")
    assert client.read()["prepare"]["run"] == 17
    client.send({"done": 17})
    assert settled(world).report.outcome is HookOutcome.DONE
    world.server.start(run(number=18, resumed="another"), "t")
    report = settled(world, 18).report
    assert report.outcome is HookOutcome.FAILED and report.begun


def test_a_second_process_is_refused_while_the_first_lives(world):
    first = connected(world)
    second = Client(world.path, instance="two")
    assert second.read()["refused"] == "media is connected already" and second.read() is None
    first.close()


@pytest.mark.parametrize(("hello", "words"), [
    ({"name": "nobody"}, "no [application.nobody]"), ({"name": "foreign"}, "names the user daemon"),
    ({"protocol": 2}, "protocol 2 is not spoken"),
])
def test_a_client_that_may_not_take_part_is_refused_with_the_reason_and_the_protocols(world, hello, words):
    client = Client(world.path, **hello)
    answer = client.read()
    assert words in answer["refused"] and answer["protocols"] == [1] and client.read() is None


@pytest.mark.parametrize("data", [b"\xff" * 100 + b"\n", b"x" * 70000, b'{"done": 17}\n', b"GET / HTTP/1.1\r\n\r\n"],
                         ids=["binary", "too long", "answer first", "http"])
def test_a_violation_is_answered_with_one_line_and_the_connection_ends(world, data):
    client = Client(world.path, hello=False)
    client.channel.sendall(data)
    assert "error" in client.read() and client.read() is None


def test_garbage_beside_it_does_not_disturb_the_run_of_an_application(world):
    client = connected(world)
    world.server.start(run(), "t")
    for _ in range(20):
        Client(world.path, hello=False).channel.sendall(os.urandom(200) + b"\n")
    client.read()
    client.send({"done": 17})
    assert settled(world).report.outcome is HookOutcome.DONE


def test_a_user_has_so_many_connections_and_no_more(tmp_path):
    world = World(tmp_path / "socket", connections_at_most=3)
    clients = [Client(world.path, name="eye", listen=True) for _ in range(3)]
    assert all("welcome" in client.read() for client in clients)
    assert "3 connections" in Client(world.path, hello=False).read()["refused"]
    clients[0].close()
    until = time.monotonic() + 5
    while time.monotonic() < until and "welcome" not in (Client(world.path, name="eye", listen=True).read() or {}):
        time.sleep(0.05)
    assert time.monotonic() < until
    world.server.close()


@pytest.mark.slow
def test_a_client_that_is_gone_before_its_welcome_does_not_keep_its_name_taken(world):
    for number in range(200):
        hasty = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hasty.connect(str(world.path))
        hasty.sendall(json.dumps({"hello": "media", "protocol": 1, "instance": f"hasty {number}"}).encode() + b"\n")
        hasty.close()
    until, answer = time.monotonic() + 20, {}
    while time.monotonic() < until and "welcome" not in answer:
        answer = Client(world.path).read() or {}
    assert "welcome" in answer


def test_users_that_no_table_names_are_counted_together(world, monkeypatch):
    numbers = iter(range(5000, 6000))
    monkeypatch.setattr(unix_socket, "peer_of", lambda channel: (0, next(numbers)))
    silent = [Client(world.path, hello=False) for _ in range(admission.UNNAMED_USERS_AT_MOST)]
    assert "no table names" in Client(world.path, hello=False).read()["refused"]
    monkeypatch.undo()
    assert connected(world)
    for client in silent:
        client.close()


def test_connections_leave_the_agent_the_descriptors_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(admission, "connections_possible", lambda: 2)
    world = World(tmp_path / "socket")
    clients = [Client(world.path, name="eye", listen=True) for _ in range(2)]
    assert all("welcome" in client.read() for client in clients)
    assert "no descriptors to spare" in Client(world.path, hello=False).read()["refused"]
    world.server.close()


def test_an_application_that_connects_in_a_tight_loop_has_to_wait(world):
    """Each time it connects the agent may have to prepare it, and writes that down."""
    taken = 0
    for number in range(40):
        client = Client(world.path, instance=f"storm {number}")
        answer = client.read()
        taken += "welcome" in answer
        client.close()
        while "welcome" in answer and world.next() != ApplicationGone("media"):
            pass
    assert 10 <= taken < 20 and "too often" in answer["refused"]


def test_answers_that_nothing_asked_for_are_ignored_and_logged_a_few_times_only(world):
    client = connected(world)
    for number in range(1000):
        client.send({"done": number})
    world.server.start(run(number=2000), "t")
    assert client.read()["prepare"]["run"] == 2000
    client.send({"done": 2000})
    assert settled(world, 2000).report.outcome is HookOutcome.DONE
    assert len(world.lines) == 10


def test_listeners_get_each_change_and_one_that_never_reads_is_dropped(world):
    reads, never = Client(world.path, name="eye", listen=True), Client(world.path, name="deaf", listen=True)
    reads.read()
    never.channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for number in range(300):
        world.server.tell_listeners({"event_id": "e", "phase": "preparing", "why": "x" * 2000, "number": number})
        assert reads.read()["event"]["number"] == number
    assert world.server._here.connections == {}
    assert len(world.server._peers) == 1


def test_the_socket_is_open_to_every_user_and_gone_when_the_server_is(world):
    assert world.path.stat().st_mode & 0o777 == 0o666
    world.server.close()
    assert not world.path.exists()
