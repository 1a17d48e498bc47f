"""Runs one hook of the library as the agent does: clean environment, own session, record on standard input.

It never judges; it says what the hook answered and how long it took.
"""
from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "hooks"
NAMES = tuple(sorted(p.name for p in LIBRARY.iterdir() if p.is_file() and os.access(p, os.X_OK)))

DONE, FAILED, WRONG_USE, NOTHING, REFUSED, NOT_YET = 0, 1, 2, 3, 4, 75


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run of a hook ended."""

    status: int
    output: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook with its settings, its private directory and (for the bench) the machine it runs on."""

    name: str
    state: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    kind: str = "freeze"
    inside: Sequence[str] = ()           # a command prefix: enter the machine's network
    record: Mapping[str, object] = field(default_factory=dict)

    def environment(self, phase: str, seconds_left: float, more: Mapping[str, str]) -> dict[str, str]:
        """Given one run, return exactly what the contract says a hook gets, and nothing of ours."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        recovering = {"TIDEOVER_REASON": "resumed", "TIDEOVER_PAUSE_S": "10.0", "TIDEOVER_PAUSE_UNCERTAINTY_S": "0.1",
                      "TIDEOVER_CLOCK": "good", "TIDEOVER_CLOCK_OFFSET_S": "0.001"} if phase == "recover" else {}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root",
            "TIDEOVER_PHASE": phase, "TIDEOVER_EVENT_ID": "event-1", "TIDEOVER_KIND": self.kind,
            "TIDEOVER_NOT_BEFORE": "", "TIDEOVER_SECONDS_LEFT": f"{seconds_left:.3f}", "TIDEOVER_EXPECTED_PAUSE_S": "",
            "TIDEOVER_ATTEMPT": "1", "TIDEOVER_TRACE_ID": "trace-1", "TIDEOVER_STATE_DIR": str(self.state),
            **recovering, **self.settings, **more,
        }

    def begin(self, phase: str, *, seconds_left: float = 60, **more: str) -> subprocess.Popen[str]:
        """Given a phase, start the hook in a session of its own and return the process."""
        command = [*self.inside, str(LIBRARY / self.name), phase]
        process = subprocess.Popen(command, env=self.environment(phase, seconds_left, more), cwd="/", text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):       # most hooks do not read it, and may have ended
            process.stdin.write(json.dumps({"event_id": "event-1", "kind": self.kind, **self.record}))
            process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdin = None
        return process

    def run(self, phase: str, *, seconds_left: float = 60, **more: str) -> Ran:
        """Given a phase, run the hook to its end. Raise AssertionError if it outlives its time by 10 s."""
        begun = time.monotonic()
        process = self.begin(phase, seconds_left=seconds_left, **more)
        try:
            output, _ = process.communicate(timeout=seconds_left + 10)
        except subprocess.TimeoutExpired:
            end_session(process)
            raise AssertionError(f"{self.name} {phase} was still running 10 s after its time") from None
        return Ran(process.returncode, output, time.monotonic() - begun)

    def prepare(self, *, seconds_left: float = 60, patience_s: float = 120, **more: str) -> Ran:
        """Given 75 means "not yet", run prepare again after a short wait as the agent does; return the last run."""
        return self._run_on("prepare", seconds_left, patience_s, more)

    def recover(self, *, seconds_left: float = 60, patience_s: float = 120, **more: str) -> Ran:
        """Given 75 means "not yet", run recover again as the agent does; return the last run."""
        return self._run_on("recover", seconds_left, patience_s, more)

    def _run_on(self, phase: str, seconds_left: float, patience_s: float, more: Mapping[str, str]) -> Ran:
        begun = time.monotonic()
        while (ran := self.run(phase, seconds_left=seconds_left, **more)).status == NOT_YET:
            assert time.monotonic() - begun < patience_s, f"{phase} never ended: {ran.output}"
            time.sleep(0.2)
        return Ran(ran.status, ran.output, time.monotonic() - begun)


@dataclass(slots=True)
class AroundAStop:
    """A hook whose prepare comes before a stop and its recover after it; both must work."""

    hook: Hook
    seconds_left: float = 60             # to prepare
    prepare_took_s: float = 0.0

    def prepare(self) -> None:
        ran = self.hook.prepare(seconds_left=self.seconds_left)
        assert ran.status == DONE, ran.output
        self.prepare_took_s = ran.took_s

    def recover(self) -> None:
        ran = self.hook.recover()
        assert ran.status == DONE, ran.output


def end_session(process: subprocess.Popen[str]) -> None:
    """Given a hook's process, kill its whole session's group and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@functools.cache
def describe(name: str) -> dict[str, object]:
    """Given a hook's name, return what its `describe` prints."""
    done = subprocess.run([str(LIBRARY / name), "describe"], capture_output=True, text=True, timeout=10,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}, check=True)
    return dict(json.loads(done.stdout))
