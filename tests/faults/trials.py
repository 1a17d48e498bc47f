"""One life of an event with one real agent, and what befalls it at one point. Plays the outside: the platform, the time,
the service manager that starts what has died. Judges nothing (see `guarantees`)."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.played_time import PlayedTime
from tideover.journal import Journal, JournalUnreadable
from tideover.simulator import MetadataService, TimeServer

TESTS = Path(__file__).parents[1]
PATIENCE_S = 15.0
LOOK_S = 0.01
LIVED_S = 0.25          # of one look counts at most: what held us up has held up the agent too
QUIET_S = 0.25         # an agent that passes no point for so long has nothing to do
AWAY_S = 3.0            # how long the machine is away in a pause
HOOK = """#!/bin/bash
# Whose agent has died runs on until it is ended.
unless_orphaned() { while sleep "$1"; do read -r _ _ _ parent _ < /proc/$$/stat; [ "$parent" = $PPID ] && break; done; }
exec 9>>HOME/copies.NAME
flock -n 9 || echo "$EPOCHREALTIME NAME TWO-COPIES $$" >> LOG
echo "$EPOCHREALTIME NAME $1 $$ $TIDEOVER_EVENT_ID $TIDEOVER_REASON $TIDEOVER_CLOCK" >> LOG
BODY
status=$?
echo "$EPOCHREALTIME NAME $1-ended $$ $status" >> LOG
exit $status
"""
CONFIGURATION = """
[source]
kind = "azure"
endpoint = "{endpoint}"
poll = "50ms"
[policy]
{policy}
[hooks]
timeout = "10s"
[pause]
tick = "50ms"
settle = "{settle}"
[clock]
servers = ["{servers}"]
deadline = "{deadline}"
[hook.other]
kinds = ["terminate"]
[paths]
hooks = "{home}/hooks.d"
state = "{home}/state"
runtime = "{home}/run"
{more}
"""


class Starter:
    """The process that forks agents (see `launcher`). One agent at a time; `fork` gives another one that has all loaded."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.launcher"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent / 'agent'}:{TESTS}"})
        assert self._process.stdin is not None and self._process.stdout is not None
        self._asks, self._answers = self._process.stdin, self._process.stdout

    def fork(self) -> ForkedStarter:
        return ForkedStarter(self)

    def write(self, what: dict[str, Any]) -> None:
        self._asks.write(json.dumps(what) + "\n")
        self._asks.flush()

    def ask(self, what: dict[str, Any]) -> int:
        self.write(what)
        return int(self.next()["pid"])

    def next(self) -> dict[str, Any]:
        return dict(json.loads(self._answers.readline()))

    def close(self) -> None:
        self._asks.close()
        self._process.wait()


class ForkedStarter(Starter):
    def __init__(self, of: Starter) -> None:
        with tempfile.TemporaryDirectory() as home, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{home}/starter")
            listener.listen()
            of.write({"socket": f"{home}/starter"})
            self._connection, _ = listener.accept()
        self._asks, self._answers = self._connection.makefile("w"), self._connection.makefile()

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Stage:
    """A home, a platform, a time server, and an agent that is started again whenever it has died.

    `at`, `befall`: what befalls the agent where. `again_at`: … and the one started after that.
    `pointed`: whether the agent passes points; without, it is as it is shipped but for its clocks.
    `reboots`: what has died is taken for the whole machine: its hooks are gone, the boot is another.
    `stopped_s`: how long a stopped agent stays so.
    `metadata`: of another stage's availability set.
    `poll_factor`: what the polling interval is multiplied by; the configuration allows none below 50 ms.
    """

    def __init__(self, starter: Starter, *, at: str = "", befall: str = "", again_at: str = "", reboots: bool = False,
                 stopped_s: float = 1.3, start_after_s: float = 0.15, policy: str = "", deadline: str = "20s",
                 settle: str = "100ms", more: str = "", pointed: bool = True, poll_factor: float = 1.0,
                 metadata: MetadataService | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tideover-life-"))
        self.time = PlayedTime(self.home / "time")
        self.at, self.befall, self.again_at, self.reboots, self.stopped_s = at, befall, again_at, reboots, stopped_s
        self.poll_factor = poll_factor
        self.boot, self.boot_id = 1, str(uuid.uuid4())
        self.metadata = metadata or MetadataService("vm-1", "11111111-2222-3333-4444-555555555555", now=self.time.outside_s,
                                        start_after_acknowledge_s=start_after_s)
        self.time_server = TimeServer(now=self.time.outside_s)
        self.starts, self.deaths, self.pointed = 0, 0, pointed
        self.lingers_within_s = 6.0     # after a pause; then the platform removes the event
        self.faults: list[str] = []
        self.stops: list[float] = []    # when each was over, seconds since the epoch
        self.is_stopped = self.is_rebooting = False
        self._starter, self._pid, self._ending = starter, 0, False
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        (self.home / "hooks.d").mkdir()
        (self.home / "tideover.toml").write_text(CONFIGURATION.format(
            endpoint=self.metadata.endpoint, servers=self.time_server.address, home=self.home, policy=policy,
            deadline=deadline, settle=settle, more=more))

    def hook(self, file: str, body: str = "unless_orphaned 0.05") -> None:
        path = self.home / "hooks.d" / file
        text = HOOK.replace("BODY", body).replace("NAME", file.partition("-")[2])
        path.write_text(text.replace("LOG", str(self.home / "hooks.log")).replace("HOME", str(self.home)))
        path.chmod(0o755)

    def __enter__(self) -> Stage:
        self.metadata.start()
        self.time_server.start()
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.metadata.close()
        self.time_server.close()
        self._end_hooks()
        shutil.rmtree(self.home, ignore_errors=True)

    def end(self) -> None:
        """The agent ends, and is not started again."""
        self._ending = True
        with contextlib.suppress(ProcessLookupError):
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
        self._keeper.join()

    # --- the service manager ------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._ending:
            at = {0: self.at, 1: self.again_at}.get(self.deaths, "")
            self._pid = self._starter.ask({"home": str(self.home), "boot": self.boot, "boot_id": self.boot_id, "at": at,
                                           "befall": self.befall, "pointed": self.pointed,
                                           "poll_factor": self.poll_factor})
            self.starts += 1
            if self._ending:
                os.kill(self._pid, signal.SIGKILL)
            status = self._until_it_ends()
            self._pid = 0
            if not self._ending:
                self._died(status)

    def _until_it_ends(self) -> int:
        while (news := self._starter.next())["now"] != "ended":
            if news["now"] == "stopped":
                self._go_on_after(self.stopped_s)
        return int(news["status"])

    def _go_on_after(self, seconds: float) -> None:
        self.is_stopped = True
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):       # the machine was rebooted meanwhile
            os.kill(self._pid, signal.SIGCONT)
        self.stops.append(time.time())
        self.is_stopped = False

    def _died(self, status: int) -> None:
        if status != -signal.SIGKILL:
            self.faults.append(f"the agent ended with {status}")
            self._ending = True
        if self.is_rebooting:
            self._reboot()
            return
        self.deaths += 1
        if self.reboots:
            self._reboot()

    def reboot(self) -> None:
        """The machine starts again: the agent and all hooks are gone at once."""
        before, self.is_rebooting = self.boot, True
        while self.boot == before and self._keeper.is_alive():
            with contextlib.suppress(ProcessLookupError):
                if self._pid:
                    os.kill(self._pid, signal.SIGKILL)
            time.sleep(LOOK_S)
        self.is_rebooting = False

    def _reboot(self) -> None:
        self._end_hooks()
        self.time.reboot()
        self.boot_id = str(uuid.uuid4())
        self.boot += 1

    def _end_hooks(self) -> None:
        mark = f"TIDEOVER_STATE_DIR={self.home}".encode()
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (place / "environ").read_bytes():
                        os.kill(int(place.name), signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The agent's; 0 while there is none."""
        return self._pid

    # --- what the script waits for ------------------------------------------------------------------------------------

    def points(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.home / "points").read_text().splitlines()
        return []

    def passed(self) -> list[str]:
        """The points alone, by name."""
        return [line for line in self.points() if line[0].isdigit()]

    def has_committed(self, *words: str) -> bool:
        """Whether some transaction wrote all of these."""
        return any(point.endswith(": committed") and all(word in point for word in words) for point in self.points())

    def lines(self) -> list[list[str]]:
        """What the hooks wrote: [moment, name, phase | phase-ended | TWO-COPIES, pid, …]."""
        with contextlib.suppress(OSError):
            return [line.split() for line in (self.home / "hooks.log").read_text().splitlines()]
        return []

    def begun(self, name: str, phase: str) -> bool:
        return any(line[1:3] == [name, phase] for line in self.lines())

    def until(self, question: Callable[[], Any], patience_s: float = PATIENCE_S, *, must: bool = True) -> bool:
        waited_s, looked = 0.0, time.monotonic()
        while not question():
            if waited_s > patience_s or self.faults:
                if must:
                    raise AssertionError("it never came: " + self.story())
                return False
            time.sleep(LOOK_S)
            before, looked = looked, time.monotonic()
            waited_s += min(looked - before, LIVED_S)
        return True

    def story(self) -> str:
        """Everything there is to know of a life that went wrong."""
        with contextlib.suppress(ProcessLookupError):
            if self._pid:
                os.kill(self._pid, signal.SIGUSR1)
                time.sleep(0.2)
        with contextlib.suppress(OSError):
            said = (self.home / "agent.log").read_text()[-6000:]
            hooks = "\n".join(" ".join(line) for line in self.lines())
            posts = [request.at for request in self.metadata.requests if request.method == "POST"]
            points = "\n".join(self.points()[-60:])
            return f"{self.at} {self.befall} {self.faults}\n{said}\n{hooks}\nPOSTs {posts}\n{points}\n"
        return f"{self.at} {self.befall} {self.faults}: nothing was said"

    # --- what the platform does ---------------------------------------------------------------------------------------

    def announce(self, event_id: str, kind: str = "Freeze", **more: Any) -> None:
        self.metadata.add_event(kind, id=event_id, **more)

    def has_started(self, event_id: str) -> bool:
        return self.metadata.status_of(event_id) == "Started" and self.has_committed(f"{event_id} event started")

    def pause_until(self, question: Callable[[], Any]) -> None:
        """The machine is away; where it was not seen, because no agent ran, it happens again."""
        for _ in range(4):
            self.until(lambda: not self.is_stopped)
            self.time.pass_by(AWAY_S)
            if self.until(lambda: question() or self.is_stopped, 0.7, must=False) and question():
                return

    def hear_of_the_stop(self) -> None:
        """Where the agent was stopped, wait until it goes on, and a moment for it to write that down."""
        self.until(lambda: self.stops or not any(line.startswith("-- stop") for line in self.points()), 3.0, must=False)
        self.until(lambda: not self.stops or self._has_written_of_it(), 3.0, must=False)

    def let_it_rest(self) -> None:
        """A stop or a leap at the very end may have made an event of its own: wait for its end, too."""
        self.until(self.is_at_rest, 5.0, must=False)

    def is_at_rest(self) -> bool:
        """Nothing is open, and the agent has done nothing for a moment: what was noticed last is taken in."""
        with contextlib.suppress(OSError):
            if time.time() - (self.home / "points").stat().st_mtime < QUIET_S:
                return False
        with contextlib.suppress(JournalUnreadable), contextlib.closing(
                Journal.reading(self.home / "state" / "journal.db")) as journal:
            state = journal.load()
            return not state.cases and not state.hooks
        return False

    def _has_written_of_it(self) -> bool:
        points = self.points()
        stopped = next((place for place, line in enumerate(points) if line.startswith("-- stop")), 0)
        return any(" pause" in line and line.endswith(": committed") for line in points[stopped:])

    def finish(self, *event_ids: str) -> None:
        """The events leave the list; wait until they are closed."""
        for event_id in event_ids:
            if event_id in self.metadata.listed():
                self.metadata.remove_event(event_id)
        for event_id in event_ids:
            self.until(lambda event_id=event_id: self.has_committed(f"{event_id} closed"))


@contextlib.contextmanager
def staged(starter: Starter, **options: Any) -> Iterator[Stage]:
    with Stage(starter, **options) as stage:
        yield stage
