"""A proof that is skipped for want of a tool is told so; where TIDEOVER_PROOFS=required (CI), it fails."""
from __future__ import annotations

import os

import pytest

REQUIRED = os.environ.get("TIDEOVER_PROOFS") == "required"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though every proof is required here: {report.longrepr}"
