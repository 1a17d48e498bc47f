"""The agent's socket: who answers there, who may put it there, and answers that are none."""
from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sampling import thinned
from tideover import __version__
from tideover.api import protocol
from tideover.api.protocol import ApiServer, ask, read_status
from tideover.cli import main
from tideover.cli.actions import _wait_until_recovered
from tideover.config_file import load_settings
from tideover.daemon.startup import make_directory, open_state_directory
from tideover.errors import UnreachableError, WrongUseError
from tideover.lifecycle import State
from tideover.logs import Log
from tideover.pause import MachineClocks
from tideover.status import status_of
from tideover.system.file_lock import Lock, read_holder
from tideover.system.private_files import make_own_directory

HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(f"{os.getpid()}\\n"); file.flush()
print("held", flush=True)
sys.stdin.read()
"""
STATUS = status_of(State(), (), MachineClocks().moment()) | {
    "agent": {"alive": True, "pid": 1, "version": "1", "started_at": None, "why": ""}, "mode": "act",
    "journal": None, "source": None}


class Place:
    """A state directory and a runtime directory, and a configuration that names both."""

    def __init__(self, home: Path) -> None:
        self.state, self.run, self.socket = home / "state", home / "run", home / "run" / "tideover.sock"
        self.state.mkdir(mode=0o755)
        self.run.mkdir(mode=0o755)
        self.configuration = home / "tideover.toml"
        self.configuration.write_text(f'[paths]\nstate = "{self.state}"\nruntime = "{self.run}"\nhooks = "{home}/hooks"\n')

    def ask(self, word: str = "status") -> dict[str, Any]:
        return ask(self.socket, self.state, {"ask": word})

    def command(self, *words: str) -> int:
        return main([*words, "--config", str(self.configuration)])

    @contextmanager
    def answering(self, *answers: object, word: str = "status") -> Iterator[ApiServer]:
        """An agent of this process whose answers to `word` are these, the last one for ever."""
        left = list(answers)
        server = ApiServer(self.socket, {word: lambda _: left.pop(0) if len(left) > 1 else left[0]})  # type: ignore[dict-item]
        try:
            yield server
        finally:
            server.close()

    @contextmanager
    def held_by_another(self) -> Iterator[int]:
        """Another process holds the state directory's lock, as an agent does."""
        with subprocess.Popen([sys.executable, "-IS", "-c", HOLD, str(self.state / "agent.lock")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdin is not None
            process.stdout.readline()
            yield process.pid
            process.stdin.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- who answers ----------------------------------------------------------------------------------------------------

def test_the_process_that_holds_the_lock_is_believed(place: Place) -> None:
    lock = Lock(place.state)
    with place.answering({"ok": True, "status": STATUS}):
        assert read_status(place.socket, place.state)["recover_pending"] == []
    lock.release()


def test_another_process_at_the_socket_is_not_believed_and_is_named(place: Place) -> None:
    with place.held_by_another() as agent, place.answering({"ok": True, "were_pending": []}, word="recover"):
        with pytest.raises(UnreachableError) as refused:
            place.ask("recover")
    assert f"process {os.getpid()} of user id {os.geteuid()}" in refused.value.cause
    assert f"process {agent} works" in refused.value.cause


def test_recover_does_not_repeat_what_another_process_at_the_socket_says(place: Place, capsys: Any) -> None:
    """With an agent that cannot be reached: status 3. Without one: what its journal says."""
    with place.answering({"ok": True, "were_pending": [], "status": STATUS}, word="recover"):
        with place.held_by_another():
            assert place.command("recover") == 3
            assert f"process {os.getpid()}" in capsys.readouterr().err
            assert place.command("acknowledge", "A") == 3
        capsys.readouterr()
        assert place.command("recover") == 0


def test_an_agent_that_takes_a_new_configuration_is_waited_for(place: Place) -> None:
    """Meanwhile it has no socket; `status --check` must not report that no agent runs."""
    lock, servers = Lock(place.state), []
    later = threading.Timer(0.03, lambda: servers.append(
        ApiServer(place.socket, {"status": lambda _: {"ok": True, "status": STATUS}})))
    later.start()
    try:
        assert read_status(place.socket, place.state)["recover_pending"] == []
    finally:
        later.join()
        servers[0].close()
        lock.release()


def test_an_agent_that_does_not_listen_is_not_taken_for_none(place: Place, capsys: Any,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "RELOAD_WAIT_S", 0.02)
    with place.held_by_another() as agent:
        assert place.command("recover") == 3
        assert f"Process {agent} uses" in capsys.readouterr().err
        assert place.command("status") == 0
        assert f"The agent (process {agent}) does not answer" in capsys.readouterr().out


def test_an_agent_whose_number_could_not_be_written_is_no_less_an_agent(place: Place) -> None:
    lock = Lock(place.state)
    (place.state / "agent.lock").write_text("")
    held = read_holder(place.state)
    assert held is not None and held.pid is None
    with place.answering({"ok": True, "status": STATUS}):
        assert place.ask()["ok"]
    lock.release()


# --- answers that are none ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("answer", "words"), thinned([
    ({"ok": True, "status": {"recover_pending": [], "hooks": []}}, "no status."),
    ({"ok": True, "status": STATUS | {"events": [1]}}, "no status.events[]"),
    ({"ok": True, "status": STATUS | {"hooks": [{"name": "x"}]}}, "no status.hooks[]."),
    ({"ok": True, "status": STATUS | {"recover_pending": [{}]}}, "no status.recover_pending[]"),
    ({"ok": True, "status": STATUS | {"last_pause": {"length_s": "long"}}}, "no status.last_pause.length_s"),
    ({"ok": True, "status": []}, "no status"),
    ({"ok": True}, "no status"),
    ({"status": STATUS}, "does not identify"),
    ({"ok": True, "status": STATUS, "api": 0, "version": "0.0.9"}, f"version 0.0.9 and this command is version {__version__}"),
    ({"ok": True, "status": STATUS, "api": None, "version": 7}, "an earlier version"),
], 2))
def test_an_answer_that_is_not_valid_is_refused(place: Place, capsys: Any, answer: dict[str, Any], words: str) -> None:
    lock = Lock(place.state)
    with place.answering(answer):
        with pytest.raises(UnreachableError) as refused:
            place.ask()
        assert words in refused.value.cause
        assert place.command("status") == 0, "the journal tells"
        assert "does not answer" in capsys.readouterr().out
    lock.release()


@pytest.mark.parametrize("line", [b"", b"\n", b"7\n", b"[]\n", b"{\n", b"\xff\n", b"[" * 200_000 + b"\n"])
def test_bytes_that_are_no_answer_give_one_sentence(place: Place, capsys: Any, monkeypatch: pytest.MonkeyPatch,
                                                    line: bytes) -> None:
    lock = Lock(place.state)
    monkeypatch.setattr(ApiServer, "_reply", lambda *_: line)
    with place.answering(None):
        for words in (["recover"], ["acknowledge", "A"]):
            assert place.command(*words) == 3
            said = capsys.readouterr().err
            assert said.startswith("tideover: cannot ask the agent") and "Traceback" not in said
    lock.release()


def test_what_was_asked_before_a_close_is_answered(place: Place) -> None:
    """A recovery that is given up can end the event for which a new configuration waits: the agent that answers closes."""
    asked, may_answer, got = threading.Event(), threading.Event(), []

    def answer(_question: object) -> dict[str, Any]:
        asked.set()
        may_answer.wait(5.0)
        return {"ok": True, "why": "given up"}

    lock = Lock(place.state)
    server = ApiServer(place.socket, {"forget": answer})
    client = threading.Thread(target=lambda: got.append(place.ask("forget")))
    client.start()
    assert asked.wait(5.0)
    threading.Timer(0.01, may_answer.set).start()
    server.close()
    client.join(5.0)
    assert [one["why"] for one in got] == ["given up"]
    lock.release()


# --- whose socket it is ---------------------------------------------------------------------------------------------

def test_a_second_agent_does_not_take_the_socket_of_the_first(place: Place) -> None:
    lock = Lock(place.state)
    with place.answering({"ok": True, "status": STATUS}):
        with pytest.raises(OSError, match=f"another agent .process {os.getpid()}. listens there"):
            ApiServer(place.socket, {})
        assert place.ask()["ok"]
    assert not place.socket.exists()
    lock.release()


def test_an_agent_sees_that_its_socket_was_replaced(place: Place) -> None:
    server = ApiServer(place.socket, {})
    assert not server.is_replaced()
    place.socket.unlink()
    assert server.is_replaced()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place.socket))
        assert server.is_replaced()
    server.close()


def test_an_agent_that_ends_leaves_a_socket_that_is_not_its_own(place: Place) -> None:
    server = ApiServer(place.socket, {})
    place.socket.unlink()
    place.socket.write_text("another's")
    server.close()
    assert place.socket.read_text() == "another's"


# --- directories ----------------------------------------------------------------------------------------------------

def test_nothing_is_changed_through_a_link_that_others_can_make(tmp_path: Path) -> None:
    """The path to the state directory is checked before anything is made or given a mode."""
    target, shared = tmp_path / "target", tmp_path / "shared"
    target.mkdir(mode=0o700)
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "state").symlink_to(target)
    for use in (lambda: open_state_directory(shared / "state", Log("text", "error")), lambda: make_directory(shared / "new", 0o755)):
        with pytest.raises(WrongUseError, match="can be written by everybody"):
            use()
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert not list(target.iterdir()) and not (shared / "new").exists()


def test_the_mode_of_an_own_directory_is_corrected(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    make_directory(tmp_path / "state", 0o711)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o711


def test_a_link_of_the_owners_own_may_lead_to_the_state_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("data")
    make_directory(tmp_path / "state", 0o711)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o711


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' directories")
def test_another_users_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(PermissionError):
        make_own_directory(tmp_path / "theirs", 0o711)
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o700


def test_recover_waits_for_a_hook_whose_turn_has_not_come(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recover runs one hook after another; between two of them none runs, and nothing is given up."""
    def status(stage: str, pending: list[str]) -> dict[str, Any]:
        hook = {"name": "web", "order": 10, "file": "10-web", "stage": stage, "phase": None, "attempt": 1,
                "running_s": None, "limit_s": None, "timeout_s": 60.0, "required": True, "worked": None, "refused": None,
                "event_id": "E-1", "again_in_s": None, "failures": 0}
        return {"ok": True, "status": STATUS | {"hooks": [hook], "recover_pending": pending}}

    loaded = load_settings(place.configuration, {})
    lock = Lock(place.state)
    monkeypatch.setattr("tideover.cli.actions.RECOVER_CHECK_S", 0.01)
    with place.answering(status("recover-pending", ["web"]), status("prepared", [])):
        assert _wait_until_recovered(loaded, ["web"], 5.0) == []
    lock.release()
