"""A webhook is news: it never holds an event, whatever the receiver does."""
from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .running import DONE, FAILED, Hook
from .worlds.basics import FAKES

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The strict receiver on loopback: its URL without path, and the file with what it took."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = tmp_path / "told"
    process = subprocess.Popen([sys.executable, str(FAKES / "receiver.py"), "127.0.0.1", str(port), str(told)])
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", told
    process.kill()
    process.wait()


def test_it_tells_once_before_and_once_after(receiver: tuple[str, Path], tmp_path: Path) -> None:
    """Run again after a crash it does not tell the same news again; a harder kind is news."""
    url, told = receiver
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer secret\n")
    hook = Hook("webhook", tmp_path / "state", {"URL": f"{url}/ok", "HEADERS_FILE": str(headers)})
    for run in (hook, hook, replace(hook, kind="reboot")):
        assert run.prepare().status == DONE
    assert hook.recover().status == DONE
    news = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(n["phase"], n["kind"]) for n in news] == [("prepare", "freeze"), ("prepare", "reboot"), ("recover", "freeze")]
    assert news[2]["pause_s"] == "10.0"
    assert replace(hook, kind="unannounced").recover().status == DONE
    assert len(told.read_text().splitlines()) == 4


@pytest.mark.parametrize("path", ["/error", "/moved"])
def test_a_receiver_that_does_not_take_it_holds_nothing(receiver: tuple[str, Path], tmp_path: Path, path: str) -> None:
    """By default a failure is told and no failure; with MUST_ARRIVE it is one. A redirect is not followed."""
    url, told = receiver
    hook = Hook("webhook", tmp_path / "state", {"URL": url + path})
    ran = hook.prepare()
    assert ran.status == DONE and "not told" in ran.output
    assert replace(hook, settings={"URL": url + path, "MUST_ARRIVE": "yes"}, kind="reboot").prepare().status == FAILED
    assert not told.exists()


def test_an_answer_that_drips_ends_in_its_time(receiver: tuple[str, Path], tmp_path: Path) -> None:
    """Each byte is in time and the whole never is: the bound is on the whole."""
    url, _ = receiver
    ran = Hook("webhook", tmp_path / "state", {"URL": f"{url}/drip", "TIMEOUT_S": "0.5"}).prepare()
    assert ran.status == DONE and "not told" in ran.output
    assert ran.took_s < 4
