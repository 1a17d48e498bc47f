"""What every proof of the hook library shares: the bench, and a place where numbers are printed even when all is well."""
from __future__ import annotations

import contextlib
import ctypes
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import bench as benches
from .bench import Bench

NUMBERS: list[str] = []
PR_SET_CHILD_SUBREAPER = 36     # prctl(2)


@pytest.fixture(autouse=True, scope="session")
def orphans_are_not_ours() -> None:
    """Other tests run the agent's parts in this process, which takes orphans to itself: a server that has ended would stay
    a zombie here, and its supervisor (Patroni) would wait for its end for ever."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextlib.contextmanager
def own_directory() -> Iterator[Path]:
    """Yield a directory that everybody may enter; remove it afterwards."""
    made = Path(tempfile.mkdtemp(prefix="tideover-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def lab() -> Iterator[Bench]:
    """A bench of three machines, gone afterwards."""
    reason = benches.missing()
    if reason:
        pytest.skip(reason)
    with benches.bench(3) as made:
        yield made


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that servers under users of their own can reach: pytest's are root's alone."""
    with own_directory() as made:
        yield made


@pytest.fixture
def tell() -> Callable[[str, object], None]:
    """Given a case and what was seen, keep the line for the end of the run."""
    def keep(case: str, seen: object) -> None:
        line = f"{case}: {seen}"
        NUMBERS.append(line)
        print(line)
    return keep


def pytest_configure(config: pytest.Config) -> None:
    """Name our own marker."""
    config.addinivalue_line("markers", "extra: a yardstick or a second case, left out where time is short (CI)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the clients saw."""
    if NUMBERS:
        terminalreporter.section("what the clients saw")
        for line in NUMBERS:
            terminalreporter.write_line(line)
