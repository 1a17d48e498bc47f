"""The lab's fixtures, and its table at the end of a run."""
from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from . import ground, table
from .image import image
from .play import Play
from .snapshot import Snapshot, snapshot

RUNS = "TIDEOVER_LAB_RUNS"           # of each case of a pause; the medians want five
ROWS: list[table.Row] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for it as often as the owner wants."""
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", range(1, int(os.environ.get(RUNS, "1")) + 1))


@pytest.fixture(scope="session")
def booted() -> Snapshot:
    """A booted guest, from the cache or made now."""
    reason = ground.missing()
    if reason:
        pytest.skip(reason)
    return snapshot(image())


@pytest.fixture(scope="session")
def _plays() -> Iterator[list[Play]]:
    """The guests of this run. A run that is ended (CI at its limit) ends them too."""
    plays: list[Play] = []
    before = signal.signal(signal.SIGTERM, _interrupt)
    yield plays
    for play in plays:
        play.close()
    signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def play(booted: Snapshot, _plays: list[Play], request: pytest.FixtureRequest) -> Iterator[Play]:
    """A guest with the agent at work. It lives through test after test; after a failure the next has a new one."""
    if not _plays:
        _plays.append(Play(booted))
    failed_before = request.session.testsfailed
    yield _plays[-1]
    if request.session.testsfailed > failed_before:
        _plays.pop().close()


@pytest.fixture
def tell() -> Callable[[table.Row], None]:
    """Keeps a row for the table at the end of the run."""
    return ROWS.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if ROWS:
        terminalreporter.section("the lab's table")
        for line in table.lines(ROWS):
            terminalreporter.write_line(line)
