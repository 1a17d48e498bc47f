"""`tideover status`: options, `--watch`, `--check`, exit status; the status from the journal where no agent runs."""
from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.endings import until_interrupted
from tideover.cli.options import (
    example,
    print_json,
    print_json_line,
    print_lines,
    with_json,
    with_readable_settings,
    with_utc,
)
from tideover.cli.render import Part
from tideover.cli.status_lines import status_parts
from tideover.cli.terminal import columns_of, render_lines, this_terminal
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, EXIT_UNREACHABLE, UnreachableError, WrongUseError
from tideover.humanize import Times
from tideover.journal.store import read_memory
from tideover.settings import Settings
from tideover.status import is_observing, own_events_only, problems_of
from tideover.text_safety import dot_controls

if TYPE_CHECKING:
    from tideover.documents import AgentStatusDocument, ShownStatusDocument

# --- --watch

REFRESH_S = 1.0
# xterm's control sequences (ctlseqs): alternate screen, cursor, erase to the end of the line and of the screen
BEGIN, END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

ReadStatus = Callable[[], "ShownStatusDocument"]


def watch_status(look: ReadStatus, *, as_json: bool, utc: bool) -> None:
    """Given how to read the status, show it until interrupted (Ctrl-C, SIGTERM) or until its output is closed."""
    with until_interrupted():
        if as_json:
            print_documents(look, REFRESH_S)
        elif sys.stdout.isatty():
            draw(lambda times: status_parts(look(), times), utc, REFRESH_S, "every second")
        else:
            print_changes(lambda times: status_parts(look(), times), utc, REFRESH_S)


def print_documents(look: Callable[[], Mapping[str, Any]], every_s: float) -> None:
    """Given how to read a document, print it on a line, again and again until interrupted."""
    for _ in _beats(every_s):
        print_json_line(look())


def print_changes(parts_of: Callable[[Times], list[Part]], utc: bool, every_s: float) -> None:
    """Given the same, print a line for each change of what the first sentence says."""
    shown = ""
    for _ in _beats(every_s):
        times = Times(datetime.now(UTC), utc)
        first = render_lines(parts_of(times)[:1], this_terminal())[0]
        if first != shown:
            click.echo(f"{times.this_moment()}  {first}")
            shown = first


def draw(parts_of: Callable[[Times], list[Part]], utc: bool, every_s: float, how_often: str) -> None:
    """Given how to make a page for a moment, draw it over the one before until interrupted."""
    lines: list[str] = []
    sys.stdout.write(BEGIN)
    try:
        for _ in _beats(every_s):
            times = Times(datetime.now(UTC), utc)
            lines = render_lines(parts_of(times), this_terminal())
            sys.stdout.write(frame([*lines, "", f"{times.this_moment()}, {how_often}; Ctrl-C to quit"],
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
    return dot_controls(bare) + "…"


def _beats(every_s: float) -> Iterator[None]:
    """Now, and then at each next time; a look that took longer is not made up for."""
    due_s = time.monotonic()
    while True:
        yield
        due_s = max(due_s + every_s, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))


# --- The command

@click.command("status", epilog=example("tideover status --watch"))
@with_json
@with_utc
@click.option("--all", "others_too", is_flag=True, help="List events of other machines, too.")
@click.option("--watch", is_flag=True, help="Update every second until interrupted.")
@click.option("--check", is_flag=True, help="Print one line, for monitoring: exit status 0 healthy, 1 something needs "
                                            "a look, 3 no agent answers.")
@with_readable_settings
def command(loaded: Loaded, as_json: bool, utc: bool, others_too: bool, watch: bool, check: bool) -> int:
    """Show what the agent waits for, the next event, the last pause, the clock and the hooks.

    Works without the agent: it then shows the last recorded state, and the first line says so. With --watch a terminal
    is redrawn every second; other outputs get one line for each change, and with --json the whole document, one line
    each second.

    With --check something needs a look when a recovery has failed, no poll has succeeded for a minute, no events can
    be received (as with source "none"), the journal cannot be written, or a failed preparation holds an
    acknowledgement.
    """
    if check:
        if watch:
            raise WrongUseError("cannot check and watch", "--check ends at once", "Use one of the two options.")
        return _check(read_status(loaded.settings), as_json)

    def look() -> ShownStatusDocument:
        status = _with_catalogue(read_status(loaded.settings), loaded.settings)
        return status if others_too else own_events_only(status)

    if watch:
        watch_status(look, as_json=as_json, utc=utc)
    elif as_json:
        print_json(look())
    else:
        print_lines(render_lines(status_parts(look(), Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_OK


OBSERVES = " only observes ([policy] mode) and"


def _check(status: AgentStatusDocument, as_json: bool) -> int:
    """Given a status, print in one line whether it is healthy; return the exit status."""
    agent = status["agent"]
    if agent["alive"] and not agent["why"]:
        problems = problems_of(status)
        line = (f"PROBLEM: {'; '.join(problems)}" if problems
                else f"OK: the agent{OBSERVES if is_observing(status) else ''} waits for {status['waiting_for']}")
        exit_status = EXIT_NO if problems else EXIT_OK
    else:
        pending = status["recover_pending"]
        problems = [f"the agent does not answer: {agent['why']}" if agent["alive"] else "no agent is running",
                    *([f"recovery of {', '.join(pending)} is pending"] if pending else [])]
        line, exit_status = f"NO AGENT: {'; '.join(problems)}", EXIT_UNREACHABLE
    if as_json:
        print_json({"healthy": exit_status == EXIT_OK, "exit_status": exit_status, "problems": problems,
                    "waiting_for": status["waiting_for"]})
    else:
        click.echo(dot_controls(line))
    return exit_status


def read_status(settings: Settings) -> AgentStatusDocument:
    """Given the settings, return the agent's answer, or what its journal says when it does not answer."""
    from tideover.api.protocol import read_status as ask_status
    try:
        return ask_status(Path(settings.paths.socket), Path(settings.paths.state))
    except UnreachableError as trouble:
        return _from_journal(settings, trouble)


def _with_catalogue(status: AgentStatusDocument, settings: Settings) -> ShownStatusDocument:
    """Add what lies in the hooks directory now, as the next event would find it."""
    from tideover.daemon.policy_source import catalogue_of
    catalogue = catalogue_of(settings)
    return {**status, "events_of_others": 0, "catalogue": {
        "ready": sum(spec.refused is None for spec in catalogue.judged),
        "refused": [Path(spec.path).name for spec in catalogue.judged if spec.refused is not None],
        "disabled": list(catalogue.disabled)}}


def _from_journal(settings: Settings, trouble: UnreachableError) -> AgentStatusDocument:
    from tideover.journal import Journal
    from tideover.pause import MachineClocks, read_boot_id
    from tideover.status import status_of, without_raw_times
    from tideover.system.file_lock import read_holder
    state, rows = read_memory(settings, Journal.newest_rows)
    held = read_holder(Path(settings.paths.state))
    status = status_of(state, rows, MachineClocks().moment())
    if state.boot_id != read_boot_id():
        status = without_raw_times(status)
    why = trouble.cause if held is not None else "no agent is running"
    return {**status, "mode": settings.policy.mode, "journal": None, "source": None, "fleet": None,
            "agent": {"alive": held is not None, "pid": held.pid if held else None, "version": None,
                      "started_at": None, "why": why}}
