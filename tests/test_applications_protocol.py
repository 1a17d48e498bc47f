"""The lines that applications and the agent send each other."""
from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tideover.applications.protocol import (
    LINE_BYTES,
    Hello,
    LineReader,
    RunAnswer,
    ViolationError,
    read_line,
    run_message,
)
from tideover.effects import RunFacts, RunHook
from tideover.model import HookOutcome, HookPhase, HookSpec, Kind, Verdict


def test_a_hello_names_the_application_its_instance_and_the_protocol():
    assert read_line(b'{"hello": "transcoder", "protocol": 1, "instance": "x7", "more": true}') == Hello(
        "transcoder", "x7", listens=False, protocol=1)
    assert read_line(b'{"hello": "eye", "protocol": 1, "listen": true}') == Hello("eye", "", listens=True, protocol=1)
    assert read_line(b'{"hello": "eye", "listen": true}') == Hello("eye", "", listens=True, protocol=1)
    assert read_line(b'{"hello": "eye", "protocol": 2, "listen": true}') == Hello("eye", "", listens=True, protocol=2)
    assert read_line(b'{"hello": "eye", "instance": "x7"}') == Hello("eye", "x7", protocol=None)


@pytest.mark.parametrize(("word", "outcome", "status"), [
    ("done", HookOutcome.DONE, 0), ("nothing", HookOutcome.NOTHING, 3), ("not_yet", HookOutcome.NOT_YET, 75),
    ("refuse", HookOutcome.REFUSED, 4), ("failed", HookOutcome.FAILED, 1),
])
def test_each_answer_means_what_the_exit_status_of_a_hook_means(word, outcome, status):
    assert read_line(json.dumps({word: 17, "why": "w"}).encode()) == RunAnswer(17, outcome, status, "w")


def test_a_reason_holds_nothing_that_a_journal_or_a_terminal_cannot():
    assert read_line(b'{"failed": 1, "why": "a \\ud800 \\u001b[31m\\u0000\\n b"}').why == "a  [31m  b"


@pytest.mark.parametrize("line", [
    b"", b"\xff\xfe", b"[]", b"7", b'{"hello": "Not A Name", "instance": "x"}', b'{"hello": "a"}', b'{"hello": 7, "instance": "x"}',
    b'{"hello": "a", "instance": "' + b"x" * 200 + b'"}', b'{"hello": "a", "instance": "\\ud800"}', b'{"hello": "a", "instance": "\\u001b[31m"}',
    b'{"done": "17"}', b'{"done": true}', b'{"done": 1, "failed": 1}', b"{}",
    b"[" * 50000,
])
def test_what_is_not_of_the_protocol_is_a_violation_with_a_sentence(line):
    with pytest.raises(ViolationError) as violation:
        read_line(line)
    assert "\n" not in str(violation.value) and len(str(violation.value)) < 120


def test_a_recover_says_how_long_the_pause_was_and_what_the_clock_is():
    facts = RunFacts(datetime(2026, 11, 28, tzinfo=UTC), 41.2, 9.0, 7.02, 0.05, Verdict.GOOD, -0.001)
    spec = HookSpec("transcoder", 30, "", is_application=True)
    recover = json.loads(run_message(RunHook(spec, HookPhase.RECOVER, 18, 1, 41.2, "e", Kind.FREEZE, "resumed", facts), "t"))
    assert recover == {"recover": {
        "run": 18, "event_id": "e", "kind": "freeze", "not_before": "2026-11-28T00:00:00.000Z", "seconds_left": 41.2,
        "expected_pause_s": 9.0, "attempt": 1, "trace_id": "t", "reason": "resumed", "pause_s": 7.02,
        "pause_uncertainty_s": 0.05, "clock": "good", "clock_offset_s": -0.001}}
    prepare = json.loads(run_message(RunHook(spec, HookPhase.PREPARE, 17, 1, 41.2, "e", Kind.FREEZE), "t"))["prepare"]
    assert "clock" not in prepare and prepare["not_before"] is None


def test_lines_are_put_together_from_parts_and_one_too_long_is_a_violation():
    reader = LineReader()
    assert reader.lines(b'{"a"') == []
    assert reader.lines(b': 1}\n{"b": 2}\n{') == [b'{"a": 1}', b'{"b": 2}']
    with pytest.raises(ViolationError, match="64 KiB"):
        reader.lines(b"x" * LINE_BYTES)
