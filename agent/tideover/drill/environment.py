"""The processes of a drill: simulated platform, agent, sample applications; how they are stopped, resumed and ended.

Ends what it started, by process id, whatever state it is in; and what hooks of this drill left running. Nothing else.
"""
from __future__ import annotations

import os
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tideover.drill.plan import DrillPlan
from tideover.drill.process_group import ProcessGroup, end_hooks_of
from tideover.drill.sandbox import DrillDirectory, make_folder
from tideover.errors import TideoverError, WrongUseError, system_reason
from tideover.journal import FILE, Journal
from tideover.simulator import TimeServer, load_simulator
from tideover.status import recover_pending
from tideover.text_safety import drop_controls

# --- Processes

CLOSE_S = 8.0               # the agent ends its hooks within 5 s when it is asked to end
LAST_WORDS = 300            # characters of the agent's log


@dataclass(frozen=True, slots=True)
class Outage:
    """How long something was away: its true length lies between the two. `began_at`, `ended_at`: by the wall clock."""

    shortest_s: float
    longest_s: float
    began_at: float
    ended_at: float

    @property
    def middle_s(self) -> float:
        return (self.shortest_s + self.longest_s) / 2


class DrillAgent:
    """One run of `tideover run` after the other, on one folder."""

    def __init__(self, folder: DrillDirectory) -> None:
        self._folder = folder
        self._group: ProcessGroup | None = None
        self._stopping = self._stopped = (0.0, 0.0)

    @property
    def pid(self) -> int:
        return self._group.pid if self._group else 0

    @property
    def exit_status(self) -> int | None:
        """None: it runs (or is stopped)."""
        return self._group.exit_status if self._group else None

    def start(self) -> None:
        """Start it apart from us: a Ctrl-C is the drill's to handle. Raise WrongUseError."""
        environment = {name: value for name, value in os.environ.items() if name != "TIDEOVER_CONFIG"}
        command = [sys.executable, "-m", "tideover", "run", "--config", str(self._folder.configuration)]
        self._group = _start(command, self._folder.log, environment | {"TIDEOVER_DRILL": "1"})

    def stop(self) -> None:
        """Stop all its processes, as if the machine were paused."""
        asked = time.monotonic(), time.time()
        if self._group is not None:
            self._group.stop()
        self._stopping, self._stopped = asked, (time.monotonic(), time.time())

    def resume(self) -> Outage:
        """Let it run again; return how long it was stopped."""
        before = time.monotonic()
        if self._group is not None:
            self._group.go_on()
        return Outage(before - self._stopped[0], time.monotonic() - self._stopping[0], self._stopping[1], time.time())

    def kill(self) -> None:
        """End it without a word, as a machine that goes down does."""
        if self._group is not None:
            self._group.kill()

    def run_pending_recovers(self, limit_s: float) -> None:
        """Have `tideover recover` done: through the agent if it runs, without one if it does not."""
        if self._group is not None:
            self._group.go_on()
        command = [sys.executable, "-m", "tideover", "recover", "--yes", "--config", str(self._folder.configuration),
                   "--wait", f"{limit_s:.0f}s"]
        recovering = _start(command, self._folder.log, dict(os.environ) | {"TIDEOVER_DRILL": "1"})
        if not recovering.wait(limit_s + CLOSE_S):
            recovering.kill()

    def close(self) -> None:
        """End it in peace, or else without, together with the hooks it leaves."""
        if self._group is None:
            return
        self._group.ask_to_end()
        self._group.go_on()
        if not self._group.wait(CLOSE_S):
            self.kill()
        end_hooks_of(self._folder.state)

    def how_it_ended(self) -> str:
        """Return why it does not run any more, with the last line of its log where it ended by itself."""
        status = self.exit_status
        if status is not None and status < 0:
            return f"the agent was ended from outside (signal {-status})"
        try:
            lines = self._folder.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return f"the agent ended with status {status} ({drop_controls(last, LAST_WORDS)})"


class SampleAppProcess:
    """The sample application (see `sample/app.py`)."""

    def __init__(self, folder: DrillDirectory) -> None:
        self._folder = folder
        self._group: ProcessGroup | None = None

    def start(self) -> None:
        """Raise WrongUseError if it cannot be started."""
        program = Path(__file__).with_name("sample") / "app.py"
        self._group = _start([sys.executable, "-I", str(program), str(self._folder.counter)],
                             self._folder.path / "counter.log", dict(os.environ))

    def kill(self) -> None:
        if self._group is not None:
            self._group.kill()


class SampleFeedProcess:
    """The sample application that takes part over the socket (see `sample/feed.py`)."""

    def __init__(self, folder: DrillDirectory) -> None:
        self._folder = folder
        self._group: ProcessGroup | None = None

    def start(self) -> None:
        """Raise WrongUseError if it cannot be started."""
        program = Path(__file__).with_name("sample") / "feed.py"
        self._group = _start([sys.executable, str(program), self._folder.applications, str(self._folder.notes)],
                             self._folder.path / "feed.log", dict(os.environ))

    def kill(self) -> None:
        if self._group is not None:
            self._group.kill()


def _start(command: list[str], log: Path, environment: dict[str, str]) -> ProcessGroup:
    try:
        return ProcessGroup(command, log, environment)
    except OSError as trouble:
        raise WrongUseError(f"cannot start {Path(command[0]).name} for the drill",
                            system_reason(trouble),
                            "Free memory, processes or disk space, then retry") from trouble


# --- The environment

PROCESS_TABLE = Path("/proc/self/stat")     # of Linux (proc(5))
RECOVER_MORE_S = 10.0       # beside the hooks' own timeouts


def require_process_table() -> None:
    """Raise WrongUseError where processes could not be found, to be stopped and ended."""
    if sys.platform != "win32" and not PROCESS_TABLE.exists():
        raise WrongUseError("cannot run a drill", "/proc is not mounted, and without it the drill cannot find the "
                            "processes that it has to stop and end", "Mount it: mount -t proc proc /proc")


class DrillEnvironment:
    """As a context: leaving it recovers what the owner's hooks have prepared, ends every process, and removes the
    folder unless `keeps_folder` is set or something is left prepared (`left_prepared`: the names of the hooks)."""

    def __init__(self, plan: DrillPlan) -> None:
        """Raise WrongUseError if there is no room for a drill."""
        require_process_table()
        self.folder: DrillDirectory = make_folder()
        self.keeps_folder = False
        self.left_prepared: list[str] = []
        self._plan = plan
        self.agent, self.counter = DrillAgent(self.folder), SampleAppProcess(self.folder)
        self.feed = SampleFeedProcess(self.folder)
        try:
            self.simulator = load_simulator(plan.platform)
            self.service, self.time = self.simulator.open_service(), TimeServer()
        except OSError as trouble:
            self.folder.remove()
            raise WrongUseError("cannot run a drill", "there is no free port on 127.0.0.1 "
                                f"({system_reason(trouble)})", "Retry later.") from trouble

    def __enter__(self) -> DrillEnvironment:
        self.service.start()
        self.time.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._plan.own is not None and self._pending():
            self.agent.run_pending_recovers(self._plan.budget_s + RECOVER_MORE_S)
            self.left_prepared = self._pending()
        self.agent.close()
        self.counter.kill()
        self.feed.kill()
        self.service.close()
        self.time.close()
        self.keeps_folder = self.keeps_folder or bool(self.left_prepared)
        if not self.keeps_folder:
            self.folder.remove()

    def _pending(self) -> list[str]:
        try:
            journal = Journal.reading(self.folder.state / FILE)
        except TideoverError:
            return []                       # the agent never came so far as to have one
        try:
            return recover_pending(journal.load())
        except (TideoverError, sqlite3.Error):
            return [spec.name for spec in self._plan.own.specs] if self._plan.own else []
        finally:
            journal.close()
