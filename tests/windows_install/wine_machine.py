"""A Windows machine of its own, under Wine: switched on and off, its services, its files, its processes as Linux sees them.

Three things to know about Wine 8: a program's standard output must be a pipe (a regular file is an invalid handle); without
`wineserver -p` each command is a boot and a power failure; and what boots it must have no pipe of ours, or the services,
which live on, would hold it open.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = ("wine", "wineserver")
PATIENCE_S = 60.0
COMMAND_LIMIT_S = 180.0
OURS_NOT_ITS = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "CURL_CA_BUNDLE", "DISPLAY", "PYTHONPATH",
                "PYTHONHOME", "VIRTUAL_ENV", "TIDEOVER_CONFIG")


def why_not() -> str | None:
    """Why no such machine can be had here; None: it can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (tests/windows_install/packages.txt)" if missing else None


class WineMachine:
    """One machine, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self._events = folder / "prefix", folder / "events"
        plain = {name: value for name, value in os.environ.items() if name not in OURS_NOT_ITS}
        self._environment = {**plain, "WINEPREFIX": str(self.prefix), "WINEARCH": "win64", "WINEDEBUG": "-all"}
        # Our end of its standard input is closed when we end, however we do.
        self._guard = subprocess.Popen(["sh", "-c", "read nothing; wineserver -k"], stdin=subprocess.PIPE,
                                       env=self._environment, start_new_session=True, stderr=subprocess.DEVNULL)
        self._call("wine", "wineboot", "-i")
        self._call("wineserver", "-w")
        self.boot()
        self.run("winecfg", "/v", "win10", check=False)

    # --- on and off -------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Services that start with the machine are started. What they write to the event log goes to a file of ours."""
        self._call("wineserver", "-p")
        with self._events.open("ab") as events:
            self._call("wine", "wineboot", events=events)

    def power_off(self) -> None:
        """At once: no service is notified."""
        self._call("wineserver", "-k")
        self._call("wineserver", "-w")

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def _call(self, *words: str, events: object = subprocess.DEVNULL) -> None:
        environment = self._environment
        if events is not subprocess.DEVNULL:
            environment = {**environment, "WINEDEBUG": "-all,+eventlog"}
        subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=events,
                       timeout=COMMAND_LIMIT_S, check=False)

    # --- commands and files -----------------------------------------------------------------------------------------

    def run(self, *words: str | Path, check: bool = True, **environment: str) -> str:
        """Run a program of Windows; return what it printed."""
        return self.status_and_words(*words, check=check, **environment)[1]

    def status_and_words(self, *words: str | Path, check: bool = False, **environment: str) -> tuple[int, str]:
        done = subprocess.run(["wine", *map(str, words)], env=self._environment | environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_LIMIT_S, check=False)
        said = done.stdout.decode(errors="replace").replace("\r", "")
        assert done.returncode == 0 or not check, f"{words}: {done.returncode}\n{said}\n{self.events()[-3000:]}"
        return done.returncode, said

    def path(self, windows: str) -> Path:
        """Given a path below C:, return where Linux sees it."""
        assert windows.startswith("C:\\")
        return self.prefix / "drive_c" / windows[3:].replace("\\", "/")

    def put(self, windows: str, text: str) -> None:
        place = self.path(windows)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("\n", "\r\n"))

    def text(self, windows: str) -> str:
        place = self.path(windows)
        return place.read_text(errors="replace") if place.exists() else ""

    def registry(self, key: str) -> dict[str, str]:
        """Given a key, return its values by name; {} if there is no such key."""
        said = self.run("reg", "query", key, check=False)
        return {name: value for name, value in re.findall(r"^ +(\S+) +REG_\w+ +(.*)$", said, re.M)}

    def events(self) -> str:
        """What programs wrote to the event log, which Wine does not keep."""
        return self._events.read_text(errors="replace") if self._events.exists() else ""

    # --- services and processes -------------------------------------------------------------------------------------

    def state(self, service: str) -> str:
        """RUNNING, STOPPED …; "" where there is no such service."""
        found = re.search(r"STATE *: *\d+ +(\w+)", self.run("sc", "query", service, check=False))
        return found[1] if found else ""

    def processes(self, program: str) -> list[int]:
        """Given a program's file name, return its processes of this machine, by Linux' numbers."""
        mark = f"WINEPREFIX={self.prefix}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and program.encode() in (entry / "cmdline").read_bytes().split(b"\0")[0] \
                        and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def kill(self, program: str) -> None:
        for pid in self.processes(program):
            os.kill(pid, signal.SIGKILL)
        self.until(lambda: not self.processes(program))

    def until(self, question: Callable[[], object], patience_s: float = PATIENCE_S) -> object:
        end = time.monotonic() + patience_s
        while not (answer := question()):
            if time.monotonic() > end:
                pytest.fail(f"it never came\n{self.events()[-6000:]}")
            time.sleep(0.1)
        return answer

    def close(self) -> None:
        assert self._guard.stdin
        self._guard.stdin.close()
        self._guard.wait(COMMAND_LIMIT_S)
        self._call("wineserver", "-w")
        shutil.rmtree(self.prefix, ignore_errors=True)
