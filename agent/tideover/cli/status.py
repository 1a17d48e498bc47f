"""`tideover status`: what it waits for, in one sentence, then the rest. Works without the agent, from its journal."""
from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tideover.cli.layout import lines_of
from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, print_lines, with_json, with_readable_settings, with_utc
from tideover.cli.terminal import this_terminal
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, UnreachableError
from tideover.settings import Settings
from tideover.telling.status import status_parts
from tideover.wording import Times


@click.command("status")
@with_json
@with_utc
@click.option("--watch", is_flag=True, help="Again each second, until interrupted.")
@with_readable_settings
def command(loaded: Loaded, as_json: bool, utc: bool, watch: bool) -> int:
    """What the agent waits for, the next event, the last pause, the clock, the hooks.

    Works without the agent: what is shown then is what the last one wrote down, and the first line says so. While it is
    watched it is drawn anew on a terminal; elsewhere a line is printed for each change of what is waited for, and with
    --json the whole document, one line each second.
    """
    def look() -> dict[str, Any]:
        return _with_catalogue(read_status(loaded.settings), loaded.settings)

    if watch:
        from tideover.cli.watching import watch_status
        watch_status(look, as_json=as_json, utc=utc)
    elif as_json:
        print_json(look())
    else:
        print_lines(lines_of(status_parts(look(), Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_OK


def read_status(settings: Settings) -> dict[str, Any]:
    """Given the settings, return the agent's own word, or what its journal says when it does not answer."""
    from tideover.api.client import read_status as ask_status
    try:
        return ask_status(Path(settings.paths.socket), Path(settings.paths.state))
    except UnreachableError as trouble:
        return _from_journal(settings, trouble)


def _with_catalogue(status: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What lies in the hooks directory now, as the next event would find it."""
    from tideover.daemon.choices import catalogue_of
    catalogue = catalogue_of(settings)
    return status | {"catalogue": {
        "ready": sum(spec.refused is None for spec in catalogue.hooks),
        "refused": [Path(spec.path).name for spec in catalogue.hooks if spec.refused is not None],
        "disabled": list(catalogue.disabled)}}


def _from_journal(settings: Settings, trouble: UnreachableError) -> dict[str, Any]:
    from tideover.journal import Journal
    from tideover.pause import MachineClocks, read_boot_id
    from tideover.status import status_of, without_raw_times
    from tideover.system.file_lock import read_holder
    state, rows = read_memory(settings, Journal.newest_rows)
    held = read_holder(Path(settings.paths.state))
    status = status_of(state, rows, MachineClocks().moment())
    if state.boot_id != read_boot_id():
        status = without_raw_times(status)
    status["agent"] = {"alive": held is not None, "pid": held.pid if held else None, "version": None,
                       "started_at": None,
                       "why": trouble.cause if held is not None else "no agent works on the state directory"}
    status["source"] = status["journal"] = None
    return status
