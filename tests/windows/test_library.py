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

from tideover.cli import main
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
    """Each as often as it is asked for."""
    directory = tmp_path / "hooks.d"
    assert library.disable("service-stop", directory, LIBRARY) is None
    made = library.enable("service-stop", directory, LIBRARY).file
    assert made == directory / "80-service-stop.py"
    assert library.enable("service-stop", directory, LIBRARY).was_there
    assert library.disable("service-stop", directory, LIBRARY) == made and not made.exists()
    library.enable("service-stop", directory, LIBRARY).file.write_text("# mine now\n")
    with pytest.raises(TideoverError, match="no link to the library"):
        library.disable("service-stop", directory, LIBRARY)
    with pytest.raises(TideoverError, match="there already"):
        library.enable("service-stop", directory, LIBRARY)


def test_a_new_hook_is_written_in_python_passes_the_check_and_runs_both_phases(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tideover.toml"
    file.write_text("[paths]\n" + "".join(f"{name} = {json.dumps(str(tmp_path / name))}\n"
                                          for name in ("hooks", "state")))

    def hooks(*words: str) -> tuple[int, str]:
        status = main(["hooks", *words, "--config", str(file)])
        seen = capsys.readouterr()
        return status, seen.out + seen.err

    assert hooks("new", "mine")[0] == 0 and (tmp_path / "hooks" / "60-mine.py").is_file()
    assert hooks("check") == (0, "1 of 1 hooks can run.\n")
    status, seen = hooks("describe", "mine")
    assert status == 0 and "GREETING" in seen
    status, seen = hooks("run", "mine", "prepare")
    assert status == 0 and "prepared" in seen, seen
    status, seen = hooks("run", "mine", "recover", "--reason", "resumed", "--pause", "7s", "--clock", "bad")
    assert status == 0 and "reason resumed; pause 7.000 s" in seen, seen
    assert hooks("enable", "service-stop")[0] == 0
    status, seen = hooks("check")
    assert status == 1 and ("SERVICES" in seen or "tideover_hook" in seen), "a copy finds the SDK of an installation only"
    told = json.loads((hooks("list", "--available", "--json"))[1])["available"]
    assert {one["name"]: one["enabled"] is not None for one in told} == {"lb-health": False, "service-stop": True}


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
