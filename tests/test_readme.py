"""Every command the README shows is run as it stands there, in one shell session of a new user."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from running_agent import environment

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(README.read_text()) if kind == language]


@pytest.mark.slow
def test_every_command_in_the_readme_works_for_a_new_user(tmp_path):
    tool = tmp_path / "bin" / "tideover"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m tideover "$@"\n')
    tool.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    session = subprocess.run(
        ["/bin/sh", "-e"], input="\n".join(blocks("sh")), text=True, capture_output=True, timeout=240,
        env={**environment(), "HOME": str(home), "PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert session.returncode == 0, session.stdout[-3000:] + session.stderr[-3000:]
    assert "Every check passed" in session.stdout and "Traceback" not in session.stderr
    assert (home / "tideover" / "healthy").exists(), "the hook of the README was recovered"


def test_the_readme_shows_every_command_there_is():
    from tideover.cli.app import COMMANDS
    text = README.read_text()
    assert not [name for name in COMMANDS if f"tideover {name}" not in text]
