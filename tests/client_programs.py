"""Programs that take part in events by the client library, as processes of their own, and what they wrote down."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKING = """
import sys
from tideover.client import Application
name, path, notes = sys.argv[1:4]
with Application(name, socket_path=path) as app:
    for run in app.runs():
        with run, open(notes, "a") as file:
            file.write(f"{name} {run.phase} {run.kind} {run.reason} {run.clock}\\n")
"""
ASYNC = """
import asyncio, sys
from tideover.client import AsyncApplication
name, path, notes = sys.argv[1:4]
async def main():
    async with AsyncApplication(name, socket_path=path) as app:
        async for run in app.runs():
            async with run:
                with open(notes, "a") as file:
                    file.write(f"{name} {run.phase} {run.kind} {run.reason} {run.clock}\\n")
asyncio.run(main())
"""


class ClientPrograms:
    """Below a directory; `address`: where they connect to the agent."""

    def __init__(self, home: Path, address: str) -> None:
        self.home, self.address, self.notes = home, address, home / "notes"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, program: str = BLOCKING) -> subprocess.Popen[bytes]:
        script = self.home / f"{name}.py"
        script.write_text(program)
        process = subprocess.Popen([sys.executable, str(script), name, self.address, str(self.notes)],
                                   stdin=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
