"""The pictures in the documents are what the program shows today."""
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = ("drill.svg", "event.svg")


def words(picture: Path) -> str:
    """Its text without numbers, names of the moment and line ends."""
    shown = " ".join(ElementTree.parse(picture).getroot().itertext())
    shown = re.sub(r"@media.*?</style>|\{[^}]*\}", "", shown)
    shown = re.sub(r"/tmp/\S+|[0-9A-F]{8}-[0-9A-F-]+|[\d.,]+\s*(ms|s|min)?\b", "N", shown)
    return re.sub(r"(N\s*)+", "N ", re.sub(r"\s+", " ", shown))


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_is_text_in_an_svg_that_loads_nothing(picture):
    text = (DOCS / "pictures" / picture).read_text()
    ElementTree.fromstring(text)
    assert not re.search(r"<script|<image|url\(|@import|href=", text)


@pytest.mark.slow
def test_the_pictures_are_drawn_again_as_they_are(tmp_path):
    """But for numbers: sentences of the drill's timeline and checks, and the words of the page."""
    subprocess.run([sys.executable, DOCS / "draw_screens.py", tmp_path], check=True, timeout=120)
    drill, now = (words(place / "drill.svg") for place in (DOCS / "pictures", tmp_path))
    for sentence in ("Every prepared application is recovered", "acknowledges the event", "Every check passed."):
        assert sentence in drill
    assert sorted(now.split()) == sorted(drill.split()), "run `python docs/draw_screens.py`"
    page, now = (re.findall(r"[a-z]{4,}", words(place / "event.svg")) for place in (DOCS / "pictures", tmp_path))
    assert set(page) == set(now), "run `python docs/draw_screens.py`"
