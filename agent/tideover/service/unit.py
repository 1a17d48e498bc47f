"""The text of the unit, with the command of this installation in it. Reads its own file; writes nothing."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "tideover.service"
FILE = Path(__file__).with_name(NAME)
PACKAGED_COMMAND = "/usr/bin/tideover"
WRITTEN_BY = "# Written by tideover service install; changes belong into a drop-in (systemctl edit tideover)."


def own_command() -> tuple[str, ...]:
    """Return the words that start this installation's `tideover`."""
    script = Path(sys.executable).with_name("tideover")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "tideover")


def unit_text(command: Sequence[str], config: str | None) -> str:
    """Given the words of the command and the configuration file (None: the usual one), return the unit."""
    words = " ".join(quoted(word) for word in command)
    named = f" --config {quoted(config)}" if config else ""
    lines = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if value.startswith(f"{PACKAGED_COMMAND} "):
            line = f"{key}{equals}{words}{value.removeprefix(PACKAGED_COMMAND)}{named}"
        lines.append(line)
    return "\n".join([WRITTEN_BY, *lines, ""])


def quoted(word: str) -> str:
    """Given a word of a command line, return it as a unit writes it (systemd.service(5), command lines)."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if set(plain) & set(" \t\"'\\;") else plain
