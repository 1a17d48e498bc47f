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


HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    found = []
    for heading in HEADING.findall(CODE.sub("", page.read_text())):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        found.append(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_of_a_document_is_dead(page):
    dead = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(link)
    assert dead == []


def test_the_readme_links_to_each_document():
    links = {link.partition("#")[0] for link in LINK.findall((TOP / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (TOP / "docs").glob("*.md")} - links == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_contributor_is_sent_to_exists(page):
    named = NAMED_FILE.findall((TOP / page).read_text())
    assert len(named) > 20
    assert sorted({name for name in named if not any((home / name).exists() for home in HOMES)}) == []
