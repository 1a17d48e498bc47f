"""A real agent process against the built-in metadata service and time server, with hooks that write down their lives."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tideover.simulator import MetadataService, TimeServer

AGENT = Path(__file__).parents[1] / "agent"
PATIENCE_S = 20.0
HOOK = """#!/bin/sh
echo "$(date +%s.%N) NAME $1 $$ $TIDEOVER_KIND $TIDEOVER_REASON $TIDEOVER_CLOCK" >> LOG
BODY
echo "$(date +%s.%N) NAME $1-ended" >> LOG
"""
SOURCE = """
[source]
kind = "{kind}"
endpoint = "{endpoint}"
poll = "100ms"
"""
SURROUNDINGS = """
[pause]
settle = "500ms"
[clock]
servers = [{servers}]
deadline = "{deadline}"
[paths]
hooks = "{home}/hooks.d"
state = "{home}/state"
runtime = "{home}/run"
{more}
"""


class World:
    """A folder with hooks and a configuration, a metadata service, a time server, and agents started on them."""

    def __init__(self, home: Path, metadata: MetadataService, time_server: TimeServer | None, kind: str = "azure") -> None:
        self.home, self.metadata, self.time_server, self.kind = home, metadata, time_server, kind
        self.log = home / "hooks.log"
        self.agents: list[subprocess.Popen[bytes]] = []
        (home / "hooks.d").mkdir(parents=True)

    def hook(self, file: str, body: str = ":") -> None:
        """`body` is sh; $1 is the phase."""
        path = self.home / "hooks.d" / file
        name = file.partition("-")[2]
        path.write_text(HOOK.replace("NAME", name).replace("LOG", str(self.log)).replace("BODY", body))
        path.chmod(0o755)

    def configure(self, more: str = "", deadline: str = "60s", source: str = "") -> None:
        """`source`: other [source] tables than those of the metadata service."""
        servers = f'"{self.time_server.address}"' if self.time_server else ""
        (self.home / "tideover.toml").write_text(
            (source or SOURCE.format(kind=self.kind, endpoint=self.metadata.endpoint))
            + SURROUNDINGS.format(servers=servers, home=self.home, more=more, deadline=deadline))

    def start(self, *, asks: bool = True, package: Path = AGENT) -> subprocess.Popen[bytes]:
        """`asks`: wait until it has asked the metadata service. `package`: the directory that the package lies in."""
        if not (self.home / "tideover.toml").exists():
            self.configure()
        with (self.home / "agent.log").open("ab") as log:
            agent = subprocess.Popen([sys.executable, "-m", "tideover", "run", "--config", str(self.home / "tideover.toml")],
                                     env=environment(package), stdout=log, stderr=log)
        self.agents.append(agent)
        asked = len(self.metadata.requests)
        if asks:
            self.until(lambda: len(self.metadata.requests) > asked + 1)
        return agent

    def kill(self) -> None:
        """As the kernel would: at once, nothing written any more."""
        self.agents[-1].send_signal(signal.SIGKILL)
        self.agents[-1].wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        agent = self.agents[-1]
        agent.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            agent.send_signal(signal.SIGCONT)

    def freeze(self, **options: Any) -> str:
        return self.metadata.add_event("Freeze", duration_s=5, **options)

    def live_through_freeze(self, stopped_s: float = 0.0) -> str:
        """An event from its announcement to its end, with a stop of so long; return its id."""
        event_id = self.freeze()
        self.until(lambda: self.record().get("started_at"))
        if stopped_s:
            with self.stopped():
                time.sleep(stopped_s)
            self.until(lambda: self.record()["status"] in ("recovered", "closed"))
        self.metadata.remove_event(event_id)
        self.until(lambda: self.record()["status"] == "closed")
        return event_id

    def until(self, question: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        end = time.monotonic() + patience_s
        while not (answer := question()):
            assert time.monotonic() < end, f"it never came; the agent said:\n{self.said()}\nhooks:\n{self.lines()}"
            time.sleep(0.02)
        return answer

    def said(self) -> str:
        path = self.home / "agent.log"
        return path.read_text() if path.exists() else ""

    def lines(self) -> list[list[str]]:
        """What the hooks wrote: [moment, name, phase or phase-ended, pid, kind, reason, clock]."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def begun(self) -> list[str]:
        """"name phase" in the order in which the runs began."""
        return [f"{line[1]} {line[2]}" for line in self.lines() if not line[2].endswith("-ended")]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tideover", *words, "--config", str(self.home / "tideover.toml")],
                              env=environment(), capture_output=True, text=True, timeout=60)

    def ask(self, *words: str) -> Any:
        """The document of a command, without the `schema` that each one carries."""
        answer = self.command(*words, "--json")
        assert answer.stdout, answer.stderr
        document = json.loads(answer.stdout)
        assert document.pop("schema") == 1
        return document

    def records(self) -> list[dict[str, Any]]:
        from tideover.journal import Journal
        from tideover.record import records_of
        path = self.home / "state" / "journal.db"
        if not path.exists():
            return []
        journal = Journal.reading(path)
        try:
            return [record.as_json() for record in records_of(journal.rows())]
        finally:
            journal.close()

    def record(self) -> dict[str, Any]:
        return self.records()[-1] if self.records() else {"status": "none", "outcome": None}

    def close(self) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                agent.send_signal(signal.SIGCONT)
                agent.terminate()
                try:
                    agent.wait(10)
                except subprocess.TimeoutExpired:
                    agent.kill()
                    agent.wait()


def environment(package: Path = AGENT) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(package)}


@contextmanager
def world(home: Path, *, time_offset_s: float | None = 0.0, start_after_s: float = 0.2) -> Iterator[World]:
    """`time_offset_s`: how far the time server is ahead of this machine; None: there is no time server."""
    metadata = MetadataService("vm-1", "11111111-2222-3333-4444-555555555555", start_after_acknowledge_s=start_after_s)
    time_server = None if time_offset_s is None else TimeServer(time_offset_s)
    with metadata:
        if time_server is not None:
            time_server.start()
        made = World(home, metadata, time_server)
        try:
            yield made
        finally:
            made.close()
            if time_server is not None:
                time_server.close()
