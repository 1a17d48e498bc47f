"""Log lines: for people, for machines, for the journal; their names are documented, and an event's lines share one id."""
from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lives import DONE, FAILED, event, hook, started
from running_agent import environment, world
from test_house import nodes
from tideover.daemon.listeners import LogListener, event_line_name
from tideover.logs import Log, LogLine, Trouble, is_journal, open_sink, to_stream
from tideover.model import EntryKind
from tideover.policy import Policy
from tideover.record import record_of, trace_id
from told_lives import ToldLife

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "logs.md").read_text()
DOCUMENTED = {found[1]: set(re.findall(r"`(\w+)`", found[2])) for found in re.finditer(
    r"^\| `([a-z.-]+)` \|[^|]*\|[^|]*\|(.*)\|$", DOCUMENT.partition("## Names")[2], re.MULTILINE)}
FIELDS = set(re.findall(r"^\| `(\w+)` \| ", DOCUMENT.partition("## Names")[0], re.MULTILINE))


class Kept:
    """A sink that keeps its lines, as a service of another system would pass them on."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def __call__(self, line: LogLine) -> None:
        self.lines.append(line)


def narrated(life: ToldLife, kept: Kept) -> ToldLife:
    """The life in the log, observation by observation."""
    narrator = LogListener(Log(sink=kept), lambda name: None, lambda: None)
    see = life.see

    def told(*observations):
        for seen in observations:
            before, known = life.state, len(life.entries)
            see(seen)
            narrator.on_transition(before, life.state, tuple(life.entries[known:]))
        return life

    life.see = told  # type: ignore[method-assign]
    return life


def test_a_line_is_text_for_people_and_an_object_for_machines():
    line = LogLine("2026-11-20T10:00:00.000Z", "info", "hook.finished", {"hook": "a", "took_s": 1.5, "note": 'say "x"\x1b[2J', "file": Path("/x")})
    assert line.as_text() == r'2026-11-20T10:00:00.000Z info hook.finished hook=a took_s=1.5 note="say \"x\"\u001b[2J" file=/x'
    assert json.loads(line.as_json()) == {"at": "2026-11-20T10:00:00.000Z", "level": "info", "name": "hook.finished", "hook": "a",
                                          "took_s": 1.5, "note": 'say "x"\x1b[2J', "file": "/x"}
    assert line.as_json().isascii() and "\x1b" not in line.as_json()


def test_what_is_below_the_level_or_without_a_value_is_left_out():
    kept = Kept()
    log = Log("text", "warning", kept)
    log.info("a")
    log.warning("b", note="", reason=None, times=0)
    assert [(line.name, line.fields) for line in kept.lines] == [("b", {"times": 0})]


def test_a_reader_that_went_away_stops_nothing():
    gone = io.StringIO()
    gone.close()
    Log(sink=to_stream("text", gone)).error("a")


def test_the_journal_gets_priorities_and_keeps_the_moment_itself(tmp_path):
    """Only where our own standard error is what JOURNAL_STREAM names: children inherit the variable."""
    with (tmp_path / "stream").open("w+") as stream:
        told = os.fstat(stream.fileno())
        ours = {"JOURNAL_STREAM": f"{told.st_dev}:{told.st_ino}"}
        assert is_journal(stream, ours)
        for other in ({}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": f"{told.st_dev}:{told.st_ino + 1}"}):
            assert not is_journal(stream, other)
        assert not is_journal(io.StringIO(), ours)
        log = Log("text", "debug", open_sink("text", stream, ours))
        log.debug("a.b")
        log.info("a.b", x="y z")
        log.warning("a.b")
        Log(sink=open_sink("json", stream, ours)).error("a.b")
        stream.seek(0)
        *text, machine = stream.read().splitlines()
    assert text == ["<7>a.b", '<6>a.b x="y z"', "<4>a.b"]
    assert machine.startswith('<3>{"at": "') and json.loads(machine[3:])["name"] == "a.b"


def test_all_lines_of_an_event_its_record_and_its_hooks_share_one_id():
    kept = Kept()
    life = narrated(ToldLife(Policy(hooks=(hook("first", 10),))), kept)
    life.polled(event("E-1")).settle().acknowledged().polled(started(event("E-1"))).paused().judged().after(6)
    life.settle().after(60).polled()
    assert life.outcome("E-1") == "resumed" and len(kept.lines) > 15
    assert {line.fields["trace_id"] for line in kept.lines} == {trace_id("E-1")} == {record_of(life.rows).as_json()["trace_id"]}
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id("E-1")) and trace_id("E-1") != trace_id("E-2")
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id("\udc80")), "an id that is no proper text has one too"


def test_a_life_is_logged_with_documented_names_and_fields_and_a_line_a_move():
    kept = Kept()
    life = narrated(ToldLife(Policy(hooks=(hook("first", 10), hook("second", 20)))), kept)
    life.polled(event("E-1")).settle(FAILED, exit_status=9).settle(DONE).after(1000).polled(started(event("E-1"))).paused().judged()
    life.after(6).settle().settle().after(60).polled()
    for line in kept.lines:
        assert line.name in DOCUMENTED, line
        assert set(line.fields) <= DOCUMENTED[line.name] | FIELDS, line
    moves = [(line.fields["from"], line.fields["to"]) for line in kept.lines if line.name == "event.phase-changed"]
    assert moves == [("new", "preparing"), ("preparing", "held"), ("held", "started"), ("started", "checking-clock"),
                     ("checking-clock", "settling"), ("settling", "recovering"), ("recovering", "recovered"), ("recovered", "closed")]
    begun = [(line.fields["hook"], line.fields["phase"]) for line in kept.lines if line.name == "hook.started"]
    assert begun == [("first", "prepare"), ("second", "prepare"), ("second", "recover"), ("first", "recover")]
    assert [line.level for line in kept.lines if line.name == "hook.finished"] == ["warning", "info", "info", "info"]


def test_a_withheld_acknowledgement_is_a_warning_that_names_who_failed_and_what_to_do():
    """At level warning, which is what people watch; an event without participants needs no action."""
    kept = Kept()
    life = narrated(ToldLife(Policy(hooks=(hook("first", 10), hook("second", 20)))), kept)
    life.polled(event("E 1")).settle(FAILED, exit_status=9).settle(DONE)
    withheld = [line for line in kept.lines if line.name == "acknowledgement.withheld"]
    assert [(line.level, line.fields["event"], line.fields["failed"]) for line in withheld] == [("warning", "E 1", "first")]
    assert "tideover acknowledge 'E 1'" in str(withheld[0].fields["hint"]) and "first" in str(withheld[0].fields["reason"])
    alone = Kept()
    narrated(ToldLife(Policy()), alone).polled(event("E-2"))
    assert "acknowledgement.withheld" not in [line.name for line in alone.lines]


def test_a_repeated_failure_is_a_warning_three_times_and_hourly_and_in_between_at_debug():
    now_s, kept = 0.0, Kept()
    trouble = Trouble(Log(sink=kept, level="debug"), "poll", lambda: now_s)
    for _ in range(5):
        trouble.again("no answer")
    now_s = 3601.0
    trouble.again("no answer")
    trouble.over()
    assert [(line.level, line.name) for line in kept.lines] == [
        ("warning", "poll.failed")] * 3 + [("debug", "poll.failed")] * 2 + [
        ("warning", "poll.failed"), ("info", "poll.recovered")]


def names_in_the_code():
    """Every name written out in the package, and those made of the record's words."""
    for path in sorted((ROOT / "agent" / "tideover").rglob("*.py")):
        for node in nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name) and node.args:
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                first = node.args[0]
                if called in ("debug", "info", "warning", "error", "write") and isinstance(first, ast.Constant) \
                        and re.fullmatch(r"[a-z]+\.[a-z-]+", str(first.value)):
                    yield str(first.value), {word.arg for word in node.keywords if word.arg}
    not_by_this_name = {EntryKind.PAUSE, EntryKind.PREPARE_RUN, EntryKind.RECOVER_RUN, EntryKind.PREPARE_INTERRUPTED,
                        EntryKind.RECOVER_INTERRUPTED, EntryKind.MANUAL_ACK, EntryKind.JOURNAL_UNWRITABLE,
                        EntryKind.AGENT_RESTARTED}
    for kind in set(EntryKind) - not_by_this_name:
        yield event_line_name(kind), set()
    yield "log.lines-lost", {"lines"}
    for trouble in ("poll", "document", "date", "metrics-file", "fleet"):
        yield f"{trouble}.failed", {"reason", "times"}
        yield f"{trouble}.recovered", {"after_failures"}


def test_every_name_in_the_code_is_documented_with_its_fields_and_no_other():
    used = list(names_in_the_code())
    assert {name for name, _ in used} == set(DOCUMENTED)
    assert [(name, fields) for name, fields in used if not fields <= DOCUMENTED[name] | FIELDS] == []


JOURNALD = "/lib/systemd/systemd-journald"
IN_THE_JOURNAL = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal
echo 0123456789abcdef0123456789abcdef > /run/machine-id
{journald} & journald=$!
until [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
systemd-cat -t tideover {python} -c '{program}'
for _ in $(seq 100); do
    journalctl -D /run/log/journal -t tideover -o json --output-fields=PRIORITY,MESSAGE --no-pager > {out} 2>/dev/null
    [ $(wc -l < {out}) -ge 3 ] && break
    sleep 0.1
done
kill $journald
wait $journald 2>/dev/null
true
"""
PROGRAM = """
import os
told = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{told.st_dev}:{told.st_ino}"
from tideover.logs import Log
Log().info("event.phase-changed", event="E-1", to="preparing")
Log().warning("hook.finished", note="two words")
Log("json").error("event.recovery-failed", event="E-1")
"""


@pytest.mark.slow
def test_a_real_journal_knows_the_priority_of_each_line(tmp_path):
    """Its own journald in a mount namespace, with JOURNAL_STREAM as systemd sets it for a service."""
    if os.geteuid() != 0 or not Path(JOURNALD).exists() or not shutil.which("systemd-cat"):
        pytest.skip("needs root and systemd's journal")
    script = IN_THE_JOURNAL.format(journald=JOURNALD, python=sys.executable, out=tmp_path / "out",
                                   program=PROGRAM.replace("'", '"'))
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "bash", "-c", script], env=environment(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [line["PRIORITY"] for line in lines] == ["6", "4", "3"]
    assert lines[0]["MESSAGE"] == f"event.phase-changed event=E-1 to=preparing trace_id={trace_id('E-1')}"
    assert lines[1]["MESSAGE"] == 'hook.finished note="two words"'
    assert json.loads(lines[2]["MESSAGE"])["name"] == "event.recovery-failed"


@pytest.mark.slow
def test_a_real_agent_writes_nothing_but_documented_lines_and_its_hooks_know_the_same_id(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first", f'echo a line; echo "$TIDEOVER_TRACE_ID" >> {tmp_path}/traces')
        here.configure('[log]\nformat = "json"\nlevel = "debug"')
        here.start()
        found = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(found)
        here.until(lambda: here.record()["status"] == "closed")
        said = [json.loads(line) for line in here.said().splitlines()]
        assert {line["name"] for line in said} <= set(DOCUMENTED)
        of_event = [line for line in said if line.get("event") == found]
        assert {line["trace_id"] for line in of_event} == {here.record()["trace_id"]} == set((tmp_path / "traces").read_text().split())
        assert {"poll.answered", "clock.sample"} <= {line["name"] for line in said if line["level"] == "debug"}
        assert {"hook.started", "hook.output", "hook.finished"} <= {line["name"] for line in of_event}
