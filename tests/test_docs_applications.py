"""The examples of docs/applications.md: those in shell and Node are run as they stand there, with a real agent; and the
stream processor, whose loss over a stop is counted without and with tideover."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from running_agent import World
from tideover.simulator import MetadataService, TimeServer

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

DOCS = Path(__file__).parents[1] / "docs"
STOP_S = 10.0
SENT_EVERY_S = 0.01
PAYLOAD = b"x" * 2000       # of an event: a second of them is more than the system's buffers hold
KEPT = 100                 # what the source holds for a reader that does not read, then it drops
APPLICATIONS = """
[application.node-app]
[application.shell-app]
[application.stream-processor]
"""


def example(language: str) -> str:
    page = (DOCS / "applications.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)[0]


@pytest.fixture
def here(tmp_path):
    with MetadataService("vm-1") as service, TimeServer() as clock:
        world = World(tmp_path, service, clock)
        world.configure(APPLICATIONS)
        world.started = []
        yield world
        for process in world.started:
            process.kill()
            process.wait()
        world.close()


def path(here: World) -> Path:
    return here.home / "run/applications/socket"


def connected(here: World, name: str) -> None:
    here.until(lambda: name in here.ask("status")["applications"])


def test_the_examples_for_node_and_shell_take_part_in_an_event(here):
    assert shutil.which("node") and shutil.which("socat") and shutil.which("jq"), "the packages of these proofs are missing"
    here.start()
    node, shell, notes = here.home / "app.js", here.home / "shell-app.sh", here.home / "notes"
    node.write_text(example("js"))
    shell.write_text(example("sh"))
    shell.chmod(0o755)
    printed = (here.home / "node.log").open("wb")
    here.started = [
        subprocess.Popen(["node", str(node)], stdout=printed, env={**os.environ, "TIDEOVER_APPLICATIONS_SOCKET": str(path(here))}),
        subprocess.Popen(["socat", f"UNIX-CONNECT:{path(here)}", f"EXEC:{shell}"], env={**os.environ, "NOTES": str(notes)})]
    connected(here, "node-app")
    connected(here, "shell-app")
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    here.metadata.start_event(event)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert [line.split()[0] for line in (here.home / "node.log").read_text().splitlines()] == ["prepare", "recover"]
    assert notes.read_text().splitlines() == ["prepare", "recover"]


class Source:
    """Sends a number each 10 ms to whoever is connected, keeps `KEPT` for a reader that does not read, and drops the rest."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.sent = 0
        self.is_held = False
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        channel, _ = self.listener.accept()
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        channel.setblocking(False)
        waiting = b""
        while not self.is_over.wait(SENT_EVERY_S):
            try:
                said = channel.recv(100)
                if b"hold" in said:
                    self.is_held = True
                    waiting += b"held\n"
                elif b"go on" in said:
                    self.is_held = False
            except BlockingIOError:
                pass
            if not self.is_held:
                self.sent += 1
                waiting += b"%d %s\n" % (self.sent, PAYLOAD) if waiting.count(b"\n") < KEPT else b""
            try:
                waiting = waiting[channel.send(waiting):]
            except BlockingIOError:
                pass
        channel.setblocking(True)
        channel.sendall(waiting)
        channel.close()


def lost(here: World, *, alone: bool) -> int:
    """How many of the source's numbers were lost over a stop of the machine of 10 s."""
    source, checkpoint = Source(), here.home / f"checkpoint-{alone}"
    processor = subprocess.Popen(
        [sys.executable, str(DOCS / "examples/stream_processor.py"), source.address, str(checkpoint), *(["--alone"] if alone else [])],
        env={**os.environ, "TIDEOVER_APPLICATIONS_SOCKET": str(path(here)), "PYTHONPATH": str(DOCS.parent / "agent")})
    here.started.append(processor)
    event = ""
    if not alone:
        connected(here, "stream-processor")
        event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.start_event(event)
    else:
        time.sleep(1.0)
    stopped = [processor, *([] if alone else [here.agents[-1]])]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    time.sleep(STOP_S)
    for process in stopped:
        process.send_signal(signal.SIGCONT)
    if event:
        here.until(lambda: here.record()["status"] == "recovered")
    time.sleep(1.0)
    source.is_over.set()
    processor.wait(30)
    seen = json.loads(checkpoint.read_text())["seen"]
    assert len(set(seen)) == len(seen)
    return source.sent - len(seen)


def test_the_stream_processor_loses_nothing_over_a_stop_with_tideover_and_hundreds_without(here):
    here.start()
    without, with_it = lost(here, alone=True), lost(here, alone=False)
    print(f"lost over a stop of {STOP_S:g} s: {without} without tideover, {with_it} with it")
    assert with_it == 0 and without > 100
