"""The parts of the hooks that touch nothing: lived time, the environment, what is kept of an output."""
from __future__ import annotations

import json
import time

import pytest

from tideover.effects import RunHook
from tideover.hooks.environment import VALUE_AT_MOST, HookPaths, hook_environment
from tideover.hooks.output import KEPT_BYTES, LINE_AT_MOST, LINES_AT_MOST, HookOutput
from tideover.hooks.runner import ActiveTimer
from tideover.hooks.trust import standing_environment
from tideover.model import HookPhase, HookSpec, Kind

PLACE = HookPaths("/home/a", "/state/a", {"PATH": "/bin", "LANG": "C"}, {}, {})
SPEC = HookSpec("a", 10, "/hooks/10-a")


def environment(place: HookPaths = PLACE, **changes: object) -> dict[str, str]:
    fields: dict[str, object] = {
        "spec": SPEC, "phase": HookPhase.PREPARE, "run": 7, "attempt": 2, "limit_s": 1.0, "event_id": "e",
        "kind": Kind.FREEZE}
    return hook_environment(RunHook(**{**fields, **changes}), "trace", place)     # type: ignore[arg-type]


def test_time_counts_down_as_it_is_lived() -> None:
    lived = ActiveTimer(1.0, 100.0)
    for now_s in (100.25, 100.5, 100.75):
        assert lived.next_wait_s() == 0.25
        lived.count(now_s)
        assert not lived.is_over()
    lived.count(101.0)
    assert lived.is_over()


@pytest.mark.parametrize("pause_s", [0.2, 7.0, 86400.0])
def test_a_pause_costs_a_deadline_at_most_one_slice_and_a_tenth(pause_s: float) -> None:
    lived = ActiveTimer(1.0, 0.0)
    lived.count(pause_s)
    assert lived._left_s + 1e-9 >= 1.0 - 0.35


def test_a_hook_knows_which_run_it_is() -> None:
    assert environment() == {
        "HOME": "/home/a", "PATH": "/bin", "LANG": "C", "TIDEOVER_NOT_BEFORE": "", "TIDEOVER_SECONDS_LEFT": "", "TIDEOVER_EXPECTED_PAUSE_S": "",
        "TIDEOVER_PHASE": "prepare", "TIDEOVER_EVENT_ID": "e",
        "TIDEOVER_KIND": "freeze", "TIDEOVER_ATTEMPT": "2", "TIDEOVER_STATE_DIR": "/state/a",
        "TIDEOVER_RUN": "a:prepare:7", "TIDEOVER_TRACE_ID": "trace"}


def test_only_recover_gets_a_reason() -> None:
    assert environment(phase=HookPhase.RECOVER, reason="cancelled")["TIDEOVER_REASON"] == "cancelled"


def test_an_event_cannot_say_more_than_its_fields() -> None:
    """Line ends, escapes, NUL and halves of characters do not get in; the exact text is on standard input."""
    odd = json.loads(r'"a\nPATH=/evil\u001b[2J\u0000\ud800\u202eb"')
    found = environment(event_id=odd)
    assert found["TIDEOVER_EVENT_ID"] == "a PATH=/evil[2Jb"
    assert found["PATH"] == "/bin"


def test_a_value_of_an_event_is_cut_before_it_can_stop_a_hook() -> None:
    assert len(environment(event_id="x" * 10_000_000)["TIDEOVER_EVENT_ID"]) == VALUE_AT_MOST


def test_the_owner_may_set_what_we_do_not_own() -> None:
    """PATH and a text of several lines are the owner's; which run it is, is ours."""
    owners = {"PATH": "/opt/bin", "TEXT": "two\nlines\0", "TIDEOVER_RUN": "x", "TIDEOVER_DRILL": "0", "BAD=NAME": ""}
    found = environment(HookPaths("/", "/s", {}, owners, {"TIDEOVER_DRILL": "1"}))
    assert (found["PATH"], found["TEXT"], found["TIDEOVER_RUN"]) == ("/opt/bin", "two\nlines", "a:prepare:7")
    assert found["TIDEOVER_DRILL"] == "1"
    assert "BAD=NAME" not in found


def test_nothing_of_the_agents_own_environment_but_two() -> None:
    assert standing_environment({"PATH": "/p", "LANG": "l", "TOKEN": "t", "LD_PRELOAD": "e"}) == {
        "PATH": "/p:/usr/local/sbin:/usr/sbin:/sbin", "LANG": "l"}
    assert set(standing_environment({})) == {"PATH", "LANG"}


def test_the_end_of_an_output_is_kept() -> None:
    output = HookOutput(lambda line: None)
    for number in range(100_000):
        output.take(b"%06d\n" % number)
        assert len(output._tail) <= 2 * KEPT_BYTES + 7
    text = output.finish()
    assert text.endswith("099999\n")
    assert len(text) == KEPT_BYTES


def test_lines_are_handed_on_whole_wherever_they_were_cut() -> None:
    lines: list[str] = []
    output = HookOutput(lines.append)
    for piece in (b"on", b"e\ntwo\n\nth", b"r\xc3", b"\xa9e\xff\x1b[0m"):
        output.take(piece)
    assert lines == ["one", "two", ""]
    assert output.finish() == "one\ntwo\n\nthr\u00e9e\ufffd\x1b[0m"
    assert lines == ["one", "two", "", "thr\u00e9e\ufffd[0m"]


@pytest.mark.parametrize("data", [b"line\n" * 1000, b"x" * 65536, b"\n" * 65536])
def test_a_flood_is_logged_so_far_and_no_further(data: bytes) -> None:
    """A thousand lines, none longer than a few thousand characters, then one that says so."""
    lines: list[str] = []
    output = HookOutput(lines.append)
    for _ in range(100):
        output.take(data)
        assert len(output._begun) <= LINE_AT_MOST
    output.finish()
    assert len(lines) == LINES_AT_MOST + 1
    assert "log limit reached" in lines[-1]
    assert max(map(len, lines)) <= LINE_AT_MOST


def test_a_limit_made_shorter_counts_all_time_since_the_beginning_and_is_extended_only_by_later_pauses() -> None:
    """What it is counted up to is a moment of the platform's, which a pause before the news has brought nearer."""
    lived = ActiveTimer(20.0, 100.0)
    lived.count(107.0)                          # a pause: hardly any of it was lived
    lived.limit(8.0)
    assert not lived.is_over() and lived.next_wait_s() == 0.25
    for now_s in (107.25, 120.0, 120.25):       # and another
        lived.count(now_s)
        lived.limit(8.0)
    assert not lived.is_over()
    lived.count(120.5)
    lived.limit(30.0)
    assert lived.is_over()


@pytest.mark.parametrize("size", [1, 3, 5, 1000])
def test_a_value_of_the_owners_environment_is_not_repeated_however_it_is_printed(size: int) -> None:
    """Its variable's name stands in its place; what is too short to be a secret stays."""
    lines: list[str] = []
    environment = {"TOKEN": "s3cret-word", "LONGER": "s3cret-word-and-more", "PORT": "8080"}
    output = HookOutput(lines.append, environment)
    text = b"a=s3cret-word b=s3cret-word-and-more 8080\ns3cret-wor\nends in s3cret"
    for start in range(0, len(text), size):
        output.take(text[start:start + size])
    shown = "a=${TOKEN} b=${LONGER} 8080\ns3cret-wor\nends in s3cret" if size == 1000 else None
    kept = output.finish()
    assert "s3cret-word" not in kept and (shown is None or kept == shown)
    assert kept.startswith(("a=${TOKEN} b=${TOKEN}", "a=${TOKEN} b=${LONGER}"))
    assert lines == kept.split("\n")


def test_a_long_value_costs_no_time_to_keep_out() -> None:
    output = HookOutput(lambda line: None, {"LONG": "x" * 200_000})
    began_s = time.monotonic()
    output.take(b"x" * 60_000 + b"\n")
    output.finish()
    assert time.monotonic() - began_s < 5
