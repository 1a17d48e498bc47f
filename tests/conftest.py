"""A proof that is skipped for want of a tool is told so; where TIDEOVER_PROOFS=required (CI), it fails."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent / "hooks"
"""Every proof of the hook library starts hooks, most of them servers: none belongs into the fast suite."""

REQUIRED = os.environ.get("TIDEOVER_PROOFS") == "required"


def pytest_collection_modifyitems(items):
    for item in items:
        if LIBRARY in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though every proof is required here: {report.longrepr}"
