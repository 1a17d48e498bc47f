"""Pages as files: what `--html FILE` writes. The pages themselves are made, from records alone, in `tideover.page`."""
from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover import __version__
from tideover.errors import WrongUseError

if TYPE_CHECKING:
    from tideover.page import Figures
    from tideover.wording import Times

STANDARD_OUTPUT = "-"
OWNERS_ALONE = 0o600
"""A page holds the hooks' output, which the journal keeps from other users; whoever sends it decides who reads it."""


def write_event_page(record: Mapping[str, Any], file: str, *, utc: bool, quietly: bool) -> None:
    """Given a record, write its page to `file`, and say so unless `quietly`. Raise WrongUseError if it cannot be."""
    from tideover.page import event_page
    from tideover.wording import Times
    write_page(file, event_page(record, Times(datetime.now(UTC), utc), __version__), quietly=quietly)


def write_report_page(figures: Figures, machine: str, file: str, told_in: Times, *, quietly: bool) -> None:
    """Given a history's figures and this machine's name, do the same with their page."""
    from tideover.page import report_page
    write_page(file, report_page(figures, told_in, machine, __version__), quietly=quietly)


def write_page(file: str, text: str, *, quietly: bool) -> None:
    """Given a file's name, or - for standard output, write the page there whole or not at all. Raise WrongUseError.

    A new file is its owner's alone. One that is there is replaced, not changed, and keeps its mode; a device or a pipe
    is written to.
    """
    if file == STANDARD_OUTPUT:
        if quietly:
            raise WrongUseError("cannot write both to standard output", "--json fills it already",
                                "Name a file after --html, or leave one of the two out.")
        sys.stdout.buffer.write(text.encode())
        return
    try:
        is_new = _put(Path(file), text.encode())
    except OSError as trouble:
        raise WrongUseError(f"cannot write the page {file}", (trouble.strerror or str(trouble)).lower(),
                            "Name a file in a directory that is there, has room, and that you may write to.") \
            from trouble
    if not quietly:
        alone = " Only its owner may read it, for it may hold what hooks printed; chmod decides otherwise."
        click.echo(f"Wrote {file}.{alone if is_new else ''}")


def _put(path: Path, content: bytes) -> bool:
    """Return whether the file is new. Raise OSError."""
    mode = _mode_of(path)
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("wb") as there:      # a directory says that it is one
            there.write(content)
        return False
    path = path.resolve()                   # a link stays, and what it leads to is replaced
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, OWNERS_ALONE)) as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        if mode is not None:
            beside.chmod(stat.S_IMODE(mode))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return mode is None


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
