"""Prints the table of the faults when the tests are done."""
from __future__ import annotations

from faults.everywhere import EVERY
from faults.table import TABLE


def pytest_terminal_summary(terminalreporter):
    if TABLE.rows:
        terminalreporter.section("faults: what was tried, and what held")
        for line in TABLE.lines():
            terminalreporter.write_line(line)
        if EVERY > 1:
            terminalreporter.write_line(f"Of each life's points every {EVERY}th was tried; those between, on other days.")
