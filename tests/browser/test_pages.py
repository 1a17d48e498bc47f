"""The page of a real event in a real browser: it fits, asks for nothing, complains of nothing, and untrusted text stay
text. The browser has no network at all; what it asked for is counted all the same."""
from __future__ import annotations

import json
import re
import time

import pytest

from browser.chromium import PROGRAM, browser
from kept_records import HOSTILE
from running_agent import world

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="needs chromium")]

WIDTHS = (360, 390, 700, 1280)
BURSTS = """[...document.querySelectorAll('body *')].filter(one => {
    const place = one.getBoundingClientRect()
    return place.width && (place.right > innerWidth + 0.5 || place.left < -0.5) && !one.closest('thead, details:not([open])')
}).map(one => one.tagName + '.' + one.className.baseVal + one.className).slice(0, 5)"""
ELEMENTS = "[...document.querySelectorAll('*')].map(one => one.localName)"
SHOWN = """['wide', 'narrow'].map(name => [...document.querySelectorAll('svg.' + name)].filter(
    one => getComputedStyle(one).display != 'none').length)"""
CROSSED = """[...document.querySelectorAll('svg')].filter(one => getComputedStyle(one).display != 'none').flatMap(drawing => {
    const frame = drawing.getBoundingClientRect()
    return [...drawing.querySelectorAll('text')].filter(one => {
        const place = one.getBoundingClientRect()
        return place.left < frame.left - 1 || place.right > frame.right + 1
    }).map(one => one.textContent)})"""
GROUND = "getComputedStyle(document.documentElement).backgroundColor"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A real agent carries a machine over a freeze that a hostile platform announces, with a hook that is no better."""
    home = tmp_path_factory.mktemp("pages")
    with world(home) as here:
        here.hook("10-first", "echo drained; sleep 0.4")
        said = HOSTILE.replace("\ud800", "").replace("\x00", "").replace("'", "")
        here.hook("20-second", f"printf '%s\\n' '{said}' '{'A' * 3000}'; seq 200; [ $1 = recover ]")
        here.configure('[hooks]\non_failure = "proceed"')
        here.start()
        event = here.freeze(not_before_in_s=600, description=said + "A" * 4000)
        here.until(lambda: here.record().get("started_at"))
        time.sleep(0.3)
        with here.stopped():
            time.sleep(2.0)
        here.until(lambda: here.record()["status"] == "recovered")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        for words in (("show", "last"), ("report",)):
            answer = here.command(*words, "--html", str(home / f"{words[0]}.html"))
            assert answer.returncode == 0, answer.stderr
        yield [home / "show.html", home / "report.html"]


@pytest.fixture(scope="module")
def tab():
    with browser() as made:
        yield made


def test_the_page_of_a_real_event_fits_and_asks_for_nothing(pages, tab):
    for page in pages:
        for width in WIDTHS:
            for dark in (False, True):
                tab.show(page, width, dark=dark)
                assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (page.name, width)
                assert tab.evaluate(BURSTS) == [], (page.name, width)
                assert tab.evaluate(CROSSED) == [], (page.name, width)
                assert tab.complaints() == [] and tab.requests() == [page.as_uri()]
                wide, narrow = tab.evaluate(SHOWN)
                assert (narrow > 0) is (width <= 700) and (wide > 0) is (width > 700)


def test_untrusted_text_is_text_and_nothing_else(pages, tab):
    tab.show(pages[0], 1280)
    elements = set(tab.evaluate(ELEMENTS))
    assert not elements & {"script", "img", "a", "link", "iframe", "object", "form", "foreignObject"}
    assert tab.evaluate("document.querySelectorAll('style').length") == 1
    assert "owned" not in tab.evaluate("document.title") and tab.evaluate("document.title").startswith("freeze ")
    text = tab.evaluate("document.body.innerText")
    assert '<script>document.title="owned"</script>' in text and "⟨202E⟩gnp.exe" in text
    assert tab.evaluate("document.querySelectorAll('[onerror], [style], [href], [src]').length") == 0


def test_a_page_with_a_script_in_it_would_not_run_it(pages, tab):
    """The policy by itself: a copy of the page into which was put a script, a picture and a style."""
    nasty = pages[0].with_name("nasty.html")
    nasty.write_text(pages[0].read_text().replace("</body>", (
        '<script>document.title="owned"</script><img src="http://192.0.2.1/x.png" onerror="document.title=1">'
        "<p id=styled style='color:rgb(1,2,3)'>x</p></body>")))
    tab.show(nasty, 1280)
    assert "owned" not in tab.evaluate("document.title")
    assert tab.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(1, 2, 3)"
    assert len(tab.complaints()) >= 3, "the browser says what it has refused; so a silent console says something"


def test_the_pages_are_light_or_dark_as_the_reader_wants_and_light_on_paper(pages, tab):
    for page in pages:
        tab.show(page, 1280, dark=True)
        dark = tab.evaluate(GROUND)
        tab.show(page, 1280)
        light = tab.evaluate(GROUND)
        assert sum(map(int, re.findall(r"\d+", dark))) < 150 < 700 < sum(map(int, re.findall(r"\d+", light)))
        tab.show(page, 390, dark=True)
        tab.ask("Emulation.setEmulatedMedia", media="print", features=[
            {"name": "prefers-color-scheme", "value": "dark"}])
        assert tab.evaluate(GROUND) == light
        wide, narrow = tab.evaluate(SHOWN)
        assert wide > 0 and narrow == 0
        tab.ask("Emulation.setEmulatedMedia", media="")


def test_the_pages_can_be_printed(pages, tab):
    for page in pages:
        tab.show(page, 1280)
        paper = tab.paper()
        assert paper.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 12


def test_the_drawing_and_the_table_hold_the_same_moments(pages, tab):
    """For those who cannot see the drawing: every number in it stands in the table too, and it has a title."""
    tab.show(pages[0], 390)
    drawn = tab.evaluate("[...document.querySelectorAll('svg.narrow .flag-text')].map(one => one.textContent)")
    told = tab.evaluate("[...document.querySelectorAll('table.rows .mark')].map(one => one.textContent)")
    key = tab.evaluate("[...document.querySelectorAll('.key .mark')].map(one => one.textContent)")
    assert sorted(drawn, key=int) == told == key and len(told) >= 7
    named = tab.evaluate("""[...document.querySelectorAll('svg')].every(one => one.getAttribute('aria-labelledby')
        .split(' ').every(id => document.getElementById(id)) && one.querySelector('title').textContent)""")
    assert named is True
    rows = json.loads(json.dumps(tab.evaluate("document.querySelectorAll('table.rows tbody tr').length")))
    assert rows > len(told)
