"""What the documents link to and name exists."""
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), TOP / "hooks" / "README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NAMED_FILE = re.compile(r"`((?:\.?[\w-]+/)*[\w.-]*[\w-]\.(?:py|md|toml|css|sh|yml|txt)|(?:[\w.-]+/)+)`")
HOMES = (TOP, TOP / "agent" / "tideover")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_of_a_document_is_dead(page):
    text = CODE.sub("", page.read_text())
    links = [target.partition("#")[0] for target in LINK.findall(text) if not re.match(r"https?:|mailto:|#", target)]
    assert [target for target in links if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_contributor_is_sent_to_exists(page):
    named = NAMED_FILE.findall((TOP / page).read_text())
    assert len(named) > 20
    assert sorted({name for name in named if not any((home / name).exists() for home in HOMES)}) == []
