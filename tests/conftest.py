"""The slow proofs need tools: real servers, a hypervisor, a container. One that is missing is told by a skipped test;
where TIDEOVER_PROOFS=required (CI, which installs them), it fails instead."""
from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARY = HERE / "hooks"
"""Every proof of the hook library starts hooks, most of them servers: none belongs into the fast suite. Nor do the faults."""

SLOW_WITH_TOOLS = (LIBRARY, *(HERE / name for name in (
    "vm", "packaging", "metrics", "browser", "clients", "windows_install", "test_windows.py")))
FAULTS = HERE / "faults"
ONLY_SLOW = (*SLOW_WITH_TOOLS, FAULTS, *(HERE / f"test_{name}.py" for name in (
    "agent", "by_hand", "clock_chronyd", "clock_networks", "hooks_orphans", "hooks_trees", "metrics_agent", "terminal_watched")))
ELSEWHERE = "flink"
"""Not for CI: Flink comes as 329 MB of Java that Debian does not have."""

REQUIRED = os.environ.get("TIDEOVER_PROOFS") == "required"


def pytest_configure(config):
    """Thousands of tests keep what they made; looking through it all time and again costs the fast suite a second. The
    slow proofs need it: what nobody closed keeps its files open until then."""
    if config.option.markexpr == "not slow":
        gc.set_threshold(100_000, 50, 50)


def pytest_ignore_collect(collection_path, config):
    """The fast suite need not even read the folders of slow proofs."""
    return True if config.option.markexpr == "not slow" and collection_path in ONLY_SLOW else None


def pytest_collection_modifyitems(items):
    for item in items:
        if LIBRARY in item.path.parents or FAULTS in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail") and _must_run(item):
        report.outcome = "failed"
        report.longrepr = f"skipped, though this proof is required here: {report.longrepr}"


def _must_run(item):
    return any(place in (item.path, *item.path.parents) for place in SLOW_WITH_TOOLS) and ELSEWHERE not in item.nodeid
