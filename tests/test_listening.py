"""Those who listen: no client keeps another one out, and what the system cannot give now is asked for again."""
from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from hooks_tried import await_that
from tideover.api.protocol import ApiServer, connect, read_line
from tideover.daemon.listeners import MetricsExport
from tideover.http_server import CONNECTIONS_AT_MOST, ConnectionLimits, ConnectionListener, HealthPage
from tideover.logs import Log
from tideover.metrics.exporters import MetricsPage
from tideover.settings.types import Address
from tideover.settings.values import MetricsSettings
from tideover.simulator.http import HttpServer, SimulatedResponse

HALF_OPEN = 64
AT_ONCE_S = 0.5


def http(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as channel:
        channel.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\n\r\n")
        return channel.recv(4096)


def ask(path, question):
    """What the server at the socket answers, without the version it names; None: nothing."""
    with contextlib.closing(connect(path, 5.0)) as channel:
        channel.send(json.dumps(question).encode() + b"\n")
        line = read_line(channel, 1 << 20)
    return {key: value for key, value in json.loads(line).items() if key not in ("api", "version")} if line else None


class Door:
    """One listening part of the agent, as a probe uses it."""

    def __init__(self, kind: str, place, told=lambda reason: None) -> None:
        self.kind, self.path = kind, place / "door.sock"
        if kind == "health":
            self.part = HealthPage("127.0.0.1", 0, lambda: None, told)
        elif kind == "metrics":
            self.part = MetricsPage("127.0.0.1", 0, lambda: b"figures\n", "text/plain", told)
        else:
            self.part = ApiServer(self.path, {"status": lambda question: {"ok": True}}, told)

    def begin(self) -> socket.socket:
        """A client that says half of what it wants."""
        if self.kind == "api":
            channel = socket.socket(socket.AF_UNIX)
            channel.connect(str(self.path))
            channel.sendall(b'{"ask": "sta')
        else:
            channel = socket.create_connection(("127.0.0.1", self.part.port))
            channel.sendall(b"GET /healthz HTTP/1.1\r\n")
        return channel

    def probe(self) -> bool:
        if self.kind == "api":
            return ask(self.path, {"ask": "status"}) == {"ok": True}
        return http(self.part.port, {"health": "/healthz", "metrics": "/metrics"}[self.kind]).startswith(b"HTTP/1.1 200")


@pytest.fixture(params=["health", "metrics", "api"])
def door(request, tmp_path):
    made = Door(request.param, tmp_path)
    yield made
    made.part.close()


def test_a_probe_is_answered_beside_clients_that_say_half_of_it(door):
    clients = [door.begin() for _ in range(HALF_OPEN)]
    for _ in range(3):
        begun = time.monotonic()
        assert door.probe()
        assert time.monotonic() - begun < AT_ONCE_S
    for client in clients:
        client.close()
    assert door.probe()


def test_the_number_of_connections_is_bounded_and_the_oldest_makes_room(door):
    clients = [door.begin() for _ in range(CONNECTIONS_AT_MOST - 20)]
    assert door.probe(), "and none of them waits to be let in"
    clients += [door.begin() for _ in range(40)]
    assert door.probe()
    assert len(door.part._listening._clients if door.kind != "api" else door.part._listener._listening._clients) \
        <= CONNECTIONS_AT_MOST
    clients[0].settimeout(0.1)
    with contextlib.suppress(ConnectionResetError):
        assert clients[0].recv(10) == b"", "the oldest was let go"
    for client in clients:
        client.close()


class NoRoom(socket.socket):
    """A socket that listens and for which the system has no room, for as long as `last_error` says."""

    trouble: int | None = None
    tries = 0

    def accept(self):
        NoRoom.tries += 1
        if NoRoom.trouble is not None:
            raise OSError(NoRoom.trouble, "no room")
        return super().accept()


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(socket, "socket", NoRoom)
    monkeypatch.setattr("tideover.http_server.FIRST_REST_S", 0.005)
    monkeypatch.setattr("tideover.simulator.http.REST_S", 0.005)
    yield NoRoom
    NoRoom.trouble, NoRoom.tries = None, 0


@pytest.mark.parametrize("kind", ["health", "metrics", "api"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED, *(
    pytest.param(other, marks=pytest.mark.slow) for other in (errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINTR))],
    ids=errno.errorcode.get)
def test_what_the_system_cannot_give_is_reported_once_and_asked_for_again(kind, number, tmp_path, no_room):
    told: list[str | None] = []
    door = Door(kind, tmp_path, told.append)
    no_room.trouble, no_room.tries = number, 0
    waiting = door.begin()
    await_that(lambda: no_room.tries >= 2)
    tries = no_room.tries
    no_room.trouble = None
    assert door.probe(), "it answers again"
    assert told == (["no room"] if number != errno.ECONNABORTED else []), "one line"
    if number != errno.ECONNABORTED:
        assert tries < 10, "without a busy loop"
    waiting.close()
    door.part.close()


def test_figures_whose_page_could_not_be_opened_are_shown_once_it_can():
    """A reload with no descriptor left: Prometheus finds the page again without another reload."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, lines = taken.getsockname()[1], []
        export = MetricsExport(MetricsSettings(Address("127.0.0.1", port), None), Log(sink=lines.append),
                               SimpleNamespace(text=lambda: b"figures\n"), lambda: None)
        for _ in range(2):
            export.listen()
        assert [line.name for line in lines] == ["metrics.listen-failed"], "told once"
    export.listen()
    export.listen()
    assert [line.name for line in lines][1:] == ["metrics.listening"] and http(port, "/metrics").endswith(b"figures\n")
    export.close()


def test_the_simulators_server_goes_on_as_well(no_room):
    server = HttpServer("127.0.0.1", 0, lambda request: SimulatedResponse(200, b"{}"))
    server.start()
    no_room.trouble = errno.EMFILE
    first = socket.create_connection(("127.0.0.1", server.port))
    await_that(lambda: no_room.tries >= 2)
    no_room.trouble = None
    assert http(server.port, "/").startswith(b"HTTP/1.1 200")
    first.close()
    server.close()


def test_an_answer_that_takes_long_keeps_no_other_question_waiting(tmp_path):
    """`recover` may look at the clock for a second; `status` is answered meanwhile."""
    free = threading.Event()
    server = ApiServer(tmp_path / "door", {"recover": lambda question: {"ok": free.wait(5)},
                                        "status": lambda question: {"ok": True}}, lambda reason: None)
    answers: list[dict[str, object]] = []
    asking = [threading.Thread(target=lambda: answers.append(ask(tmp_path / "door", {"ask": "recover"}))) for _ in range(3)]
    for thread in asking:
        thread.start()
    begun = time.monotonic()
    assert ask(tmp_path / "door", {"ask": "status"}) == {"ok": True}
    assert time.monotonic() - begun < AT_ONCE_S
    free.set()
    for thread in asking:
        thread.join()
    assert answers == [{"ok": True}] * 3
    server.close()


def test_more_questions_than_are_answered_at_once_wait_for_their_turn(tmp_path):
    server = ApiServer(tmp_path / "door", {"status": lambda question: time.sleep(0.004) or {"ok": True}}, lambda reason: None)
    channels = []
    for _ in range(50):
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(tmp_path / "door"))
        channel.sendall(b'{"ask": "status"}\n')
        channels.append(channel)
    for channel in channels:
        channel.settimeout(5)
        assert json.loads(channel.recv(100))["ok"] is True
        channel.close()
    server.close()


def test_a_fault_in_one_answer_ends_that_conversation_and_no_other(tmp_path, monkeypatch):
    """And is reported, once for each."""
    met = []
    monkeypatch.setattr(threading, "excepthook", met.append)
    monkeypatch.setattr("tideover.threads.FIRST_REST_S", 0.01)
    server = ApiServer(tmp_path / "door", {"bad": lambda question: 1 // 0, "status": lambda question: {"ok": True}},
                    lambda reason: None)
    assert ask(tmp_path / "door", {"ask": "bad"}) is None
    assert ask(tmp_path / "door", {"ask": "status"}) == {"ok": True}
    assert [one.exc_type for one in met] == [ZeroDivisionError]
    server.close()

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    page = ConnectionListener(listener, "page", ConnectionLimits(1.0), lambda received, has_ended: bytes(1 // (received != b"bad")) + b"good",
                     lambda reason: None)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as bad:
        bad.sendall(b"bad")
        with contextlib.suppress(ConnectionResetError):
            assert bad.recv(10) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as good:
        good.sendall(b"x")
        assert good.recv(10).endswith(b"good")
    assert len(met) == 2
    page.close()


@pytest.mark.slow
def test_clients_that_come_and_go_by_thousands_while_answers_are_made_break_nothing(tmp_path, monkeypatch):
    """The number of a client that was dropped is the next one's within the same look at what has happened."""
    met = []
    monkeypatch.setattr(threading, "excepthook", met.append)
    server = ApiServer(tmp_path / "door", {"slow": lambda question: time.sleep(0.01) or {"ok": True}}, lambda reason: None)
    until_s = time.monotonic() + 5.0

    def flood(number):
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
                channel.settimeout(1.0)
                channel.connect(str(tmp_path / "door"))
                channel.sendall(b'{"ask": "slow"}\n' if number % 3 else b"x" * 70_000)
                if number % 2:
                    channel.recv(10)

    flooding = [threading.Thread(target=flood, args=(number,)) for number in range(8)]
    for thread in flooding:
        thread.start()
    for thread in flooding:
        thread.join()
    assert ask(tmp_path / "door", {"ask": "slow"}) == {"ok": True}
    server.close()
    assert [str(one.exc_value) for one in met] == []
