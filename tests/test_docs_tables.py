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


def test_a_contributor_finds_each_module_once_with_what_lives_there():
    rows = [row.strip("|* ").split(" | ", 1) for row in write_tables.modules() if row.startswith(("| `", "| **"))]
    named = [name.strip("`* ") for name, _ in rows]
    package = write_tables.PACKAGE
    assert sorted(named) == sorted({*named}) and all((package / name).exists() for name in named)
    files = {file for file in package.rglob("*.py") if "sample" not in file.parts and file.name != "__init__.py"}
    assert files <= {package / name for name in named}
    assert [name for name, about in rows if not 25 <= len(about) <= 230] == [], "one sentence or two, of a docstring's first paragraph"
