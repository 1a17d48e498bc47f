"""`status --watch`: the same page again each second. On a terminal it is drawn in place, in one piece and over itself,
so that nothing flickers; the screen and the cursor are given back at the end."""
from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from tideover.cli.interruption import until_interrupted
from tideover.cli.layout import lines_of
from tideover.cli.options import print_lines
from tideover.cli.terminal import columns_of, harmless, harmless_json, this_terminal
from tideover.telling.status import status_parts
from tideover.wording import Times

EACH_S = 1.0
# xterm's control sequences (ctlseqs): alternate screen, cursor, erase to the end of the line and of the screen
BEGIN, END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Look = Callable[[], dict[str, Any]]


def watch_status(look: Look, *, as_json: bool, utc: bool) -> None:
    """Given how to read the status, show it until interrupted (Ctrl-C, SIGTERM) or until nobody reads."""
    with until_interrupted():
        if as_json:
            _print_documents(look)
        elif sys.stdout.isatty():
            _draw(look, utc)
        else:
            _print_changes(look, utc)


def _print_documents(look: Look) -> None:
    for _ in _seconds():
        click.echo(harmless_json(look(), None))


def _print_changes(look: Look, utc: bool) -> None:
    """A line for each change of what the first sentence says."""
    told = ""
    for _ in _seconds():
        times = Times(datetime.now(UTC), utc)
        first = lines_of(status_parts(look(), times)[:1], this_terminal())[0]
        if first != told:
            click.echo(f"{times.this_moment()}  {first}")
            told = first


def _draw(look: Look, utc: bool) -> None:
    lines: list[str] = []
    sys.stdout.write(BEGIN)
    try:
        for _ in _seconds():
            times = Times(datetime.now(UTC), utc)
            lines = lines_of(status_parts(look(), times), this_terminal())
            sys.stdout.write(frame([*lines, "", f"{times.this_moment()}, each second; Ctrl-C ends it"],
                                   *shutil.get_terminal_size()))
            sys.stdout.flush()
    finally:
        sys.stdout.write(END)
        sys.stdout.flush()
        print_lines(lines)              # what was seen last stays on the screen


def frame(lines: list[str], columns: int, rows: int) -> str:
    """Given a page and the size of the screen, return what draws it over the one before: what does not fit is cut off,
    because a screen that scrolls cannot be drawn over."""
    shown = lines if len(lines) <= rows else [*lines[:rows - 1], f"… {len(lines) - rows + 1} lines more"]
    return HOME + f"{REST_OF_LINE}\r\n".join(cut(line, columns) for line in shown) + REST_OF_LINE + REST_OF_SCREEN


def cut(line: str, columns: int) -> str:
    """Given a line that may hold colours, return no more of it than there are columns."""
    bare = click.unstyle(line)
    if columns_of(bare) <= columns:
        return line
    while columns_of(bare) > columns - 1:
        bare = bare[:-1]
    return harmless(bare) + "…"


def _seconds() -> Iterator[None]:
    """Now, and then at each next second; a look that took longer is not made up for."""
    due_s = time.monotonic()
    while True:
        yield
        due_s = max(due_s + EACH_S, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))
