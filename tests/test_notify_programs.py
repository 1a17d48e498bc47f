"""The ready notification programs, as processes, against a real HTTP server and a sendmail that keeps what it gets."""
from __future__ import annotations

import email
import email.policy
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from running_agent import world
from tideover.hooks.trust import find_sdk_files
from tideover.lifecycle import Phase

TOP = Path(__file__).parents[1]
sys.path.append(str(TOP / "hooks"))
import tideover_hook_message as messages  # noqa: E402

KNOWN = {"TIDEOVER_EVENT_ID": "E <1>", "TIDEOVER_KIND": "freeze", "TIDEOVER_NOT_BEFORE": "2026-11-20T10:15:00.000Z",
         "TIDEOVER_EXPECTED_PAUSE_S": "9.000", "TIDEOVER_TRACE_ID": "0123"}
ENDED = {"TIDEOVER_REASON": "resumed", "TIDEOVER_PAUSE_S": "7.020", "TIDEOVER_CLOCK": "good"}
SENDMAIL = """#!/bin/sh
for word; do printf '%s\\n' "$word"; done > HOME/arguments
cat > HOME/letter
[ ! -e HOME/refuses ] || { echo "550 no such user" >&2; exit 67; }
"""


class Kept(BaseHTTPRequestHandler):
    """Keeps what is POSTed: its path, its headers and its JSON. /refuses answers 503, /moved redirects, /hangs waits."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/hangs":
            time.sleep(3)
        self.server.kept.append((self.path, dict(self.headers), body))      # type: ignore[attr-defined]
        self.send_response({"/refuses": 503, "/moved": 302}.get(self.path, 204))
        self.send_header("Location", "/ok")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, dict[str, str], dict[str, object]]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kept)
    server.kept = []        # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.kept     # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def notify(program: str, *words: str, phase: str = "held", record: str = "{}", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "TIDEOVER_EVENT_PHASE": phase, **KNOWN, **more}
    return subprocess.run([sys.executable, str(TOP / "notify" / program), *words], env=environment, input=record,
                          capture_output=True, text=True, timeout=30)


# --- webhook

def test_plain_json_has_everything_that_is_known_and_the_record_if_asked(receiver, tmp_path: Path) -> None:
    url, kept = receiver
    (tmp_path / "url").write_text(f"{url}/ok\n")
    (tmp_path / "headers").write_text("Authorization: Bearer secret\n")
    ran = notify("webhook", "--url-file", str(tmp_path / "url"), "--headers-file", str(tmp_path / "headers"), "--record",
                 phase="closed", record='{"event_id": "E <1>"}', **ENDED)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    [(_, headers, body)] = kept
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert (body["event_phase"], body["event_id"], body["pause_s"], body["record"]) == ("closed", "E <1>", "7.020", {"event_id": "E <1>"})
    assert "the event is over (resumed, pause 7.020 s, clock good)" in body["text"]


def test_lengths_have_their_unit_and_the_clock_is_told_after_the_event_only() -> None:
    """It is checked then: before, "unknown" is no news."""
    before = messages.phase_message("held", messages.facts(KNOWN | {"TIDEOVER_CLOCK": "unknown"}))
    assert messages.shown_facts(before)[2:] == [("Not before", "2026-11-20T10:15:00.000Z"), ("Expected pause", "9 s")]
    after = messages.phase_message("closed", messages.facts(KNOWN | ENDED))
    assert messages.shown_facts(after)[4:] == [("Pause", "7.02 s"), ("Clock", "good"), ("Reason", "resumed")]


@pytest.mark.slow
def test_slack_gets_a_text_and_a_section_in_which_a_name_mentions_no_user(receiver) -> None:
    url, kept = receiver
    assert notify("webhook", "--url", f"{url}/ok", "--format", "slack").returncode == 0
    [(_, _, body)] = kept
    [section] = body["blocks"]
    assert body["text"].endswith("freeze: does not acknowledge the event, not before 2026-11-20T10:15:00.000Z")
    assert section["type"] == "section"
    assert section["text"]["type"] == "mrkdwn"
    assert {"type": "mrkdwn", "text": "*Event*\nE &lt;1&gt;"} in section["fields"]


@pytest.mark.slow
def test_teams_gets_a_message_with_one_adaptive_card(receiver) -> None:
    url, kept = receiver
    assert notify("webhook", "--url", f"{url}/ok", "--format", "teams").returncode == 0
    [(_, _, body)] = kept
    [attachment] = body["attachments"]
    card = attachment["content"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert (card["type"], card["version"], [part["type"] for part in card["body"]]) == ("AdaptiveCard", "1.4", ["TextBlock", "FactSet"])
    assert {"title": "Event", "value": "E <1>"} in card["body"][1]["facts"]


@pytest.mark.slow
def test_only_the_phases_that_are_wanted_are_sent(receiver) -> None:
    url, kept = receiver
    for phase in ("acknowledging", "settling"):
        assert notify("webhook", "--url", f"{url}/ok", phase=phase).returncode == 0
    assert kept == []
    assert notify("webhook", "--url", f"{url}/ok", "--phases", "all", phase="settling").returncode == 0
    assert notify("webhook", "--url", f"{url}/ok", "--phases", "settling,recovering", phase="recovering").returncode == 0
    assert len(kept) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("path", "why"), [("/refuses", "the receiver answers 503"), ("/moved", "the receiver answers 302"),
                                           ("/hangs", "timed out")])
def test_what_is_not_taken_fails_with_a_sentence(receiver, path: str, why: str) -> None:
    url, kept = receiver
    ran = notify("webhook", "--url", url + path, "--timeout", "0.5")
    assert ran.returncode == 1
    assert (why in ran.stdout, ran.stderr) == (True, "")
    assert [one for one in kept if one[0] == "/ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--url", "ftp://x"), ("--url-file", "/nowhere"), ("--url", "http://127.0.0.1:1/")])
def test_an_address_that_cannot_be_used_fails_with_a_sentence(words: tuple[str, ...]) -> None:
    ran = notify("webhook", *words)
    assert ran.returncode == 1
    assert (ran.stdout.startswith("not sent: "), ran.stderr) == (True, "")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["webhook", "mail"])
def test_a_phase_that_there_is_not_is_refused(program: str) -> None:
    ran = notify(program, "--phases", "held,helt", *(["--url", "http://x"] if program == "webhook" else ["--to", "a@b"]))
    assert (ran.returncode, "there is no phase helt" in ran.stderr) == (2, True)


# --- mail

@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    program = tmp_path / "sendmail"
    program.write_text(SENDMAIL.replace("HOME", str(tmp_path)))
    program.chmod(0o755)
    return program


@pytest.mark.slow
def test_a_mail_has_who_what_and_the_record_and_goes_to_those_that_are_named(sendmail: Path, tmp_path: Path) -> None:
    ran = notify("mail", "--to", "one@example.org", "--to", "two@example.org", "--from", "vm@example.org", "--record",
                 "--sendmail", str(sendmail), phase="closed", record='{"é": 1}', **ENDED)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (tmp_path / "arguments").read_text().split("\n") == ["-i", "-f", "vm@example.org", "--", "one@example.org", "two@example.org", ""]
    letter = email.message_from_bytes((tmp_path / "letter").read_bytes(), policy=email.policy.default)
    assert (letter["From"], letter["To"], letter["Auto-Submitted"]) == ("vm@example.org", "one@example.org, two@example.org", "auto-generated")
    assert letter["Subject"].startswith("tideover: ")
    assert "the event is over" in letter["Subject"]
    text, record = letter.iter_parts()
    assert "Pause: 7.02 s" in text.get_content()
    assert json.loads(record.get_content()) == {"é": 1}
    assert b"\r" not in (tmp_path / "letter").read_bytes()


@pytest.mark.slow
def test_foreign_text_adds_no_header_and_no_recipient(sendmail: Path, tmp_path: Path) -> None:
    notify("mail", "--to", "one@example.org", "--sendmail", str(sendmail), TIDEOVER_KIND="freeze\nBcc: evil@example.org",
           TIDEOVER_EVENT_ID="x\n.\nRCPT TO:<evil@example.org>")
    letter = email.message_from_bytes((tmp_path / "letter").read_bytes(), policy=email.policy.default)
    assert letter["Bcc"] is None
    assert (tmp_path / "arguments").read_text().split() == ["-i", "--", "one@example.org"]


@pytest.mark.slow
def test_a_mail_that_is_not_taken_fails_with_what_sendmail_says(sendmail: Path, tmp_path: Path) -> None:
    (tmp_path / "refuses").touch()
    ran = notify("mail", "--to", "one@example.org", "--sendmail", str(sendmail))
    assert (ran.returncode, "ended with 67: 550 no such user" in ran.stdout) == (1, True)
    missing = notify("mail", "--to", "one@example.org", "--sendmail", str(tmp_path / "nowhere"))
    assert (missing.returncode, missing.stderr) == (1, "")


# --- what they have in common

def test_each_phase_of_the_agent_has_words() -> None:
    assert set(messages.PHASES) >= {phase.value for phase in Phase}


def test_what_they_read_is_checked_like_a_hooks_files() -> None:
    for program in ("webhook", "mail"):
        assert str(TOP / "hooks" / "tideover_hook_message.py") in find_sdk_files(str(TOP / "notify" / program))


@pytest.mark.slow
def test_a_real_event_is_posted_and_mailed_once_a_phase(receiver, sendmail: Path, tmp_path: Path) -> None:
    url, kept = receiver
    both = tmp_path / "both"
    both.write_text(f"#!/bin/sh\n{sys.executable} {TOP}/notify/webhook --url {url}/ok --format slack --phases all\n"
                    f"{sys.executable} {TOP}/notify/mail --to one@example.org --sendmail {sendmail} --phases closed\n")
    both.chmod(0o755)
    with world(tmp_path) as it:
        it.hook("10-first")
        it.configure(f'[notify]\ncommand = ["{both}"]\nuser = ""')
        it.start()
        event_id = it.live_through_freeze()
        it.until(lambda: (tmp_path / "letter").exists() and (tmp_path / "letter").stat().st_size)
        assert "notify.failed" not in it.said()
    texts = [body["text"] for _, _, body in kept]
    assert len(texts) == len(set(texts)) >= 6
    assert "prepares" in texts[0]
    assert "the event is over" in texts[-1]
    assert event_id in (tmp_path / "letter").read_text()
