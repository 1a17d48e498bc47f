"""The table tells the truth about what was tried."""
from __future__ import annotations

import pytest

from faults import table as tables
from faults.table import Table


def test_a_fault_that_did_not_hold_is_told(monkeypatch):
    monkeypatch.setattr(tables, "TABLE", Table())
    with tables.trial("disk full", "a small disk", "all protected") as tried:
        tried.times = 3
    with pytest.raises(AssertionError), tables.trial("disk full", "a small disk", "all protected"):
        raise AssertionError
    text = " ".join(tables.TABLE.lines()[2].split())
    assert text == "disk full a small disk 4 3 NOT HELD: all protected"
