"""What docs/troubleshooting.md says that a command shows is what it shows, numbers and columns apart."""
from __future__ import annotations

import re

import pytest

from running_agent import world
from test_docs_commands import TOP, blocks

pytestmark = pytest.mark.slow
PAGE = TOP / "docs" / "troubleshooting.md"


def masked(text):
    """Its lines without numbers, ids, addresses and spaces."""
    text = re.sub(r"[0-9A-F]{8}-[0-9A-F-]{27}", "ID", text)
    text = re.sub(r"\d[\d:.-]*", "N", text)
    text = re.sub(r"(\bN? ?(ms|s|min)\b ?)+", "LENGTH ", text)
    return {re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()}


def shown(command):
    """What the page shows for a command: the text of each place, up to the next command."""
    for block in blocks(PAGE):
        if block.language == "console":
            parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
            yield from (text for typed, text in zip(parts[1::2], parts[2::2], strict=True)
                        if typed.removeprefix("sudo ").startswith(command) and text.strip())


def test_a_held_event_is_shown_as_the_page_says(tmp_path):
    with world(tmp_path) as here:
        here.hook("20-web", 'if [ "$1" = prepare ]; then echo "cannot reach the admin socket"; exit 1; fi')
        here.hook("50-db")
        here.configure()
        here.start()
        here.freeze(not_before_in_s=60)
        here.until(lambda: here.record()["status"] == "held")
        status = next(text for text in shown("tideover status") if "held" in text)
        assert masked(status) - masked(here.command("status").stdout) - {"Host server is undergoing maintenance."} == set()
        record = next(text for text in shown("tideover show last") if "admin socket" in text)
        assert masked(record) - masked(here.command("show", "last").stdout) == set()
        [accepted] = shown("tideover acknowledge last --yes")
        assert masked(accepted) == masked(here.command("acknowledge", "last", "--yes").stdout)


def test_a_bad_clock_is_shown_as_the_page_says(tmp_path):
    with world(tmp_path, time_offset_s=3.0) as here:
        here.configure()
        [clock] = shown("tideover clock")
        assert masked(clock) - masked(here.command("clock").stdout) - masked("10.0.0.1  10.0.0.1:123  3 s behind") == set()


def test_a_failed_recovery_is_given_up_as_the_page_says(tmp_path):
    with world(tmp_path) as here:
        here.hook("50-db", 'if [ "$1" = recover ]; then echo "the database does not start: disk full"; exit 1; fi')
        here.configure()
        here.start()
        event = here.freeze(not_before_in_s=60)
        here.until(lambda: here.record().get("acknowledged_at"))
        here.metadata.remove_event(event)
        here.until(lambda: any(run["phase"] == "recover" for run in here.record()["hooks"]))
        [pending] = shown("tideover recover --dry-run")
        assert masked(pending) <= masked(here.command("recover", "--dry-run").stdout)
        [given_up] = shown("tideover recover --forget db")
        assert masked(given_up) <= masked(here.command("recover", "--forget", "db").stdout)
