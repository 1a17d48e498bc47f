"""Texts that people read use the words of this field: no metaphors, no words of our own. The glossary explains the rest."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from source_trees import PACKAGE as HOUSE, nodes
from tideover.lifecycle import Phase
from tideover.model import Cause, HookOutcome, Kind, Outcome, Verdict

ROOT = Path(__file__).parents[1]
EXPLAINED_IN = (ROOT / "docs" / "glossary.md", ROOT / "docs" / "events.md")
PRIVATE = re.compile(
    r"\b(go(es)? ahead|go-ahead|carr(y|ies|ied|ying) (on|over)|ow(ed?|es|ing)|mend(s|ed|ing)?|st(oo|an)d(s|ing)? still|"
    r"(some|no|any)body|whoever|afresh|anew|its word|all the same|left the list|leaves? the list|the owner|promises?|"
    r"set aside|lingering|doubting)\b", re.IGNORECASE)
ALLOWED = {"journal/migrations.py": "the words of earlier journals, which it translates"}
"""module -> why its texts may have them."""
PAGES = ("README.md", "SECURITY.md", "hooks/README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))), "packaging/man/tideover.1", "packaging/deb/debian/control",
         "packaging/prometheus/tideover.rules.yml", "agent/tideover/service/tideover.service")

OLD = re.compile(r"(?<![A-Za-z])(nobody|somebody|anybody|no one|whoever|told|said|owed?|owes|owing|anew|afresh|lent|lends?|"
                 r"borrow(s|ed|er|ers)?|mend(s|ed|ing)?|st(oo|an)d(s|ing)? still|strangers?|doors?|bell|manners|patience|"
                 r"upstairs|(?<!by[ _-])hands?)(?![A-Za-z])", re.IGNORECASE)
"""Words that neither code nor pages have, in names, comments and docstrings either; `by hand` is the one use of hand."""
SOURCES = ("agent/tideover", "hooks", "notify", "packaging", "docs", ".ci", "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
           "SECURITY.md", "RELEASING.md", "noxfile.py")


def files_of(place: Path) -> Iterator[Path]:
    """Given a file or a folder, yield the text files in it, but the generated ones."""
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file() and "__pycache__" not in path.parts and b"\0" not in path.read_bytes():
            yield path


def plain(text: str) -> str:
    """The text without the name of the account that belongs to no person, which is a name and no word."""
    return "" if text == "nobody" else re.sub(r"([\"`])nobody\1", "", text)


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
             for line, text in texts(path) if PRIVATE.search(plain(text))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("source", SOURCES)
def test_code_and_pages_have_plain_words(source):
    found = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for path in files_of(ROOT / source)
             if path.relative_to(HOUSE if path.is_relative_to(HOUSE) else ROOT).as_posix() not in ALLOWED
             if OLD.search(text := path.read_text(errors="replace"))        # few: line by line costs four times as much
             for number, line in enumerate(text.splitlines(), start=1)
             if OLD.search(plain(line))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_private_word(page):
    found = [f"{page}:{number}: {line}" for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1)
             if PRIVATE.search(plain(line))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("words", [Phase, Outcome, Verdict, Cause, Kind, HookOutcome], ids=lambda one: one.__name__)
def test_the_documents_explain_each_word_of_status_record_and_metrics(words):
    said = "".join(page.read_text() for page in EXPLAINED_IN)
    assert not [one.value for one in words if f"`{one.value}`" not in said]
