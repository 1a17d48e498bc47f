"""`history`, `pauses`, `show` and `status` where the platform lists other machines' events; CSV."""
from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lives import Life, at, event, hook, pause, started
from running_agent import environment
from tideover.cli import main
from tideover.cli.events import csv_lines
from tideover.cli.terminal import wrapped_line
from tideover.journal import FILE, Journal
from tideover.lifecycle import State
from tideover.lifecycle.state import Entry
from tideover.model import EntryKind
from tideover.policy import Policy

OTHERS = 100


def a_life() -> Life:
    """A scale set: an event of this machine that is over, one that is ahead, and a hundred of other machines."""
    own = replace(event("own-1"), description='Host "A", rack 7')
    life = Life(Policy(hooks=(hook(),))).polled(own).settle().acknowledged().polled(started(own)).paused(7.0).judged()
    life.after(6).settle().after(60).polled()
    return life.polled(event("own-2"), *(event(f"other-{number}", resources=(f"vm_{number}",)) for number in range(OTHERS)))


@pytest.fixture
def here(tmp_path, capsys):
    """Commands over the journal of that life; each returns its exit status and what it printed."""
    (tmp_path / "state").mkdir()
    life = a_life()
    journal = Journal(tmp_path / "state" / FILE)
    journal.commit(life.now, State(), life.state, life.entries)
    journal.close()
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nstate = "{tmp_path}/state"\nhooks = "{tmp_path}/hooks.d"\nruntime = "{tmp_path}/run"\n')

    def command(*words):
        status = main([*words, "--config", str(file)])
        said = capsys.readouterr()
        return status, said.out
    return command


def test_a_status_shows_this_machines_events_and_how_many_others_there_are(here):
    _, said = here("status")
    assert "own-2" in said and "other-" not in said and f"{OTHERS} events of other machines" in said
    assert len(said.splitlines()) < 20
    told = json.loads(here("status", "--json")[1])
    assert ([one["event_id"] for one in told["events"]], told["events_of_others"]) == (["own-2"], OTHERS)


def test_a_status_of_all_has_own_events_first_and_a_line_for_each_other_one(here):
    _, said = here("status", "--all")
    lines = said.splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith("NOT-OURS"))
    assert len(lines) - heading - 1 == OTHERS
    assert any("own-2" in line for line in lines[:heading]) and not any("other-" in line for line in lines[:heading])
    told = json.loads(here("status", "--all", "--json")[1])["events"]
    assert [one["ours"] for one in told] == [True] + [False] * OTHERS


def test_history_lists_own_events_and_with_all_the_others_as_not_ours(here):
    _, said = here("history")
    assert "own-1" in said and "own-2" in said and "other-" not in said
    _, said = here("history", "--all")
    assert sum("not-ours" in line for line in said.splitlines()) == OTHERS
    events = json.loads(here("history", "--json")[1])["events"]
    assert [one["event_id"] for one in events] == ["own-1", "own-2"]
    assert len(json.loads(here("history", "--all", "--json")[1])["events"]) == OTHERS + 2


def test_last_is_the_newest_event_of_this_machine_and_another_machines_is_shown_by_its_id(here):
    assert json.loads(here("show", "last", "--json")[1])["event_id"] == "own-2"
    assert json.loads(here("show", "other-7", "--json")[1])["resources"] == ["vm_7"]


def test_the_csv_of_events_has_a_row_for_each_and_exact_values(here):
    _, text = here("history", "--csv")
    assert text.endswith("\r\n") and text.count("\n") == text.count("\r\n") == 3
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert (first["event_id"], first["kind"], first["outcome"], first["clock"]) == ("own-1", "freeze", "resumed", "good")
    exact = json.loads(here("history", "--json")[1])["events"][0]
    assert (first["noticed_at"], first["longest_pause_s"], first["pauses"]) == (exact["noticed_at"], "7", "1")
    assert first["description"] == 'Host "A", rack 7'
    assert (second["outcome"], second["longest_pause_s"], second["closed_at"]) == ("", "", ""), "unknown is empty"
    assert len(list(csv.DictReader(io.StringIO(here("history", "--csv", "--all")[1])))) == OTHERS + 2


def test_the_csv_of_pauses_has_a_row_for_each(here):
    [row] = csv.DictReader(io.StringIO(here("pauses", "--csv")[1]))
    expected = pause(length_s=7.0)
    assert (row["length_s"], row["cause"], row["event_ids"]) == ("7", expected.cause.value, "own-1")
    assert row["evidence"] == "; ".join(expected.evidence)


@pytest.fixture
def many(tmp_path, capsys):
    """As `here`, on a machine that has stalled 1200 times; the last one belongs to an event as well."""
    (tmp_path / "many" / "state").mkdir(parents=True)
    stalls = [Entry("", EntryKind.PAUSE, "", pause(f"p{number}", 1.5)) for number in range(1200)]
    journal = Journal(tmp_path / "many" / "state" / FILE)
    journal.commit(at(0.0), State(), State(), [*stalls, Entry("e1", EntryKind.PAUSE, "", pause("p1199", 1.5))])
    journal.close()
    file = tmp_path / "many" / "tideover.toml"
    file.write_text(f'[paths]\nstate = "{tmp_path}/many/state"\nhooks = "{tmp_path}/many/hooks.d"\nruntime = "{tmp_path}/many/run"\n')

    def command(*words):
        assert main([*words, "--config", str(file)]) == 0
        return capsys.readouterr().out
    return command


def test_documents_hold_every_pause_and_the_table_the_newest(many):
    """And says so; a hundred thousand would take 200 MB to lay out."""
    told = json.loads(many("pauses", "--json"))
    assert told["schema"] == 1 and [one["id"] for one in told["pauses"]] == [f"p{number}" for number in range(1200)]
    assert [one["event_ids"] for one in told["pauses"][-2:]] == [[], ["e1"]]
    assert len(list(csv.DictReader(io.StringIO(many("pauses", "--csv"))))) == 1200
    lines = many("pauses").splitlines()
    assert len(lines) == 1002 and "e1" in lines[-2] and lines[-1] == "These are the newest 1000 of 1200 pauses; --all lists all."
    assert len(many("pauses", "--all").splitlines()) == 1201


def test_a_list_is_one_document_in_the_form_of_all_others(here, tmp_path):
    listed = [here("pauses", "--json")[1], here("history", "--json")[1]]
    (tmp_path / "state" / FILE).unlink()
    for said in (*listed, here("pauses", "--json")[1]):
        assert said == json.dumps(json.loads(said), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.slow
def test_a_hundred_thousand_pauses_are_listed_in_little_memory(tmp_path):
    (tmp_path / "state").mkdir()
    journal = Journal(tmp_path / "state" / FILE)
    for first in range(0, 100_000, 10_000):
        journal.commit(at(float(first)), State(), State(), [
            Entry("", EntryKind.PAUSE, "", pause(f"p{number}", 1.5)) for number in range(first, first + 10_000)])
    journal.close()
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nstate = "{tmp_path}/state"\nhooks = "{tmp_path}/hooks.d"\nruntime = "{tmp_path}/run"\n')
    for form in ("--json", "--csv", "--utc"):
        ask = ("import re, sys; from pathlib import Path; from tideover.cli import main\n"
               f"main(['pauses', {form!r}, '--config', {str(file)!r}])\n"
               "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1], file=sys.stderr)")
        done = subprocess.run([sys.executable, "-c", ask], env=environment(), capture_output=True, text=True, check=True)
        assert int(done.stderr) < 80 << 10, (form, done.stderr)


def test_csv_quotes_as_rfc_4180_says_and_nothing_in_it_steers_a_terminal():
    assert "".join(csv_lines(("a", "b"), [('say "x"', "one,two"), ("\x1b[31m\nred", None)])) == (
        'a,b\r\n"say ""x""","one,two"\r\n·[31m red,\r\n')


def test_a_spreadsheet_takes_no_text_of_the_platform_for_a_formula():
    """Numbers stay numbers, a negative one too."""
    cells = ["=HYPERLINK(1)", "+1", "-1", "@x", "a=b", -0.5, -3, None]
    assert list(csv_lines(("h",), [cells]))[1] == "'=HYPERLINK(1),'+1,'-1,'@x,a=b,-0.5,-3,\r\n"


def test_two_formats_of_one_output_are_wrong_use(here):
    assert here("history", "--csv", "--json")[0] == 2
    assert here("pauses", "--csv", "--json")[0] == 2


def test_a_line_of_the_report_is_wrapped_between_words_and_keeps_its_indent():
    line = "    The clock was good 1.25 s after the resume; in 1 of 5 events it was not known to be good at recovery."
    lines = wrapped_line(line, 60)
    assert len(lines) == 2 and all(one.startswith("    ") and len(one) <= 60 for one in lines)
    assert " ".join(one.strip() for one in lines) == line.strip()
    assert wrapped_line(line, None) == [line]
