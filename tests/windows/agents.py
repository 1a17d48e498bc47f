"""A real agent on Windows against the built-in metadata service and time server, with .cmd hooks that write down their
lives: what the tests of the whole are played on."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tideover.simulator import MetadataService, TimeServer
from tideover.winapi.base import request_stop

PATIENCE_S = 40.0
HOOK = """@echo off
>> "LOG" echo NAME %1 %TIDEOVER_KIND% %TIDEOVER_REASON% %TIDEOVER_CLOCK%
BODY
set STATUS=%ERRORLEVEL%
>> "LOG" echo NAME %1-ended
exit /b %STATUS%
"""
CONFIGURATION = """
[source]
kind = "azure"
endpoint = "{endpoint}"
poll = "200ms"
[pause]
settle = "500ms"
[clock]
servers = ["{server}"]
[paths]
hooks = '{home}\\hooks.d'
state = '{home}\\state'
runtime = '{home}\\run'
{more}
"""


class World:
    """A folder with hooks and a configuration, a metadata service, a time server, and agents started on them."""

    def __init__(self, home: Path, metadata: MetadataService, server: TimeServer) -> None:
        self.home, self.metadata, self.server = home, metadata, server
        self.log = home / "hooks.log"
        self.agents: list[subprocess.Popen[bytes]] = []
        (home / "hooks.d").mkdir()
        self.configure()

    def configure(self, more: str = "") -> None:
        (self.home / "tideover.toml").write_text(CONFIGURATION.format(
            endpoint=self.metadata.endpoint, server=self.server.address, home=self.home, more=more), encoding="utf-8")

    def hook(self, file: str, body: str = "rem") -> None:
        """`body`: a line of cmd; %1 is the phase."""
        name = Path(file).stem[3:]
        text = HOOK.replace("NAME", name).replace("LOG", str(self.log)).replace("BODY", body)
        (self.home / "hooks.d" / file).write_bytes(text.replace("\n", "\r\n").encode())

    def start(self) -> subprocess.Popen[bytes]:
        asked = len(self.metadata.requests)
        with (self.home / "agent.log").open("ab") as log:
            agent = subprocess.Popen(self._command("run"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.agents.append(agent)
        self.until(lambda: len(self.metadata.requests) > asked + 1)
        return agent

    @contextmanager
    def stopped(self) -> Iterator[None]:
        psutil.Process(self.agents[-1].pid).suspend()
        try:
            yield
        finally:
            psutil.Process(self.agents[-1].pid).resume()

    def kill(self) -> None:
        """At once, nothing written any more."""
        self.agents[-1].kill()
        self.agents[-1].wait()

    def stop(self) -> int:
        assert request_stop(self.agents[-1].pid)
        return self.agents[-1].wait(PATIENCE_S)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              encoding="utf-8", timeout=2 * PATIENCE_S)

    def ask(self, *words: str) -> Any:
        answer = self.command(*words, "--json")
        assert answer.stdout, answer.stderr
        return json.loads(answer.stdout)

    def record(self) -> dict[str, Any]:
        return (self.ask("history")["events"] or [{"status": "none", "outcome": None}])[-1]

    def begun(self) -> list[str]:
        """"name phase" in the order in which the runs began."""
        return [" ".join(line[:2]) for line in self.lines() if not line[1].endswith("-ended")]

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def said(self) -> str:
        return (self.home / "agent.log").read_text(encoding="utf-8", errors="replace")

    def until(self, question: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (answer := question()):
            assert time.monotonic() < end, f"it never came; the agent said:\n{self.said()}\nhooks:\n{self.lines()}"
            time.sleep(0.05)
        return answer

    def close(self) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait()

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tideover", *words, "--config", str(self.home / "tideover.toml")]


@contextmanager
def world(home: Path) -> Iterator[World]:
    os.environ.pop("TIDEOVER_CONFIG", None)
    metadata = MetadataService("vm-1", "11111111-2222-3333-4444-555555555555", start_after_acknowledge_s=0.2)
    server = TimeServer(0.0)
    with metadata:
        server.start()
        made = World(home, metadata, server)
        try:
            yield made
        finally:
            made.close()
            server.close()
