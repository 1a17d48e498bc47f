"""Prints the table of the faults when the tests are done."""
from __future__ import annotations

from faults.table import TABLE


def pytest_terminal_summary(terminalreporter):
    if TABLE.rows:
        terminalreporter.section("faults: what was tried, and what held")
        for line in TABLE.lines():
            terminalreporter.write_line(line)
