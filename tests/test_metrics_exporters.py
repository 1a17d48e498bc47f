"""Figures are extra: whatever is wrong with them is reported in one sentence, and the agent goes on."""
from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest

from running_agent import World, environment, world

pytestmark = pytest.mark.slow

LISTS_MODULES = """
import atexit, sys
atexit.register(lambda: print("loaded:", *sorted(m for m in sys.modules if "prometheus" in m or "metrics" in m or "metering" in m)))
from tideover.cli import main
sys.exit(main())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def carries_an_event(here: World) -> bool:
    here.until(lambda: len(here.metadata.requests) > 1)
    event = here.freeze()
    here.until(lambda: here.record()["status"] == "started")
    here.metadata.remove_event(event)
    return bool(here.until(lambda: here.record()["status"] == "closed"))


@pytest.fixture
def python_without_it(tmp_path: Path) -> Path:
    """A Python with the libraries of this one, but for prometheus_client."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    ours, its = (Path(sysconfig.get_path("purelib", vars={"base": base})) for base in (sys.prefix, str(tmp_path / "venv")))
    for library in ours.iterdir():
        if not library.name.startswith("prometheus_client"):
            (its / library.name).symlink_to(library)
    return tmp_path / "venv" / "bin" / "python"


def test_without_the_library_the_log_says_what_to_install_and_events_are_carried_all_the_same(tmp_path, python_without_it):
    with world(tmp_path) as here:
        here.hook("10-only")
        here.configure(f'[metrics]\nlisten = "127.0.0.1:{free_port()}"')
        with (here.home / "agent.log").open("ab") as log:
            here.agents.append(subprocess.Popen([python_without_it, "-m", "tideover", "run", "--config", here.home / "tideover.toml"],
                                                env=environment(), stdout=log, stderr=log))
        assert carries_an_event(here)
        assert "metrics.unavailable" in here.said() and "apt install python3-prometheus-client" in here.said()
        assert "Traceback" not in here.said()


def test_the_check_of_the_configuration_warns_of_the_missing_library(tmp_path, python_without_it):
    file = tmp_path / "tideover.toml"
    for text, warns in (('[metrics]\ntextfile = "/x.prom"', True), ("", False)):
        file.write_text(text)
        done = subprocess.run([python_without_it, "-m", "tideover", "config", "check", file], env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0 and ("prometheus_client is not installed" in done.stderr) is warns, done


def test_an_address_that_is_taken_and_a_directory_that_is_not_there_are_reported_and_events_are_handled(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, world(tmp_path) as here:
        here.hook("10-only")
        address = taken.getsockname()
        here.configure(f'[metrics]\nlisten = "127.0.0.1:{address[1]}"\ntextfile = "{tmp_path}/none/x.prom"')
        here.start()
        assert carries_an_event(here)
        assert re.search(r"error metrics.listen-failed address=\S+ reason=\"?\[Errno 98\]", here.said()), here.said()
        assert f"cannot write {tmp_path}/none/x.prom: no such file or directory" in here.said()
        taken.close()
        here.until(lambda: "metrics.listening" in here.said())
        with urllib.request.urlopen("http://{}:{}/metrics".format(*address), timeout=5) as answer:
            assert b"tideover_build_info" in answer.read()
        assert here.said().count("metrics.listen-failed") == 1 and "Traceback" not in here.said()


def test_an_agent_without_metrics_loads_nothing_of_them(tmp_path):
    """And one with them does: the question bites."""
    for more, loads in (("", False), (f'[metrics]\nlisten = "127.0.0.1:{free_port()}"', True)):
        home = tmp_path / str(loads)
        home.mkdir()
        with world(home) as here:
            here.hook("10-only")
            here.configure(more)
            agent = subprocess.Popen([sys.executable, "-c", LISTS_MODULES, "run", "--config", str(home / "tideover.toml")],
                                     env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            here.agents.append(agent)  # type: ignore[arg-type]
            assert carries_an_event(here)
            agent.terminate()
            out, _ = agent.communicate(timeout=10)
            assert ("loaded: \n" not in out and "prometheus_client" in out) is loads, out
            assert out.startswith("loaded:")


def test_a_reload_takes_the_page_over_and_switches_it_off(tmp_path):
    port = free_port()
    with world(tmp_path) as here:
        on = f'[metrics]\nlisten = "127.0.0.1:{port}"'
        here.configure(on)
        agent = here.start()

        def reload(more: str) -> None:
            before = here.said().count("configuration.read")
            here.configure(more)
            agent.send_signal(signal.SIGHUP)
            here.until(lambda: here.said().count("configuration.read") == before + 1)

        reload(on)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"tideover_build_info" in answer.read()
        assert "metrics.unavailable" not in here.said() and "metrics.listen-failed" not in here.said()
        reload("")
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/metrics")
