"""A Windows machine with the installer on it, its platform, its time, and hooks that write down that they ran."""
from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from wine_machine import WineMachine

from tideover.simulator import MetadataService, TimeServer

HOME = "C:\\ProgramData\\tideover"
PROGRAMS = "C:\\Program Files\\tideover"
SERVICE_PROGRAM = "tideover-service.exe"
LINES = "C:\\lines.txt"
HOOK = f"@echo off\n>>{LINES} echo %1 %TIDEOVER_KIND% %TIDEOVER_REASON% %TIDEOVER_CLOCK%\n"
CONFIGURATION = """[source]
kind = "azure"
endpoint = "{endpoint}"
poll = "100ms"
[pause]
settle = "500ms"
[clock]
servers = ["{time_server}"]
[log]
level = "debug"
{more}
"""


class World:
    """The machine, its platform and its time; hooks that write down that they ran."""

    def __init__(self, machine: WineMachine, installer: Path, metadata: MetadataService, clock: TimeServer) -> None:
        self.machine, self.metadata, self.clock, self.installer = machine, metadata, clock, installer
        self.until = machine.until

    def install(self) -> None:
        status, said = self.machine.status_and_words(self.installer, "/S")
        assert status == 0, f"{said}\n{self.machine.events()[-3000:]}"

    def is_installed(self) -> bool:
        return self.machine.path(PROGRAMS).exists()

    def uninstall(self, *words: str) -> int:
        """`_?=` makes the uninstaller the process that we wait for; it cannot take itself away then."""
        status, _ = self.machine.status_and_words(f"{PROGRAMS}\\uninstall.exe", "/S", *words, f"_?={PROGRAMS}")
        if status == 0:
            self.machine.path(f"{PROGRAMS}\\uninstall.exe").unlink(missing_ok=True)    # Wine lets it
            if self.is_installed():
                self.machine.path(PROGRAMS).rmdir()     # or it is not empty
        return status

    def configure(self, more: str = "") -> None:
        self.machine.put(f"{HOME}\\tideover.toml", CONFIGURATION.format(
            endpoint=self.metadata.endpoint, time_server=self.clock.address, more=more))

    def hook(self, name: str, text: str = HOOK) -> None:
        self.machine.put(f"{HOME}\\hooks.d\\{name}", text)

    def begin(self, more: str = "") -> None:
        """Installed, with one hook, and the agent asks the platform."""
        if not self.is_installed():
            self.install()
        self.stop()
        shutil.rmtree(self.machine.path(f"{HOME}\\state"), ignore_errors=True)
        shutil.rmtree(self.machine.path(f"{HOME}\\hooks.d"), ignore_errors=True)
        self.machine.path(LINES).unlink(missing_ok=True)
        self.hook("10-first.cmd")
        self.configure(more)
        self.start()

    def start(self) -> None:
        """A service that has just failed may be on its way to another start of its own: that counts as well."""
        asked = len(self.metadata.requests)
        self.until(lambda: self.machine.status_and_words("net", "start", "tideover")[0] == 0
                   or len(self.metadata.requests) > asked + 1)
        self.until(lambda: len(self.metadata.requests) > asked + 1)

    def stop(self) -> None:
        self.until(lambda: self.state == "STOPPED"
                   or self.machine.status_and_words("net", "stop", "tideover")[0] == 0)
        self.until(lambda: self.state == "STOPPED" and self.pids == [])

    @property
    def state(self) -> str:
        return self.machine.state("tideover")

    @property
    def pids(self) -> list[int]:
        return self.machine.processes(SERVICE_PROGRAM)

    def tideover(self, *words: str, check: bool = True) -> str:
        return self.machine.run(f"{PROGRAMS}\\bin\\tideover.exe", *words, check=check)

    def setup(self, *words: str) -> int:
        return self.machine.status_and_words(f"{PROGRAMS}\\python\\python.exe", "-I", "-m", "tideover_setup", *words)[0]

    def lines(self) -> list[str]:
        return [line.strip() for line in self.machine.text(LINES).splitlines()]

    def records(self) -> list[dict[str, object]]:
        return json.loads(self.tideover("history", "--json"))["events"]

    def last(self) -> dict[str, object]:
        return (self.records() or [{"status": "none"}])[-1]

    def await_status(self, wanted: str) -> dict[str, object]:
        self.until(lambda: self.last()["status"] == wanted)
        return self.last()

    def with_an_open_event(self, kind: str = "Freeze", **options: object) -> str:
        event = self.metadata.add_event(kind, not_before_in_s=600, **options)
        self.until(lambda: self.metadata.acknowledgements)
        self.await_status("acknowledged")
        assert self.lines() == [f"prepare {kind.lower()}"]
        return event

    def said_since(self, before: str) -> str:
        """What went to the event log since `machine.events()` gave `before`."""
        time.sleep(0.2)
        return self.machine.events().removeprefix(before)
