"""`tideover simulate` plays a scenario to any client and tells what it was asked."""
from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tideover.cli import main
from tideover.simulator.scenarios import scenario_names

AGENT = Path(__file__).parents[1] / "agent"


@contextmanager
def simulating(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `tideover simulate` and the address that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(AGENT)}
    with subprocess.Popen([sys.executable, "-m", "tideover", "simulate", *words], text=True, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = ""
        while "curl" not in line:
            line = process.stdout.readline()
            assert line or process.poll() is None, process.stderr and process.stderr.read()
        try:
            yield process, line.split("'")[1]
        finally:
            process.kill()


def ask(url: str, body: bytes | None = None, metadata: str = "true") -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, body, {"Metadata": metadata} if metadata else {})
    with opener.open(request, timeout=5) as answer:
        return bytes(answer.read())


@pytest.mark.slow
def test_a_client_sees_the_scenario_and_its_acknowledgement_is_reported():
    with simulating("reboot", "--vm-name", "web-7") as (process, url):
        event = {}
        while not event:
            event = next(iter(json.loads(ask(url))["Events"]), {})
        assert event["Resources"] == ["web-7"]
        ask(url, json.dumps({"StartRequests": [{"EventId": event["EventId"]}]}).encode())
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(url, b"nonsense")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(url, metadata="")
        assert process.stdout is not None
        told = ""
        while "Required metadata header" not in told:
            told += process.stdout.readline()
        assert f"ACKNOWLEDGES {event['EventId']}" in told
        assert "not an acknowledgement: nonsense" in told
        process.send_signal(signal.SIGINT)
        _, trouble = process.communicate(timeout=5)
        assert (process.returncode, trouble) == (0, "")


APPLICATION = """
from tideover.client import Application
with Application("media") as app:
    for run in app.runs():
        with run:
            print(run.phase, run.kind, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C")
def test_an_application_of_ones_own_is_tried_without_a_configuration():
    environment = {**os.environ, "PYTHONPATH": str(AGENT)}
    with simulating("freeze", "--pace", "10", "--application", "media") as (process, _):
        assert process.stdout is not None
        told = ""
        while "TIDEOVER_APPLICATIONS_SOCKET" not in told:
            told = process.stdout.readline()
        name, _, path = told.strip().partition("=")
        with subprocess.Popen([sys.executable, "-c", APPLICATION], env={**environment, name: path}, text=True,
                              stdout=subprocess.PIPE) as application:
            assert application.stdout is not None
            assert [application.stdout.readline() for _ in range(2)] == ["prepare freeze\n", "recover freeze\n"]
            while "hook.finished" not in told or "phase=recover" not in told:
                told = process.stdout.readline()
            assert "hook=media" in told and "outcome=done" in told
            application.kill()
        process.send_signal(signal.SIGINT)
        _, trouble = process.communicate(timeout=15)
        assert (process.returncode, trouble) == (0, "")
        assert not Path(path).parents[2].exists()


def free_ports(count: int) -> tuple[str, int]:
    """An address of this machine and the first of so many ports in a row that are free there."""
    while True:
        place, first = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))]), random.randint(10_000, 30_000)
        with suppress(OSError), ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(socket.create_server((place, port)))
            return place, first


@pytest.mark.slow
def test_each_vm_of_an_availability_set_has_a_port_of_its_own_and_its_client_sees_its_name():
    place, first = free_ports(3)
    with simulating("availability-set", "--listen", f"{place}:{first}", "--vm-name", "web-7") as (process, url):
        urls = [url.replace(f":{first}", f":{first + offset}") for offset in range(3)]
        events = [json.loads(ask(one))["Events"] for one in urls]
        while not events[0]:
            events = [json.loads(ask(one))["Events"] for one in urls]
        assert [event["Resources"] for [event] in events] == [["web-7"]] * 3
        ask(urls[2], json.dumps({"StartRequests": [{"EventId": events[0][0]["EventId"]}]}).encode())
        assert process.stdout is not None
        told = ""
        while "ACKNOWLEDGES" not in told:
            told = process.stdout.readline()
        assert told.split()[2] == "vm-3"


def test_a_platform_that_shows_each_vm_its_own_events_is_reported(capsys):
    assert main(["simulate", "--platform", "gcp", "--vm-name", "a", "--vm-name", "b"]) == 2
    assert "shows each VM its own events" in capsys.readouterr().err


@pytest.mark.slow
def test_an_agent_with_the_configuration_that_is_printed_ends_the_event_with_a_good_clock(tmp_path):
    with simulating("freeze-without-notice", "--pace", "20") as (process, _):
        assert process.stdout is not None
        lines = []
        while not lines or lines[-1].strip():
            lines.append(process.stdout.readline())
        printed = "".join(lines).partition("tideover:")[2]
        assert "[clock]" in printed
        paths = "".join(f'{name} = "{tmp_path}/{name}"\n' for name in ("hooks", "state", "runtime"))
        file = tmp_path / "tideover.toml"
        file.write_text("\n".join(line.strip() for line in printed.splitlines()) + f"\n[paths]\n{paths}")
        environment = {**os.environ, "PYTHONPATH": str(AGENT), "TIDEOVER_CONFIG": str(file)}
        command = [sys.executable, "-m", "tideover"]
        agent = subprocess.Popen([*command, "run"], env=environment, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60.0
            verdict = None
            while verdict != "good":
                assert time.monotonic() < end, verdict
                time.sleep(0.3)
                told = subprocess.run([*command, "history", "--json"], env=environment, capture_output=True, text=True)
                events = json.loads(told.stdout)["events"] if told.returncode == 0 else []
                verdict = events[-1]["clock"]["verdict"] if events else None
        finally:
            agent.terminate()
            agent.wait()


def test_the_scenarios_are_listed(capsys):
    assert main(["simulate", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(scenario_names())


def test_a_scenario_that_does_not_fit_is_reported_when_it_comes_to_that(tmp_path, capsys):
    (tmp_path / "own.toml").write_text('[[step]]\ndo = "start"\nevent = "nobody"\n')
    assert main(["simulate", str(tmp_path / "own.toml")]) == 2
    assert "step 1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("frieze",), ("--listen", "here"), ("--listen", "[::1]:8080"), ("--pace", "0")])
def test_wrong_use_is_reported(words, capsys):
    assert main(["simulate", *words]) == 2
    assert capsys.readouterr().err.startswith("tideover: ")


def test_an_address_that_is_taken_is_reported(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["simulate", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]) == 2
    assert "address already in use" in capsys.readouterr().err
