"""The parts of the agent that are Windows' own: the door, the lock, the clocks, the rights, the folders."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import winreg
from pathlib import Path
from typing import Any

import psutil
import pytest
import win32con
import win32security

from tideover.api.named_pipe import pipe_name
from tideover.api.protocol import ApiServer, ask, connect
from tideover.cli.events import write_page
from tideover.config_file import platform_paths
from tideover.doctor.bundle import write_bundle
from tideover.errors import UnreachableError, WrongUseError
from tideover.hooks.trust import trusted_users, why_untrusted
from tideover.pause.types import HostChanged
from tideover.pause.watch import GUEST_PARAMETERS, open_readers
from tideover.platforms import detect
from tideover.system import ROOT, clocks
from tideover.system.dmi import firmware_table, read_dmi
from tideover.system.file_lock import Lock, read_holder
from tideover.system.private_files import make_own_directory
from tideover.system.removal import empty_directory
from tideover.winapi import pipes
from tideover.winapi.base import ntdll, own_profile, program_data, read_text, system_directory
from tideover.winapi.clocks import biased_reader, raw_reader
from tideover.winapi.security import ADMINISTRATORS, SYSTEM, own_sid, read_file_security

# --- the door -------------------------------------------------------------------------------------------------------

def test_a_client_of_the_pipe_is_answered_also_at_length(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    server = ApiServer(tmp_path / "run" / "tideover.sock", {"much": lambda question: {"ok": True, "word": "x" * 1_000_000}})
    try:
        for _ in range(3):
            assert len(ask(tmp_path / "run" / "tideover.sock", tmp_path, {"ask": "much"})["word"]) == 1_000_000
        assert ask(tmp_path / "run" / "tideover.sock", tmp_path, {"ask": "nothing"})["ok"] is False
    finally:
        server.close()
        lock.release()


def test_another_process_than_the_locks_holder_is_not_believed(tmp_path: Path) -> None:
    server = ApiServer(tmp_path / "x", {"say": lambda question: {"ok": True}})
    with pytest.raises(UnreachableError, match=f"process {os.getpid()} answers at .*, but no agent is running"):
        ask(tmp_path / "x", tmp_path, {"ask": "say"})
    server.close()


def test_many_ask_at_once(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    server = ApiServer(tmp_path / "x", {"say": lambda question: {"ok": True, "n": question["n"]}})
    answers: list[int] = []
    asking = [threading.Thread(target=lambda n=n: answers.append(ask(tmp_path / "x", tmp_path, {"ask": "say", "n": n})["n"]))
              for n in range(20)]
    for one in asking:
        one.start()
    for one in asking:
        one.join(20)
    server.close()
    lock.release()
    assert sorted(answers) == list(range(20))


def test_where_no_agent_listens_the_answer_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot ask the agent"):
        ask(tmp_path / "nobody", tmp_path, {"ask": "status"})


@pytest.mark.skipif(hasattr(ntdll, "wine_get_version"), reason="Wine 8 lets anybody take a pipe's name")
def test_no_other_process_can_take_the_pipes_name(tmp_path: Path) -> None:
    """Another process that listened under our name would answer in it."""
    first = ApiServer(tmp_path / "x", {})
    with pytest.raises(OSError):
        ApiServer(tmp_path / "x", {})
    first.close()


def test_a_closed_door_is_free_again(tmp_path: Path) -> None:
    ApiServer(tmp_path / "x", {}).close()
    end = time.monotonic() + 10
    while True:
        try:
            ApiServer(tmp_path / "x", {}).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_one_who_leaves_in_the_middle_does_not_shut_the_door(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    server = ApiServer(tmp_path / "x", {"say": lambda question: {"ok": True}})
    rude = connect(tmp_path / "x", 1.0)
    rude.send(b'{"ask": "sa')
    rude.close()
    assert ask(tmp_path / "x", tmp_path, {"ask": "say"})["ok"]
    server.close()
    lock.release()


def test_clients_that_send_half_a_question_block_no_other_client(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    server = ApiServer(tmp_path / "x", {"say": lambda question: {"ok": True}})
    half = [connect(tmp_path / "x", 5.0) for _ in range(64)]
    for one in half:
        one.send(b'{"ask": "sa')
    begun = time.monotonic()
    assert ask(tmp_path / "x", tmp_path, {"ask": "say"})["ok"]
    assert time.monotonic() - begun < 0.5
    for one in half:
        one.close()
    server.close()
    lock.release()


def test_what_the_system_cannot_give_is_reported_once_and_asked_for_again(tmp_path: Path, monkeypatch: Any) -> None:
    """Each client needs an end of the pipe of its own."""
    told: list[str | None] = []
    tries = []

    def none_left(*arguments: Any, **options: Any) -> Any:
        tries.append(arguments)
        raise OSError(12, "Not enough quota")

    lock = Lock(tmp_path)
    server = ApiServer(tmp_path / "x", {"say": lambda question: {"ok": True}}, told.append)
    real = pipes.create_pipe
    monkeypatch.setattr(pipes, "create_pipe", none_left)
    assert ask(tmp_path / "x", tmp_path, {"ask": "say"})["ok"], "the end that was open already"
    time.sleep(0.5)
    monkeypatch.setattr(pipes, "create_pipe", real)
    end = time.monotonic() + 10
    while True:
        try:
            assert ask(tmp_path / "x", tmp_path, {"ask": "say"})["ok"]
            break
        except UnreachableError:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert told[0] == "not enough quota" and told[1:] == [None] and 1 < len(tries) < 20
    server.close()
    lock.release()


def test_what_a_hook_left_goes_at_any_depth_and_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    inside.mkdir()
    deepest = inside
    for _ in range(60):
        deepest = deepest / "d"
        Path("\\\\?\\" + str(deepest)).mkdir()
    (inside / "d" / "file").write_text("x")
    subprocess.run(["cmd", "/c", "mklink", "/J", str(inside / "d" / "junction"), str(outside)], capture_output=True)
    assert empty_directory(inside) is None
    assert list(inside.iterdir()) == [] and (outside / "kept").read_text() == "kept"


def test_the_usual_pipe_is_the_contracts_and_a_directory_has_one_of_its_own() -> None:
    assert platform_paths().runtime == "\\\\.\\pipe\\tideover"
    assert pipe_name("\\\\.\\pipe\\tideover") == "\\\\.\\pipe\\tideover"
    assert pipe_name("C:\\lab\\run/tideover.sock") == pipe_name("c:/LAB/run\\tideover.sock") != pipe_name("C:\\lab\\x")


# --- the lock -------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from tideover.system.file_lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_state_directory_has_one_agent_and_is_free_when_that_dies(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline().strip() == b"held"
    held = read_holder(tmp_path)
    assert held is not None and held.pid == other.pid
    with pytest.raises(WrongUseError, match=f"process {other.pid}"):
        Lock(tmp_path)
    other.kill()
    other.wait()
    assert read_holder(tmp_path) is None
    Lock(tmp_path).release()


# --- clocks ---------------------------------------------------------------------------------------------------------

def test_the_clocks_go_forward_together() -> None:
    before = (clocks.raw_ns(), clocks.mono_ns(), clocks.boot_ns(), clocks.wall_ns())
    time.sleep(0.3)
    passed = [after - one for after, one in zip((clocks.raw_ns(), clocks.mono_ns(), clocks.boot_ns(), clocks.wall_ns()),
                                                before, strict=True)]
    assert all(abs(one - passed[0]) < 50_000_000 for one in passed), passed
    assert passed[0] >= 250_000_000
    assert abs(clocks.wall_ns() / 1e9 - time.time()) < 0.5


def test_where_the_exact_interrupt_times_are_missing_no_sleep_is_claimed_from_coarse_ones() -> None:
    """Wine 8 has them not, Windows 10 and Wine 10 have them: either both are used or neither."""
    if biased_reader() is None:
        assert clocks.boot_ns is clocks.raw_ns
        assert raw_reader() is time.perf_counter_ns
    else:
        assert abs(clocks.boot_ns() - clocks.raw_ns()) >= 0


def test_the_boot_has_an_id_that_every_process_reads_alike() -> None:
    code = "from tideover.system.clocks import raw_ns, read_boot_id; print(read_boot_id(), raw_ns())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert clocks.read_boot_id() == other[0] != ""
    assert 0 <= clocks.raw_ns() - int(other[1]) < 60_000_000_000


# --- rights ---------------------------------------------------------------------------------------------------------

def test_what_the_agent_makes_is_its_own_and_no_other_users(tmp_path: Path) -> None:
    made = tmp_path / "state" / "hooks"
    make_own_directory(made, 0o700)
    for path in (made, made.parent):
        found = win32security.GetFileSecurity(str(path), win32security.DACL_SECURITY_INFORMATION)
        access = found.GetSecurityDescriptorDacl()
        allowed = {win32security.ConvertSidToStringSid(access.GetAce(n)[2]) for n in range(access.GetAceCount())}
        assert allowed <= {SYSTEM, ADMINISTRATORS, own_sid()}, allowed


def test_a_page_and_a_bundle_can_be_read_by_their_owner_and_administrators_only(tmp_path: Path) -> None:
    write_page(str(tmp_path / "page.html"), "<p>", quietly=True)
    write_bundle(tmp_path / "bundle.tar", {"a.txt": b"a"})
    for path in (tmp_path / "page.html", tmp_path / "bundle.tar"):
        found = win32security.GetFileSecurity(str(path), win32security.DACL_SECURITY_INFORMATION)
        access = found.GetSecurityDescriptorDacl()
        allowed = {win32security.ConvertSidToStringSid(access.GetAce(n)[2]) for n in range(access.GetAceCount())}
        assert allowed and allowed <= {SYSTEM, ADMINISTRATORS, own_sid()}, allowed
    with pytest.raises(WrongUseError):
        write_bundle(tmp_path / "bundle.tar", {})


def test_a_file_in_the_place_of_a_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    with pytest.raises(OSError):
        make_own_directory(tmp_path / "state", 0o700)


def allow_everybody(path: Path, rights: int) -> None:
    everybody = win32security.ConvertStringSidToSid("S-1-1-0")
    found = win32security.GetFileSecurity(str(path), win32security.DACL_SECURITY_INFORMATION)
    access = found.GetSecurityDescriptorDacl()
    access.AddAccessAllowedAce(win32security.ACL_REVISION, rights, everybody)
    found.SetSecurityDescriptorDacl(1, access, 0)
    win32security.SetFileSecurity(str(path), win32security.DACL_SECURITY_INFORMATION, found)


@pytest.mark.parametrize("what", ["file", "home", "above"])
def test_a_hook_that_others_can_change_is_refused_and_the_correction_is_named(tmp_path: Path, what: str) -> None:
    home = tmp_path / "above" / "hooks.d"
    make_own_directory(home, 0o700)
    hook = home / "10-one.cmd"
    hook.write_text("@exit /b 0\n")
    assert why_untrusted(str(hook), trusted_users(), set()) is None
    spoilt = {"file": hook, "home": home, "above": home.parent}[what]
    allow_everybody(spoilt, win32con.GENERIC_ALL)
    why = why_untrusted(str(hook), trusted_users(), set())
    assert why is not None and str(spoilt) in why.what and "S-1-1-0" in why.what and "icacls" in why.hint


def test_a_directory_found_safe_is_not_looked_at_again(tmp_path: Path) -> None:
    home = tmp_path / "hooks.d"
    make_own_directory(home, 0o700)
    (home / "10-one.cmd").write_text("")
    safe: set[str] = set()
    why_untrusted(str(home / "10-one.cmd"), trusted_users(), safe)
    assert any(str(home) in one for one in safe) and not any("10-one" in one for one in safe)


def test_a_batch_file_whose_path_cmd_would_change_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "100%PATH%"
    make_own_directory(home, 0o700)
    for file, refused in (("10-one.cmd", True), ("10-one.py", False)):
        (home / file).write_text("")
        assert (why_untrusted(str(home / file), trusted_users(), set()) is not None) is refused


def test_the_owner_and_the_rights_of_what_is_there_can_be_read() -> None:
    found = read_file_security(system_directory())
    assert found.owner.startswith("S-1-") and found.access
    with pytest.raises(OSError) as trouble:
        read_file_security("C:\\no such thing")
    assert trouble.value.filename == "C:\\no such thing"


# --- the machine ----------------------------------------------------------------------------------------------------

def test_folders_are_where_windows_says() -> None:
    assert program_data().lower() == "c:\\programdata"
    assert platform_paths().configuration.lower() == "c:\\programdata\\tideover\\tideover.toml"
    assert Path(own_profile()).is_dir() and Path(system_directory(), "cmd.exe").is_file()


def test_no_user_can_plant_a_kernels_file(tmp_path: Path) -> None:
    """Every user of Windows may make C:\\etc and C:\\proc."""
    with pytest.raises(OSError):
        (ROOT / "etc").mkdir(parents=True)
    assert not (ROOT / "proc").exists()


def test_the_platform_is_recognised_by_the_firmware() -> None:
    assert firmware_table()
    assert detect(read_dmi()).source_kind == "none"


def test_the_registry_is_read_and_silent_about_what_it_has_not() -> None:
    assert read_text(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion", "ProductName")
    assert read_text(r"SOFTWARE\no such key", "x") == ""


def test_a_new_physical_host_is_heard_on_a_beat() -> None:
    key = winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, GUEST_PARAMETERS, 0, winreg.KEY_ALL_ACCESS | winreg.KEY_WOW64_64KEY)
    try:
        winreg.SetValueEx(key, "PhysicalHostName", 0, winreg.REG_SZ, "host-1")
        (reader,) = open_readers()
        assert reader.read() == ()
        winreg.SetValueEx(key, "PhysicalHostName", 0, winreg.REG_SZ, "host-2")
        assert reader.read() == (HostChanged("host-1", "host-2"),)
    finally:
        winreg.DeleteValue(key, "PhysicalHostName")


def test_the_watch_notices_that_it_was_stopped(tmp_path: Path) -> None:
    """Suspended as a whole, as by a debugger: the raw clock ran on over a wait that was asked to be short."""
    code = ("import time\nfrom tideover.pause import PauseWatch\nfrom tideover.observations import Resumed\n"
            "seen = []\nwatch = PauseWatch(seen.append)\nwatch.start()\ntime.sleep(1)\nprint('up', flush=True)\n"
            "while not seen: time.sleep(0.05)\nprint(seen[0].pause.length_s, seen[0].pause.uncertainty_s)\n")
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "up\n"
    psutil.Process(other.pid).suspend()
    time.sleep(2)
    psutil.Process(other.pid).resume()
    length_s, uncertainty_s = map(float, other.stdout.readline().split())
    other.kill()
    other.wait()
    assert abs(length_s - 2) <= uncertainty_s + 0.5 and uncertainty_s < 0.5
