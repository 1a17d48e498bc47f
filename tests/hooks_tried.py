"""A hooks directory with real scripts, a runner, and the answers it gave: what the tests of hooks are played on."""
from __future__ import annotations

import os
import queue
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.environment_file import OwnerVariables, owner_variables
from tideover.hooks.runner import GracePeriods, HookRunner
from tideover.model import HookPhase, HookReport, HookSpec, Kind, Moment
from tideover.observations import HookSettled, Observation
from tideover.settings import default_settings, options_for
from tideover.system.clocks import read_moment

WITHIN_S = 20.0         # an upper bound for a busy machine, never what is expected
UNTIL_GO = "until test -e ../../go; do sleep 0.01; done"       # a hook waits in its state directory for `Bench.go`
QUICK = GracePeriods(timeout_s=0.1, call_off_s=0.1)


class Bench:
    """Writes hooks, runs them, remembers lines and answers. Everything lies in a directory that any user can enter."""

    def __init__(self, graces: GracePeriods = QUICK, drill: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tideover-hooks-"))
        self.hooks, self.state = self.directory / "hooks.d", self.directory / "state"
        self.hooks.mkdir()
        for made in (self.directory, self.hooks):
            made.chmod(0o755)
        self.answers: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.lines: list[str] = []
        self.readings = 0           # of the clock: the runner takes one whenever it wakes up
        self.environment: dict[str, str] = {}       # what the owner sets for each hook
        self.environment_file: str | None = None
        self.runner = HookRunner(
            self.answers.put, self.state, drill=drill, graces=graces, environment_of=self._owner_variables,
            log_line=lambda name, line: self.lines.append(line), read_moment=self._read_moment)
        self._runs = 0
        self._faults: list[threading.ExceptHookArgs] = []
        threading.excepthook = self._faults.append

    def _owner_variables(self, name: str) -> OwnerVariables:
        options = options_for(default_settings(), name)
        return owner_variables(replace(options, environment=self.environment, environment_file=self.environment_file))

    def _read_moment(self) -> Moment:
        self.readings += 1
        return read_moment()

    def write(self, file: str, script: str, shebang: str = "#!/bin/sh") -> HookSpec:
        """Given a file's name and its script, put it into the directory and return its hook. The script is at home in
        its state directory."""
        path = self.hooks / file
        path.write_text(f'{shebang}\ncd "$TIDEOVER_STATE_DIR"\n{script}\n')
        path.chmod(0o755)
        order, _, name = file.partition("-")
        return HookSpec(name, int(order), str(path))

    def go(self) -> None:
        """Let hooks go on that wait for it (UNTIL_GO)."""
        (self.directory / "go").touch()

    def order(self, spec: HookSpec, phase: HookPhase = HookPhase.PREPARE, limit_s: float = WITHIN_S) -> RunHook:
        self._runs += 1
        reason = "resumed" if phase is HookPhase.RECOVER else ""
        return RunHook(spec, phase, self._runs, 1, limit_s, "event-1", Kind.FREEZE, reason)

    def start(self, run: RunHook, record: bytes = b"{}") -> RunHook:
        self.runner.start(run, record, "trace-1")
        return run

    def answer(self) -> HookSettled:
        found = self.answers.get(timeout=WITHIN_S)
        assert isinstance(found, HookSettled)
        return found

    def run(self, spec: HookSpec, phase: HookPhase = HookPhase.PREPARE, limit_s: float = WITHIN_S) -> HookReport:
        """Given a hook, run it once and return its report."""
        self.start(self.order(spec, phase, limit_s))
        return self.answer().report

    def say(self, script: str, **changes: object) -> HookReport:
        """Given a script, run it as a hook and return its report."""
        return self.run(replace(self.write("10-said", script), **changes))     # type: ignore[arg-type]

    def close(self) -> None:
        self.runner.close()
        threading.excepthook = threading.__excepthook__
        assert not self._faults
        shutil.rmtree(self.directory, ignore_errors=True)


def await_that(question: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait until the answer is yes."""
    until = time.monotonic() + within_s
    while not question():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.001)


def read_pid(file: Path) -> int:
    """Given a file that a hook writes a process's number to, wait for it and return it."""
    await_that(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def is_alive(pid: int) -> bool:
    """Return whether that process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_a_process_of_its_own(act: Callable[[Bench], None]) -> None:
    """Play it on a bench in a process that has no children yet, whatever other tests have left to this one."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            bench = Bench()
            act(bench)
            bench.close()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "see what it printed"


def end(pid: int) -> None:
    """End a process that a test has left alive."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
