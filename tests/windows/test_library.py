"""The hooks for Windows: they describe themselves, find the SDK, and do on a real service what they say."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import win32service
import win32serviceutil

from tideover.errors import TideoverError
from tideover.hooks import library

SAMPLE = Path(__file__).with_name("sample_service.py")
LIBRARY = library.library()
NAMES = library.known_names(LIBRARY)
DONE, WRONG_USE, NOTHING, REFUSED, NOT_YET = 0, 2, 3, 4, 75
PATIENCE_S = 30.0


def run(name: str, phase: str, state: Path, **settings: str) -> tuple[int, str]:
    environment = {**os.environ, "TIDEOVER_STATE_DIR": str(state), "TIDEOVER_KIND": "reboot",
                   "TIDEOVER_SECONDS_LEFT": "20", **settings}
    ran = subprocess.run([sys.executable, str(LIBRARY / f"{name}.py"), phase], env=environment, capture_output=True,
                         stdin=subprocess.DEVNULL, timeout=60)
    return ran.returncode, (ran.stdout + ran.stderr).decode(errors="replace")


@pytest.mark.parametrize("name", NAMES)
def test_every_hook_describes_itself(name: str, tmp_path: Path) -> None:
    status, said = run(name, "describe", tmp_path)
    about = json.loads(said)
    assert (status, about["name"]) == (DONE, name)
    assert set(about) == {"name", "stage", "summary", "does", "settings", "needs", "proved_against"}
    assert set(about["does"]) == {"freeze", "restart", "unannounced", "recover"}


def test_the_sdk_is_found_and_is_no_hook() -> None:
    assert NAMES == ["lb-health", "service-stop"]
    assert (library.sdk() / "tideover_hook.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_prepared_is_nothing_to_recover(name: str, tmp_path: Path) -> None:
    assert run(name, "recover", tmp_path)[0] == NOTHING


def test_a_hook_is_copied_from_the_library_and_taken_away_unless_it_was_changed(tmp_path: Path) -> None:
    directory = tmp_path / "hooks.d"
    made = library.enable("service-stop", directory, LIBRARY)
    assert (made.file, made.was_there) == (directory / "80-service-stop.py", False)
    assert library.enable("service-stop", directory, LIBRARY).was_there
    assert library.disable("service-stop", directory, LIBRARY) == made.file and not made.file.exists()
    library.enable("service-stop", directory, LIBRARY).file.write_text("# mine now\n")
    with pytest.raises(TideoverError, match="there already"):
        library.enable("service-stop", directory, LIBRARY)
    with pytest.raises(TideoverError, match="no link to the library"):
        library.disable("service-stop", directory, LIBRARY)


# --- service-stop ---------------------------------------------------------------------------------------------------

def state_of(name: str) -> int:
    return int(win32serviceutil.QueryServiceStatus(name)[1])


def wait_for(name: str, state: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while state_of(name) != state:
        assert time.monotonic() < end, state_of(name)
        time.sleep(0.05)


@pytest.fixture
def service() -> Iterator[str]:
    name = f"TideoverSample{os.getpid()}"
    subprocess.run([sys.executable, str(SAMPLE), "install", name], check=True, timeout=60)
    win32serviceutil.StartService(name)
    wait_for(name, win32service.SERVICE_RUNNING)
    yield name
    if state_of(name) != win32service.SERVICE_STOPPED:
        win32serviceutil.StopService(name)
        wait_for(name, win32service.SERVICE_STOPPED)
    win32serviceutil.RemoveService(name)


def test_a_service_is_stopped_before_a_restart_and_started_afterwards(service: str, tmp_path: Path) -> None:
    """Both may be run again, as after a crash of the agent."""
    for _ in range(2):
        status, said = run("service-stop", "prepare", tmp_path, SERVICES=service)
        assert (status, state_of(service)) == (DONE, win32service.SERVICE_STOPPED), said
    status, said = run("service-stop", "recover", tmp_path)
    assert (status, state_of(service)) == (DONE, win32service.SERVICE_RUNNING), said
    assert run("service-stop", "recover", tmp_path)[0] == NOTHING


def test_a_service_is_paused_and_goes_on(service: str, tmp_path: Path) -> None:
    status, said = run("service-stop", "prepare", tmp_path, SERVICES=service, HOW="pause")
    assert (status, state_of(service)) == (DONE, win32service.SERVICE_PAUSED), said
    status, said = run("service-stop", "recover", tmp_path)
    assert (status, state_of(service)) == (DONE, win32service.SERVICE_RUNNING), said


def test_a_service_that_did_not_run_is_left_alone(service: str, tmp_path: Path) -> None:
    win32serviceutil.StopService(service)
    wait_for(service, win32service.SERVICE_STOPPED)
    assert run("service-stop", "prepare", tmp_path, SERVICES=service)[0] == NOTHING
    assert run("service-stop", "recover", tmp_path)[0] == NOTHING
    assert state_of(service) == win32service.SERVICE_STOPPED


def test_before_a_freeze_nothing_is_stopped_unless_the_owner_says_so(service: str, tmp_path: Path) -> None:
    assert run("service-stop", "prepare", tmp_path, SERVICES=service, TIDEOVER_KIND="freeze")[0] == NOTHING
    assert state_of(service) == win32service.SERVICE_RUNNING
    assert run("service-stop", "prepare", tmp_path, SERVICES=service, TIDEOVER_KIND="freeze", ON_FREEZE="yes")[0] == DONE
    assert state_of(service) == win32service.SERVICE_STOPPED


def test_an_unknown_service_is_refused_before_any_is_stopped(service: str, tmp_path: Path) -> None:
    status, said = run("service-stop", "prepare", tmp_path, SERVICES=f"{service}, NoSuchService")
    assert (status, "NoSuchService" in said) == (REFUSED, True), said
    assert state_of(service) == win32service.SERVICE_RUNNING


@pytest.mark.parametrize("settings", [{}, {"SERVICES": "x", "HOW": "kick"}])
def test_settings_that_cannot_be_are_reported(tmp_path: Path, settings: dict[str, str]) -> None:
    assert run("service-stop", "prepare", tmp_path, **settings)[0] == WRONG_USE


# --- lb-health ------------------------------------------------------------------------------------------------------

def test_the_health_file_comes_and_goes_and_another_programs_is_left_alone(tmp_path: Path) -> None:
    file, state = tmp_path / "drain" / "now", tmp_path / "state"
    state.mkdir()
    for _ in range(2):
        assert run("lb-health", "prepare", state, DRAIN_FILE=str(file), SETTLE_S="0")[0] == DONE
        assert file.exists()
    assert run("lb-health", "recover", state)[0] == DONE
    assert not file.exists()
    file.write_text("somebody")
    assert run("lb-health", "prepare", state, DRAIN_FILE=str(file), SETTLE_S="0")[0] == NOTHING
    assert run("lb-health", "recover", state)[0] == NOTHING
    assert file.read_text() == "somebody"


@pytest.mark.parametrize("family, host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_of_the_service_are_waited_for(tmp_path: Path, family: socket.AddressFamily, host: str) -> None:
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no such address")
    port = listening.getsockname()[1]
    client = socket.create_connection((host, port))
    peer, _ = listening.accept()
    file = tmp_path / "drain"
    first = run("lb-health", "prepare", tmp_path, DRAIN_FILE=str(file), SETTLE_S="0", DRAIN_S="0.5", PORT=str(port))
    assert first[0] == DONE and "1 connections stay" in first[1], first
    threading.Timer(1.0, lambda: (client.close(), peer.close())).start()
    second = run("lb-health", "prepare", tmp_path, DRAIN_FILE=str(file), SETTLE_S="0", DRAIN_S="15", PORT=str(port))
    listening.close()
    assert second[0] == DONE and "no connection is left" in second[1], second
