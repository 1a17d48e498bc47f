"""The pages as files: no untrusted text becomes markup, nothing is fetched, and the file is whole or not there."""
from __future__ import annotations

import json
import os
import random
import re
import resource
import stat
import threading
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from kept_records import NAMES, disordered, hostile, kept, page_of, read_record, statistics_of, stood_still, times
from lives import Life, event
from sampling import thinned
from tideover.cli import main
from tideover.cli.events import write_page
from tideover.errors import WrongUseError
from tideover.html import event_page, report_document, report_lines, report_page
from tideover.html.components import style_sheet
from tideover.humanize import Times
from tideover.journal import FILE, Journal
from tideover.lifecycle import Entry, State
from tideover.model import EntryKind, Event, Kind, Moment, utc
from tideover.record import Row, record_of

FETCHING = {"script", "img", "link", "iframe", "object", "embed", "base", "form", "image", "use", "a", "foreignobject"}


class Seen(HTMLParser):
    """Every element and attribute, and all text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.attributes, self.ids, self.open, self.text = Counter(), set(), [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pages(change=lambda record: record):
    for name in NAMES:
        yield page_of(change(kept(name)), times(), "1.0")
    yield page_of(change(stood_still()), times(), "1.0")
    yield report_page(statistics_of([change(kept(name)) for name in NAMES], times()), times(), "vm-1", "1.0")


def test_a_page_fetches_nothing_and_runs_nothing():
    for page in pages():
        seen = Seen(page)
        assert not seen.open and not set(seen.elements) & FETCHING
        assert not {name for name in seen.attributes if name.startswith("on") or name in ("src", "href", "style")}
        assert "url(" not in page and "@import" not in page and "://" not in page
        assert len(seen.ids) == len(set(seen.ids))


def test_a_run_of_an_application_is_called_one():
    whole = read_record(kept(NAMES[0]))
    first = replace(whole.hooks[0], is_application=True)
    shown = Seen(event_page(replace(whole, hooks=(first, *whole.hooks[1:])), times(), "1.0")).text
    assert f"{first.name} (application)" in shown and shown.count("(application)") == 1


def test_untrusted_text_stays_text():
    """The same elements, in the same numbers, whatever they write; and their words are there to be read."""
    for plain, nasty in zip(pages(), pages(hostile), strict=True):
        was, now = Seen(plain), Seen(nasty)
        ours = ("script", "img", "style", "svg", "title", "head", "body", "table", "figure")
        assert {name: now.elements[name] for name in ours} == {name: was.elements[name] for name in ours}
        assert set(now.elements) <= set(was.elements) | {"details", "summary", "pre", "h3", "bdi"}
        assert now.attributes <= was.attributes | {"class"}
        assert '<script>document.title=' in now.text
        assert "\u202e" not in nasty and "\x1b" not in nasty and "\x00" not in nasty
        nasty.encode()


def test_the_policy_allows_this_one_style_sheet_and_nothing_else():
    for page in pages():
        sheet = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
        digest = b64encode(sha256(sheet.encode()).digest()).decode()
        policy = re.search('http-equiv="Content-Security-Policy" content="(.*?)"', page)[1].replace("&#x27;", "'")
        assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.mark.parametrize("seed", thinned(range(3), 3))
def test_a_record_by_a_clock_that_was_set_makes_a_page_all_the_same(seed):
    """On the worst day the clock jumps, rows are missing and lengths are unknown; the page must not be missing too."""
    records = [disordered(kept(name), random.Random(f"{seed} {name}")) for name in NAMES]
    for record in records:
        Seen(page_of(record, times(), "1.0"))
    figures = statistics_of(records, times())
    Seen(report_page(figures, times(), "", "1.0"))
    assert json.dumps(report_document(figures)) and list(report_lines(figures, times()))


@pytest.mark.parametrize("year", [1, 9999])
def test_a_start_at_the_edge_of_the_calendar_makes_a_page_all_the_same(year):
    edge = datetime.max if year == 9999 else datetime.min
    life = Life().polled(replace(event("e1"), not_before=edge.replace(tzinfo=UTC), notice_s=None))
    record = record_of([Row(life.now.utc, one.event_id, one.what, one.note, one.subject) for one in life.entries])
    for zone in (timezone(timedelta(hours=14)), UTC, timezone(timedelta(hours=-12))):
        Seen(event_page(record, Times(datetime(2026, 11, 20, tzinfo=UTC), zone=zone), "1.0"))


def luminance(colour):
    parts = [int(colour[index:index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """WCAG 2.1, relative luminance and contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_distinguished(scheme):
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in re.findall(r":root \{\n(.*?)\}", style_sheet(), re.S)[:2])
    assert light.keys() == dark.keys()
    colours = light if scheme == "light" else dark
    for text in ("ink", "soft", "good", "bad", "prepare", "rest"):
        for ground in ("paper", "ground"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for bar in ("prepare", "recover", "check", "bad", "rest", "good", "edge"):
        assert contrast(colours[bar], colours["paper"]) >= 3.0, bar
    for bar in ("prepare", "recover", "check"):
        assert contrast(colours["on-bar"], colours[bar]) >= 4.5, bar
    assert contrast(colours["ink"], colours["rest-ground"]) >= 4.5
    assert contrast(colours["ink"], colours["quiet"]) >= 4.5


# --- files --------------------------------------------------------------------------------------------------------

def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_page_is_its_owners_alone_and_a_replaced_one_keeps_its_mode(tmp_path, capsys):
    page = tmp_path / "page.html"
    write_page(str(page), "one", quietly=False)
    assert mode(page) == 0o600 and "Only you can read it" in capsys.readouterr().out
    page.chmod(0o644)
    write_page(str(page), "two", quietly=False)
    assert (page.read_text(), mode(page)) == ("two", 0o644) and "Only" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [page]


def test_a_page_that_cannot_be_written_whole_leaves_the_old_one(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_page(str(page), "new \ud800", quietly=True)
    (tmp_path / f".page.html.{os.getpid()}.part").mkdir()
    with pytest.raises(WrongUseError):
        write_page(str(page), "new", quietly=True)
    assert page.read_text() == "old"


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path):
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, allowed[1]))
    try:
        with pytest.raises(WrongUseError, match="too large"):
            write_page(str(tmp_path / "page.html"), "text" * 1000, quietly=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "link").symlink_to("page.html")
    write_page(str(tmp_path / "link"), "text", quietly=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "page.html").read_text() == "text"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """As a device is: root who writes to /dev/null must not put a file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_page(str(pipe), "text", quietly=True)
    reader.join(5)
    assert read == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.fixture
def config(tmp_path):
    """A state directory with one event in its journal."""
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nhooks = "{tmp_path}"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    (tmp_path / "state").mkdir()
    journal = Journal(tmp_path / "state" / FILE)
    event = Event("event-1", Kind.FREEZE, ("vm-1",), description="<script>1</script>")
    journal.commit(Moment(utc(1_700_000_000.0), 1.0), State(), State(), [Entry("event-1", EntryKind.NOTICED, "", event)])
    journal.close()
    return str(file)


def test_the_commands_write_pages_and_say_where(config, tmp_path, capsys):
    for words in (["show", "event"], ["report"]):
        page = tmp_path / f"{words[0]}.html"
        assert main([*words, "--html", str(page), "--config", config]) == 0
        assert capsys.readouterr().out.startswith(f"Wrote {page}.")
        assert page.read_text().startswith("<!doctype html>") and "<script>" not in page.read_text()


def test_json_beside_a_page_is_all_there_is_on_standard_output(config, tmp_path, capsys):
    assert main(["report", "--json", "--html", str(tmp_path / "page"), "--config", config]) == 0
    assert json.loads(capsys.readouterr().out)["events"][0]["event_id"] == "event-1"
    assert main(["show", "event-1", "--json", "--html", "-", "--config", config]) == 2
    assert json.loads(capsys.readouterr().out)["why"] == "--json uses standard output already"


def test_what_is_asked_wrongly_is_reported_in_a_sentence(config, tmp_path, capsys):
    for words, status, cause in ((["show", "nobody", "--html", str(tmp_path / "page")], 1, "no event id begins with it"),
                                 (["show", "event-1", "--html", str(tmp_path / "no" / "page")], 2, "no such file"),
                                 (["report", "--html", str(tmp_path)], 2, "is a directory"),
                                 (["report", "--since", "soon"], 2, "neither a duration"),
                                 (["report", "--since", "99999999d"], 2, "neither a duration")):
        assert main([*words, "--config", config]) == status
        told = capsys.readouterr().err
        assert cause in told and told.count("\n") == 1
    assert not (tmp_path / "page").exists()


def test_a_report_since_a_day_leaves_out_what_was_before(config, capsys):
    for since, count in (("2000-01-01", 1), ("2100-01-01", 0), ("20000d", 1)):
        assert main(["report", "--json", "--since", since, "--config", config]) == 0
        assert len(json.loads(capsys.readouterr().out)["events"]) == count
