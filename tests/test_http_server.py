"""The health page: what load balancers get while the applications must not get new work."""
from __future__ import annotations

import http.client
import socket
import time

import pytest

from lives import Life, event, started
from running_agent import world
from tideover.http_server import HealthPage
from tideover.status import draining_because


@pytest.fixture
def page():
    reasons: list[str | None] = [None]
    made = HealthPage("127.0.0.1", 0, lambda: reasons[0])
    yield made, reasons
    made.close()


def ask(port: int, path: str = "/healthz", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def agent_check(port: int, say: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as channel:
        channel.sendall(say)
        return channel.recv(100)


@pytest.mark.slow
def test_it_says_200_or_503_with_the_reason_and_speaks_haproxys_words(page):
    made, reasons = page
    assert ask(made.port) == (200, "ready\n") and agent_check(made.port) == b"ready up\n"
    reasons[0] = "freeze e1: waits for the platform"
    assert ask(made.port) == (503, "draining: freeze e1: waits for the platform\n")
    assert agent_check(made.port) == b"drain\n" and agent_check(made.port, b"whoami\n") == b"drain\n"
    assert ask(made.port, "/") == (404, "there is only /healthz\n") and ask(made.port, method="HEAD") == (503, "")


@pytest.mark.slow
def test_a_client_that_drips_or_leaves_keeps_no_other_client_out(page):
    made, _ = page
    with socket.create_connection(("127.0.0.1", made.port)) as slow:
        slow.sendall(b"GET /hea")
        socket.create_connection(("127.0.0.1", made.port)).close()
        begun = time.monotonic()
        assert ask(made.port)[0] == 200
        assert time.monotonic() - begun < 4


@pytest.mark.slow
def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(page):
    """Each of its waits is short; the whole conversation is bounded."""
    made, _ = page
    with socket.create_connection(("127.0.0.1", made.port)) as slow:
        slow.sendall(b"GET /")
        slow.settimeout(0.2)
        begun = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < begun + 10:
                slow.sendall(b"x")
                try:
                    assert slow.recv(10) == b""
                    raise ConnectionResetError
                except TimeoutError:
                    continue
        assert time.monotonic() - begun < 5


def test_it_drains_from_the_preparation_until_all_is_recovered():
    """And for no other machine's event."""
    freeze = event()
    life = Life()
    assert draining_because(life.state) is None
    assert draining_because(life.polled(event(resources=("vm-2",))).state) is None
    life = Life().polled(freeze)
    for go_on in (life.settle, life.acknowledged, lambda: life.polled(started(freeze)), life.paused, life.judged,
                  lambda: life.after(5.0)):
        assert draining_because(life.state) is not None
        go_on()
    assert "recover hooks" in str(draining_because(life.state))
    assert draining_because(life.settle().state) is None, "also while the event is still listed"


@pytest.mark.slow
def test_a_real_agent_drains_and_goes_back_without_any_hook(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with world(tmp_path) as here:
        here.configure(f'[health]\nlisten = "127.0.0.1:{port}"')
        here.start()
        here.until(lambda: "agent.started" in here.said())
        assert ask(port)[0] == 200
        freeze = here.freeze()
        here.until(lambda: ask(port)[0] == 503)
        here.metadata.start_event(freeze)
        here.until(lambda: here.record()["status"] == "started")
        with here.stopped():
            time.sleep(1.2)
        here.until(lambda: ask(port)[0] == 200)
        here.until(lambda: here.record()["status"] == "recovered")
