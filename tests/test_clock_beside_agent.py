"""Commands that query time servers, beside an agent that queries the same ones."""
from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from running_agent import world
from tideover.api.protocol import read_time_queries
from tideover.simulator.ntp_server import TimeServer

pytestmark = pytest.mark.slow


class _NotingServer(TimeServer):
    """Notes when each question arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at_s: list[float] = []

    def _answer(self, question: bytes, received: float) -> bytes:
        self.asked_at_s.append(time.monotonic())
        return super()._answer(question, received)


@pytest.mark.parametrize("words", [("clock", "--json"), ("doctor", "--json")])
def test_no_command_asks_a_time_server_within_two_seconds_of_the_agents_question(tmp_path: Path, words: tuple[str, ...]
                                                                                 ) -> None:
    with _NotingServer() as server, world(tmp_path, time_offset_s=None) as one:
        one.time_server = server
        one.start()
        one.until(lambda: server.asked_at_s and (tmp_path / "run").exists())
        before = len(server.asked_at_s)
        one.command(*words)
        assert len(server.asked_at_s) > before
        assert min(later - earlier for earlier, later in pairwise(server.asked_at_s)) >= 2.0


def test_an_agent_tells_which_time_servers_it_has_just_asked(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        assert one.time_server is not None
        address = (one.time_server.host, one.time_server.port)
        one.start()
        socket = tmp_path / "run" / "tideover.sock"
        queries = one.until(lambda: read_time_queries(socket, tmp_path / "state"))
        assert 0 <= queries[address] < 3


def test_an_agent_asks_no_time_server_within_two_seconds_of_a_commands_question(tmp_path: Path) -> None:
    """An event is announced just after the command; the agent wants a sample from before the stop."""
    with _NotingServer() as server, world(tmp_path, time_offset_s=None) as one:
        one.time_server = server
        one.hook("10-first")
        one.start()
        one.until(lambda: server.asked_at_s and time.monotonic() - server.asked_at_s[-1] > 2.2)
        one.command("clock", "--json")
        asked = len(server.asked_at_s)
        one.freeze()
        one.until(lambda: len(server.asked_at_s) > asked, 5.0)
        assert asked >= 2 and min(later - earlier for earlier, later in pairwise(server.asked_at_s)) >= 2.0
