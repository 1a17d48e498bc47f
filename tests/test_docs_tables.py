"""The tables of the documents that are made from the code are current."""
import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("write_tables", DOCS / "write_tables.py")
write_tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(write_tables)
PAGES = {file.name: file.read_text() for file in sorted(DOCS.glob("*.md"))}


def test_the_tables_in_the_documents_are_current():
    pytest.importorskip("prometheus_client")
    stale = [name for name, page in PAGES.items() if write_tables.updated(page) != page]
    assert not stale, f"{', '.join(stale)}: run `python docs/write_tables.py`"


def test_each_table_stands_in_a_document():
    assert {name for page in PAGES.values() for name, _ in write_tables.BLOCK.findall(page)} == set(write_tables.TABLES)


def test_each_alert_of_the_rules_is_in_its_table():
    rules = write_tables.RULES.read_text()
    assert [row.split("`")[1] for row in write_tables.alerts() if "`" in row] == re.findall(r"- alert: (\w+)", rules)
