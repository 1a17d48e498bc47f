"""Which tests run. Plain `pytest` is the fast suite; `pytest -m slow` runs the proofs, `pytest -m ""` both, the fast tests
first. In CI the proofs are sampled (`sampled.toml`).

The slow proofs need tools: real servers, a hypervisor, a container. One that is missing is reported by a skipped test; where
TIDEOVER_PROOFS=required (CI, which installs them), it fails instead."""
from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

import sampling

HERE = Path(__file__).parent
LIBRARY = HERE / "hooks"
"""Every proof of the hook library starts hooks, most of them servers: none belongs into the fast suite. Nor do the faults."""

SLOW_WITH_TOOLS = (LIBRARY, *(HERE / name for name in (
    "vm", "packaging", "metrics", "browser", "clients", "windows_install", "test_windows.py")))
FAULTS = HERE / "faults"
ELSEWHERE = "flink"
"""Not for CI: Flink comes as 329 MB of Java that Debian does not have."""

STARTS_HOOKS = ("test_hooks_", "test_cli_hooks", "test_removal", "test_threads", "test_api")
"""First, while there is little memory: a hook's supervisor is forked, and the kernel copies the tables of all of it (20 ms
instead of 5)."""

REQUIRED = os.environ.get("TIDEOVER_PROOFS") == "required"
FAST = "not slow"
MEMORY = "/dev/shm"
PLACE = pytest.StashKey[str]()
LEFT = pytest.StashKey[list[int]]()
"""How many proofs were left to other turns."""


def pytest_configure(config):
    """Thousands of tests keep what they made; looking through it all time and again costs the fast suite a second. The
    slow proofs need it: what was not closed keeps its files open until then."""
    if not config.option.markexpr and "-m" not in config.invocation_params.args and not any("::" in word for word in config.args):
        config.option.markexpr = FAST
    if config.option.markexpr == FAST:
        gc.set_threshold(100_000, 50, 50)
        _write_into_memory(config)
    elif "s" not in config.option.reportchars:
        config.option.reportchars += "s"
    config.stash[LEFT] = [0]


def _write_into_memory(config):
    """Hundreds of the fast tests open a journal, which waits for the disk at each entry. Whatever they write lies in
    memory where the system offers such a directory; what failed tests wrote is kept."""
    if sys.platform != "win32" and config.option.basetemp is None and "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) \
            and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and shutil.disk_usage(MEMORY).free > 64 << 20:
        place = tempfile.mkdtemp(prefix="t-", dir=MEMORY)
        Path(place).chmod(0o711)            # hooks of other users enter it
        os.environ["TMPDIR"] = tempfile.tempdir = place
        config.stash[PLACE] = place


def pytest_collection_finish(session):
    if session.config.option.markexpr == FAST:
        gc.freeze()                         # modules and tests live to the end


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if session.config.option.markexpr == FAST:
        gc.freeze()                         # or the interpreter looks through all of it three times more on its way out
    if PLACE in session.config.stash and not session.testsfailed:
        shutil.rmtree(session.config.stash[PLACE], ignore_errors=True)


def pytest_ignore_collect(collection_path, config):
    """The fast suite need not even read the files of slow proofs."""
    return True if config.option.markexpr == FAST and _only_slow(collection_path) else None


@cache
def _only_slow(path):
    if path in (*SLOW_WITH_TOOLS, FAULTS):
        return True
    return path.suffix == ".py" and re.search(r"^pytestmark = .*pytest\.mark\.slow", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if LIBRARY in item.path.parents or FAULTS in item.path.parents:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, not item.path.name.startswith(STARTS_HOOKS)))
    turn = sampling.asked_turn()
    if turn is not None:
        chosen = dict(zip(items, sampling.runs_in(turn, [item.nodeid for item in items]), strict=True))
        later = [item for item in items if not chosen[item] and item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in set(later)]
        config.stash[LEFT][0] = len(later)
        config.hook.pytest_deselected(items=later)


def pytest_terminal_summary(terminalreporter, config):
    tell = terminalreporter.write_line
    if config.option.markexpr == FAST:
        tell("")
        tell("This was the fast suite. The slow proofs (real servers, machines, stops; about an hour): pytest -m slow")
    if config.stash[LEFT][0]:
        tell("")
        tell(f"Turn {sampling.asked_turn()}: {config.stash[LEFT][0]} proofs are left to other turns (tests/sampled.toml). All: pytest -m slow")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail") and _must_run(item):
        report.outcome = "failed"
        report.longrepr = f"skipped, though this proof is required here: {report.longrepr}"


def _must_run(item):
    return any(place in (item.path, *item.path.parents) for place in SLOW_WITH_TOOLS) and ELSEWHERE not in item.nodeid
