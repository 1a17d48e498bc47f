"""A machine for the clock check's tests: clocks that can be set, files of any system, and an owner who listens."""
from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tideover.clock.checker import ClockChecker
from tideover.clock.host import HostAccess
from tideover.clock.types import ClockCheckSettings, CommandResult
from tideover.effects import CheckClock
from tideover.model import ClockCheck
from tideover.observations import ClockFollowed, ClockJudged, Observation
from tideover.system.clocks import MachineClocks
from time_faults import TimeServer


class PlayedClocks:
    """This machine's raw clock, and a wall clock that can be set. Time can be skipped on both."""

    def __init__(self, behind_s: float = 0.0) -> None:
        self.behind_s, self.skipped_s = behind_s, 0.0

    def raw_ns(self) -> int:
        return MachineClocks().raw_ns() + int(self.skipped_s * 1e9)

    def wall_ns(self) -> int:
        return time.time_ns() + int((self.skipped_s - self.behind_s) * 1e9)


class SimulatedClocks:
    """Time that passes only by a call: seconds on the raw clock, and the truth beside it."""

    def __init__(self, behind_s: float = 0.0) -> None:
        self.raw_s, self.truth_s, self.behind_s = 1_000.0, 1_795_200_000.0, behind_s

    def raw_ns(self) -> int:
        return int(self.raw_s * 1e9)

    def wall_ns(self) -> int:
        return int((self.truth_s - self.behind_s) * 1e9)

    def pass_time(self, seconds: float) -> None:
        self.raw_s += seconds
        self.truth_s += seconds


def nothing_installed(arguments: Sequence[str]) -> CommandResult:
    return CommandResult(trouble=f"{arguments[0]} is not installed")


NOWHERE = HostAccess(root=Path("/nonexistent"), chrony_monitor=("127.0.0.1", 1), ntpd_control=("127.0.0.1", 1),
                       run=nothing_installed, kernel_clock=lambda: None, chance=lambda: 0.0, timeout_s=5.0)


def machine(root: Path, files: Mapping[str, str], **more: object) -> HostAccess:
    """A machine with these files and nothing else."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return replace(NOWHERE, root=root, **more)  # type: ignore[arg-type]


class Owner:
    """Starts checks and hears the answers."""

    def __init__(self, settings: ClockCheckSettings, clocks: PlayedClocks, surroundings: HostAccess) -> None:
        self.heard: queue.SimpleQueue[ClockJudged] = queue.SimpleQueue()
        self.followed: queue.SimpleQueue[ClockFollowed] = queue.SimpleQueue()
        self.clocks, self._deadline_s = clocks, settings.deadline_s
        self.checker = ClockChecker(self._hear, settings, clocks, surroundings)

    def start(self, round_number: int = 1, since_raw_s: float | None = None) -> CheckClock:
        effect = CheckClock("event", round_number, self.clocks.raw_ns() / 1e9 if since_raw_s is None else since_raw_s)
        self.checker.start(effect)
        return effect

    def answer(self, timeout_s: float = 5.0) -> ClockJudged:
        return self.heard.get(timeout=timeout_s)

    def check(self) -> ClockCheck:
        self.start()
        return self.answer().check

    def check_to_the_deadline(self, words: str, since_raw_s: float | None = None) -> ClockCheck:
        """Start a check, let it find what has these words in its reason, and skip to its deadline."""
        self.start(since_raw_s=since_raw_s)
        until(lambda: (latest := self.checker.latest()) is not None and words in latest.reason)
        self.clocks.skipped_s += self._deadline_s
        self.checker.clock_was_set()
        return self.answer().check

    def _hear(self, seen: Observation) -> None:
        if isinstance(seen, ClockFollowed):
            self.followed.put(seen)
        else:
            assert isinstance(seen, ClockJudged)
            self.heard.put(seen)


def now_raw_s() -> float:
    return MachineClocks().raw_ns() / 1e9


def workers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("tideover-clock")]


def pass_time(clocks: PlayedClocks, seconds: float, *servers: TimeServer) -> None:
    """Let time pass for this machine and for time servers, without waiting."""
    clocks.skipped_s += seconds
    for server in servers:
        server.ahead_s += seconds


def settings_for(*servers: str, tolerance_s: float = 0.25, deadline_s: float = 30.0,
                 remedy: str = "none") -> ClockCheckSettings:
    return ClockCheckSettings(servers, tolerance_s, deadline_s, remedy)


@contextlib.contextmanager
def owner(*servers: TimeServer | str, clocks: PlayedClocks | None = None, tolerance_s: float = 0.25, deadline_s: float = 30.0,
          remedy: str = "none", surroundings: HostAccess = NOWHERE) -> Iterator[Owner]:
    settings = settings_for(*(one if isinstance(one, str) else one.name for one in servers), tolerance_s=tolerance_s, deadline_s=deadline_s,
                            remedy=remedy)
    one = Owner(settings, clocks or PlayedClocks(), surroundings)
    try:
        yield one
    finally:
        one.checker.close()
        until(lambda: workers() == [])


def until(happens: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.001)
