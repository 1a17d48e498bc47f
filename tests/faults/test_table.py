"""The table tells the truth about what was tried."""
from __future__ import annotations

import pytest

from faults.table import Table, trial


def test_a_fault_that_did_not_hold_is_reported():
    table = Table()
    with trial("disk full", "a small disk", "all protected", table) as tried:
        tried.times = 3
    with pytest.raises(AssertionError), trial("disk full", "a small disk", "all protected", table):
        raise AssertionError
    text = " ".join(" ".join(table.lines()[2:]).split())
    assert text == "disk full a small disk 4 3 NOT HELD: all protected in all 4 3"
