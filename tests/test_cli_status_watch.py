"""`status --watch` and its neighbours on a real pseudo-terminal, with a real agent and hooks that run."""
from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_agent import World, environment, world

pytestmark = pytest.mark.slow
PATIENCE_S = 20.0
ALLOWED = re.compile(r"\x1b\[(?:\d*m|H|K|J|\?25[lh]|\?1049[hl])")
HOSTILE = "Host \x1b]0;owned\x07\x1b[2J\x9b31m\u202e is maintained."


class Screen:
    """A pseudo-terminal of a size, with one command of ours in it."""

    def __init__(self, home: Path, columns: int, *words: str, **more: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        surroundings = {key: value for key, value in environment().items() if key not in ("NO_COLOR", "COLUMNS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tideover", *words, "--config", str(home / "tideover.toml")], stdin=theirs, stdout=theirs,
            stderr=theirs, env={**surroundings, "TERM": "xterm", "TZ": "Europe/Berlin", **more}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.raw = b""

    def read(self) -> str:
        with contextlib.suppress(OSError):                  # how a pseudo-terminal says that the other side is gone
            while select.select([self._ours], [], [], 0.05)[0]:
                self.raw += os.read(self._ours, 65536)
        return self.raw.decode(errors="surrogateescape")

    def frames(self) -> list[str]:
        return self.read().split("\x1b[H")[1:]

    def until(self, words: str) -> str:
        """The first frame that has the words."""
        end = time.monotonic() + PATIENCE_S
        while True:
            for drawn in self.frames():
                if words in ALLOWED.sub("", drawn):
                    return ALLOWED.sub("", drawn).replace("\r", "")
            assert time.monotonic() < end, f"{words!r} never came:\n{self.read()}"

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        status = self.process.wait(PATIENCE_S)
        self.read()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@contextlib.contextmanager
def screen(here: World, columns: int, *words: str, **more: str) -> Iterator[Screen]:
    made = Screen(here.home, columns, *words, **more)
    try:
        yield made
    finally:
        made.close()


def test_an_event_is_watched_to_its_end_and_ctrl_c_gives_the_screen_back(tmp_path):
    """The countdown counts, the running hook has its time and budget, nothing of the description steers the terminal,
    and the screen is never cleared."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-slow", "sleep 3")
        here.configure('[hook.slow]\ntimeout = "9s"')
        here.start()
        with screen(here, 80, "status", "--watch") as shown:
            shown.until("The agent waits for the next event.")
            here.freeze(not_before_in_s=600, description=HOSTILE)
            first = shown.until("The agent waits for prepare of slow")
            assert re.search(r"20-slow +preparing +[0-3]\.\d s +9\.0 s", first), first
            assert re.search(r"NotBefore  .* CET, \d+ min \d+ s left", first), first
            assert "Host ·]0;owned··[2J·31m· is maintained." in first
            shown.until("the pause, or the end of the event")
            assert len(set(re.findall(r"(\S+ s) left", shown.read()))) > 1, "the countdown counts"
            shown.type(b"\x03")
            assert shown.end() == 0
        said = shown.read()
        assert "Traceback" not in said and "\x1b" not in ALLOWED.sub("", said) and "\x9b" not in said and "\u202e" not in said
        assert said.index("\x1b[?25l") < said.index("\x1b[?25h") < said.index("\x1b[?1049l"), "cursor and screen are given back"
        assert "started" in said.partition("\x1b[?1049l")[2], "what was seen last stays"
        assert all((drawn.count("\x1b[J") == 1 and drawn.rstrip().endswith(("\x1b[J", "\x1b[0m"))) or "\x1b[?1049l" in drawn
                   for drawn in shown.frames()), "nothing is cleared before it is drawn over"


def test_no_line_is_longer_than_the_terminal_is_wide(tmp_path):
    """History, pauses, show, status and hooks of a real event."""
    with world(tmp_path, time_offset_s=0.0) as here:
        here.hook("10-first")
        here.hook("20-open")
        (tmp_path / "hooks.d" / "20-open").chmod(0o777)
        here.start()
        event = here.freeze(not_before_in_s=600, description="Host server is undergoing maintenance. " * 4)
        here.until(lambda: here.record()["status"] == "held")
        here.metadata.start_event(event)
        here.until(lambda: here.record()["started_at"])
        with here.stopped():
            time.sleep(1.5)
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        commands = (("history",), ("pauses",), ("show", "last"), ("status",), ("hooks", "list"))
        for columns, words in itertools.product((60, 80, 140), commands):
            with screen(here, columns, *words, NO_COLOR="1") as shown:
                assert shown.end() == 0
                assert "\x1b" not in shown.read(), "no colour under NO_COLOR"
                lines = shown.read().splitlines()
                long = [line for line in lines if len(line) > columns and str(tmp_path) not in line]
                assert lines and not long, (words, long)
        with screen(here, 80, "history") as shown:
            shown.end()
            assert "\x1b[1mNOTICED" in shown.read(), "colour on a terminal"
        assert "\x1b" not in here.command("history").stdout, "none elsewhere"


def test_elsewhere_a_line_is_printed_for_each_change(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-slow", "sleep 2")
        here.start()
        (tmp_path / "said").touch()
        with (tmp_path / "said").open("wb") as said:
            watching = subprocess.Popen([sys.executable, "-m", "tideover", "status", "--watch", "--utc", "--config",
                                         str(tmp_path / "tideover.toml")], stdout=said, stderr=said, env=environment())
        here.until(lambda: "the next event" in (tmp_path / "said").read_text())
        here.freeze(not_before_in_s=600)
        here.until(lambda: "prepare of slow" in (tmp_path / "said").read_text())
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
        lines = (tmp_path / "said").read_text().splitlines()
        assert len(lines) == 2 and all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  The agent waits", line) for line in lines)


def test_a_terminal_without_our_signs_stops_nothing(tmp_path):
    """Latin-1 has few of the world's signs."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.freeze(not_before_in_s=600, description="漢字 ±")
        here.until(lambda: here.record()["status"] == "started")
        for words in (("status",), ("show", "last"), ("doctor",)):
            done = subprocess.run([sys.executable, "-m", "tideover", *words, "--config", str(tmp_path / "tideover.toml")],
                                  env=environment() | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, timeout=60)
            assert done.returncode in (0, 1) and done.stdout and b"Traceback" not in done.stderr, done.stderr
            assert words == ("doctor",) or b"\\u6f22\\u5b57 \xb1" in done.stdout, done.stdout


@pytest.mark.parametrize("command", ["status", "clock"])
def test_a_program_can_watch_too(tmp_path, command):
    with world(tmp_path) as here:
        here.start()
        watching = subprocess.Popen([sys.executable, "-m", "tideover", command, "--watch", "--json", "--config",
                                     str(tmp_path / "tideover.toml")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env=environment(), text=True)
        assert watching.stdout is not None
        documents = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert [document["schema"] for document in documents] == [1, 1]
        assert all({"status": "waiting_for", "clock": "verdict"}[command] in document for document in documents)
        watching.stdout.close()                     # the reader goes away, and nobody is told a story about it
        watching.wait(PATIENCE_S)
        assert watching.stderr is not None and watching.stderr.read() == ""
