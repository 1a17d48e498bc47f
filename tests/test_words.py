"""Texts that people read use the words of this field: no metaphors, no words of our own. The glossary explains the rest."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from source_trees import PACKAGE as HOUSE, nodes
from tideover.lifecycle import Phase
from tideover.model import Cause, HookOutcome, Kind, Verdict

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
PRIVATE = re.compile(
    r"\b(go(es)? ahead|go-ahead|carr(y|ies|ied|ying) (on|over)|ow(ed?|es|ing)|mend(s|ed|ing)?|st(oo|an)d(s|ing)? still|"
    r"(some|no|any)body|whoever|afresh|anew|its word|all the same|left the list|leaves? the list|the owner|promises?|"
    r"set aside|lingering|doubting)\b", re.IGNORECASE)
ALLOWED = {"journal/migrations.py": "the words of earlier journals, which it translates"}
"""module -> why its texts may have them."""
PAGES = ("README.md", "SECURITY.md", "docs/glossary.md", "packaging/man/tideover.1", "packaging/deb/debian/control",
         "packaging/prometheus/tideover.rules.yml", "agent/tideover/service/tideover.service")


def is_command(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any("command(" in ast.unparse(one) or "group(" in ast.unparse(one)
                                                     for one in node.decorator_list)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Given a module, yield its text constants with their lines: no docstring but a command's, which is its help, and
    no remark that stands below a name."""
    remarks = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
    helps = {id(node.body[0].value) for node in nodes(path) if is_command(node) and isinstance(node.body[0], ast.Expr)}
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in remarks - helps:
            yield node.lineno, node.value


def test_no_text_that_people_read_has_a_private_word():
    found = [f"{path.relative_to(HOUSE)}:{line}: {text}" for path in sorted(HOUSE.rglob("*.py"))
             if path.relative_to(HOUSE).as_posix() not in ALLOWED
             for line, text in texts(path) if PRIVATE.search(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_private_word(page):
    found = [f"{page}:{number}: {line}" for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1)
             if PRIVATE.search(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("words", [Phase, Verdict, Cause, Kind, HookOutcome], ids=lambda one: one.__name__)
def test_the_glossary_explains_each_word_of_status_record_and_metrics(words):
    said = GLOSSARY.read_text()
    assert not [one.value for one in words if f"`{one.value}`" not in said]
