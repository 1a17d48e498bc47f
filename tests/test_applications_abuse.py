"""What other users, broken clients and many of them do to a real agent: each is refused or bounded, and the event beside
it is carried through."""
from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from client_programs import BLOCKING, ClientPrograms
from running_agent import World, world

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

TABLES = "[application.first]\norder = 5\n"
STRANGER = """
import json, os, socket, sys
os.setuid(int(sys.argv[2]))
channel = socket.socket(socket.AF_UNIX)
channel.settimeout(10)
channel.connect(sys.argv[1])
channel.sendall(sys.argv[3].encode() + b"\\n")
print(channel.recv(4096).decode(), channel.recv(1))
"""


@pytest.fixture
def here(tmp_path):
    tmp_path.chmod(0o755)
    with world(tmp_path, start_after_s=60.0) as made:
        made.hook("10-web")
        made.configure(TABLES)
        made.applications = ClientPrograms(tmp_path, str(tmp_path / "run/applications/socket"))
        yield made
        made.applications.close()


def path(here: World) -> str:
    return str(here.home / "run/applications/socket")


def begin(here: World) -> int:
    """Return the agent's pid."""
    agent = here.start()
    here.applications.start("first", BLOCKING)
    here.until(lambda: here.ask("status").get("applications") == ["first"])
    return agent.pid


def carry(here: World) -> None:
    """One event: prepared in order, acknowledged once, recovered."""
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    here.metadata.start_event(event)
    time.sleep(0.3)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert [line.split()[:2] for line in here.applications.lines()] == [["first", "prepare"], ["first", "recover"]]
    assert len(here.metadata.acknowledgements) == 1 and here.begun() == ["web prepare", "web recover"]


def client(here: World, first: bytes = b"") -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path(here))
    channel.settimeout(10.0)
    if first:
        with suppress(OSError):
            channel.sendall(first)
    return channel


def hello(name: str, **more: object) -> bytes:
    return json.dumps({"hello": name, "protocol": 1, "instance": "another", **more}).encode() + b"\n"


def resident_mib(pid: int) -> float:
    return next(int(line.split()[1]) / 1024 for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("VmRSS"))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_users_process_can_neither_be_an_application_nor_listen(here):
    for parent in here.home.parents:
        if parent != Path("/") and parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
            parent.chmod(0o711)
    begin(here)
    for message, why in ((hello("first"), "not that of this process"), (hello("eye", listen=True), "may not listen")):
        told = subprocess.run([sys.executable, "-I", "-c", STRANGER, path(here), "12345", message.decode().strip()],
                              capture_output=True, text=True, timeout=30)
        assert why in told.stdout and told.stdout.rstrip().endswith("b''"), told
    carry(here)


def test_garbage_half_lines_and_clients_that_never_read_leave_the_event_unharmed(here):
    pid = begin(here)
    before_mib = resident_mib(pid)
    with ExitStack() as open_:
        for data in (b"x" * 300_000, os.urandom(50_000), b"\0\n", b"[" * 60_000 + b"\n", b'{"done": 1}\n', b"{}\n", b'"\n'):
            open_.enter_context(client(here, data))
        halves = [open_.enter_context(client(here, b'{"hello": "first", ')) for _ in range(20)]
        deaf = open_.enter_context(client(here))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(hello("deaf", listen=True))
        began = time.monotonic()
        carry(here)
        assert resident_mib(pid) - before_mib < 20.0
        time.sleep(max(0.0, began + 6.0 - time.monotonic()))
        for half in halves:                 # none said hello within 5 s
            assert b"no hello" in half.recv(4096)


def test_a_thousand_connections_are_refused_beyond_the_bound_and_the_event_is_carried_through(here):
    pid = begin(here)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with ExitStack() as open_:
        for _ in range(1000):
            open_.enter_context(client(here, hello("eye", listen=True)))
        here.until(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) < 150)
        carry(here)


def test_an_agent_without_descriptors_goes_on_and_accepts_when_it_has_some(here):
    here.configure(TABLES + "[applications]\nconnections = 1000\n")
    pid = begin(here)
    used = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 24, hard))
    with ExitStack() as open_:
        for _ in range(60):
            open_.enter_context(client(here, hello("eye", listen=True)))
        time.sleep(1.5)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    here.until(lambda: b"welcome" in client(here, hello("eye", listen=True)).recv(4096))
    carry(here)


def test_clients_that_connect_and_leave_in_a_tight_loop_disturb_no_event(here):
    begin(here)
    is_over = threading.Event()

    def storm() -> None:
        while not is_over.is_set():
            with suppress(OSError), client(here, hello("first")):
                pass

    storms = [threading.Thread(target=storm) for _ in range(2)]
    for one in storms:
        one.start()
    try:
        carry(here)
    finally:
        is_over.set()
        for one in storms:
            one.join()
