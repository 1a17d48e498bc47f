"""What commands show on terminals of several widths: no word is broken by the edge, and nothing is cut off."""
from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pytest

from running_agent import environment
from test_cli_events import a_life
from tideover.cli.app import group
from tideover.cli.completion import completed_commands
from tideover.hooks import library
from tideover.journal import FILE, Journal
from tideover.lifecycle import State

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")]
WIDTHS = (80, 120)
HELPS = sorted(one.at for one in completed_commands(group, "tideover", ""))
SCREENS = ["status", "status --all", "history", "history --all", "pauses", "report", "show own-1", "hooks list", "hooks check",
           "hooks list --available", "hooks describe haproxy-drain", "hooks enable haproxy-drain", "hooks enable hapoxy", "doctor",
           "clock", "config check", "show unknown-event", "simulate --list", "recover --dry-run", "statsu"]


@pytest.fixture(scope="module")
def home():
    """A short path: a path is one word, and no word is broken."""
    home = Path(tempfile.mkdtemp(prefix="s"))
    (home / "state").mkdir()
    life = a_life()
    journal = Journal(home / "state" / FILE)
    journal.commit(life.now, State(), life.state, life.entries)
    journal.close()
    file = home / "tideover.toml"
    file.write_text(f'[paths]\nstate = "{home}/state"\nhooks = "{home}/hooks.d"\nruntime = "{home}/run"\n'
                    '[source]\nkind = "azure"\nendpoint = "http://127.0.0.1:9"\n[clock]\nservers = ["127.0.0.1:9"]\n')
    library.enable("haproxy-drain", home / "hooks.d", library.library())
    library.new_hook("mine", 60, home / "hooks.d", python=False)
    (home / "hooks.d" / "30-open").write_text("#!/bin/sh\n")
    (home / "hooks.d" / "30-open").chmod(0o777)
    (home / "hooks.d" / "70-off").touch()
    (home / "hooks.d" / "notes.txt").touch()
    yield home
    shutil.rmtree(home)


def shown(home, words, columns):
    """What stands on a terminal of so many columns, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    surroundings = {key: value for key, value in environment().items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen([sys.executable, "-m", "tideover", *words], stdin=theirs, stdout=theirs, stderr=theirs,
                               env={**surroundings, "TERM": "xterm", "TIDEOVER_CONFIG": str(home / "tideover.toml")})
    os.close(theirs)
    raw = b""
    try:
        while select.select([ours], [], [], 60.0)[0]:
            raw += os.read(ours, 65536)
    except OSError:                         # how a pseudo-terminal says that the other side is gone
        pass
    process.wait(60)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", raw.decode()).replace("\r\n", "\n").splitlines()


def words_of(lines):
    return set(" ".join(lines).split())


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("typed", SCREENS)
def test_a_screen_fits_its_terminal_and_has_every_word(home, typed, columns):
    lines = shown(home, typed.split(), columns)
    too_long = [line for line in lines if len(line) > columns and " " in line.strip()]
    assert lines and too_long == []
    piped = subprocess.run([sys.executable, "-m", "tideover", *typed.split()], capture_output=True, text=True,
                           env={**environment(), "TIDEOVER_CONFIG": str(home / "tideover.toml")})
    heads = {word for word in words_of(piped.stdout.splitlines()) if word.isupper()}       # a narrow table has them in lower case
    ages = re.compile(r"[\d.,:]+|m?s|µs|min|h|d|ago")
    missing = {word for word in words_of((piped.stdout + piped.stderr).splitlines()) - words_of(lines) - heads
               if not ages.fullmatch(word.strip("()"))}
    assert missing == set()


@pytest.mark.parametrize("columns", WIDTHS)
def test_every_help_text_fits_its_terminal(home, columns):
    for at in HELPS:
        lines = shown(home, [*at.split()[1:], "--help"], columns)
        assert [line for line in lines if len(line) > columns] == [], at
        assert not [line for line in lines if line.endswith("...") and "[ARGS]" not in line], at
