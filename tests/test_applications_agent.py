"""Applications with a real agent and the client library: their place among the hooks, crashes of either side."""
from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import BinaryIO

import pytest

from client_programs import ASYNC, ClientPrograms
from running_agent import World
from tideover.simulator import MetadataService, TimeServer

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

APPLICATIONS = """
[application.first]
order = 5
[application.middle]
order = 15
[application.away]
order = 90
"""


@pytest.fixture
def here(tmp_path):
    with MetadataService("vm-1") as service, TimeServer() as clock:
        world = World(tmp_path, service, clock)
        world.hook("10-web")
        world.configure(APPLICATIONS)
        world.applications = ClientPrograms(tmp_path, str(tmp_path / "run/applications/socket"))
        yield world
        world.applications.close()
        world.close()


def runs(record: dict) -> list[tuple[str, str, str, str]]:
    return [(run["name"], run["kind"], run["phase"], run["outcome"]) for run in record["hooks"]]


def carry(here: World) -> dict:
    """One event, from the notice to its end."""
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    here.metadata.start_event(event)
    with here.stopped():
        time.sleep(1.5)
    here.until(lambda: here.record()["status"] == "recovered")
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    return here.record()


def test_applications_and_hooks_prepare_in_order_and_recover_in_reverse(here):
    here.start()
    here.applications.start("first")
    here.applications.start("middle", ASYNC)
    time.sleep(1.5)
    assert here.ask("status")["applications_never_connected"] == ["away"]
    assert here.ask("hooks", "check")["warnings"] == ["[application.away]: it has not connected since the agent's start"]
    record = carry(here)
    assert [run for run in runs(record) if run[0] != "away"] == [
        ("first", "application", "prepare", "done"), ("web", "hook", "prepare", "done"),
        ("middle", "application", "prepare", "done"), ("middle", "application", "recover", "done"),
        ("web", "hook", "recover", "done"), ("first", "application", "recover", "done")]
    assert ("away", "application", "prepare", "nothing") in runs(record)
    assert here.applications.lines() == [
        "first prepare freeze  unknown", "middle prepare freeze  unknown", "middle recover freeze resumed good",
        "first recover freeze resumed good"]
    assert len(here.metadata.acknowledgements) == 1 and record["outcome"] == "resumed"
    assert not list((here.home / "state/hooks").glob("first"))


def test_an_agent_that_is_killed_while_prepared_recovers_the_same_instances_once(here):
    here.start()
    here.applications.start("first")
    here.applications.start("middle", ASYNC)
    time.sleep(1.5)
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    here.kill()
    here.start()
    here.metadata.start_event(event)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    lines = [line.split()[:2] for line in here.applications.lines()]
    assert lines == [["first", "prepare"], ["middle", "prepare"], ["middle", "recover"], ["first", "recover"]]


def test_a_new_instance_prepares_again_while_the_event_is_ahead_and_the_event_is_acknowledged_once(here):
    here.start()
    first = here.applications.start("first")
    time.sleep(1.5)
    here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    first.kill()
    first.wait()
    here.applications.start("first")
    here.until(lambda: len(here.applications.lines()) == 2)
    assert [line.split()[1] for line in here.applications.lines()] == ["prepare", "prepare"]
    assert len(here.metadata.acknowledgements) == 1


def test_a_recovery_of_an_application_that_is_away_is_pending_and_asked_for_when_it_connects(here):
    here.start()
    first = here.applications.start("first")
    time.sleep(1.5)
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    first.kill()
    first.wait()
    here.metadata.start_event(event)
    here.metadata.remove_event(event)
    here.until(lambda: "web recover" in here.begun())
    time.sleep(1.0)
    assert here.record()["status"] == "recovering"
    here.applications.start("first")
    here.until(lambda: here.record()["status"] == "closed")
    assert [line.split()[1] for line in here.applications.lines()] == ["prepare", "recover"]


def test_a_socket_that_was_removed_is_made_anew_and_who_is_connected_stays(here):
    here.start()
    here.applications.start("first")
    here.until(lambda: here.ask("status")["applications"] == ["first"])
    (here.home / "run/applications/socket").unlink()
    here.until(lambda: "applications.socket-replaced" in here.said())
    here.applications.start("middle", ASYNC)
    here.until(lambda: here.ask("status")["applications"] == ["first", "middle"])


def test_where_applications_cannot_connect_at_first_they_can_when_the_cause_is_gone(here):
    (here.home / "run").mkdir()
    (here.home / "run/applications").write_text("in the way")
    here.start()
    here.until(lambda: "applications.listen-failed" in here.said())
    (here.home / "run/applications").unlink()
    here.applications.start("first")
    here.until(lambda: here.ask("status")["applications"] == ["first"])


def test_an_application_whose_table_a_reload_removes_is_told_why_its_connection_ends(here):
    here.start()
    gone, stays = connected(here, "first"), connected(here, "middle")
    here.configure(APPLICATIONS.replace("[application.first]\norder = 5\n", ""))
    here.agents[-1].send_signal(signal.SIGHUP)
    here.until(lambda: "configuration.read" in here.said())
    assert json.loads(gone.readline())["refused"] == "there is no [application.first] in the configuration any more"
    assert (gone.readline(), stays.readline()) == (b"", b"")


def connected(here: World, name: str) -> BinaryIO:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(here.home / "run/applications/socket"))
        client.sendall(json.dumps({"hello": name, "instance": "one", "protocol": 1}).encode() + b"\n")
        lines = client.makefile("rb")
        assert b"welcome" in lines.readline()
        return lines
