"""`tideover doctor`: options, the lines of its findings, its JSON, `--bundle`."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import example, print_json, print_sentence, with_json, with_readable_settings
from tideover.cli.terminal import this_terminal, wrapped
from tideover.config_file import Loaded
from tideover.doctor import Examination, Finding, FindingLevel, examine, this_machine
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError


@click.command("doctor", epilog=example("sudo tideover doctor"))
@click.option("--bundle", "bundle", metavar="FILE", default=None,
              help="Write what support needs into a new tar file: configuration, log, records, findings, raw "
                   "documents and observations; without secrets.")
@with_json
@with_readable_settings
def command(loaded: Loaded, as_json: bool, bundle: str | None) -> int:
    """Check the setup of this machine. Exit status 0 no problem (notes do not count), 1 at least one problem.

    Queries the metadata service, the time servers and the agent, for a few seconds at most. It changes nothing on this
    machine. On some platforms the first query enables announcements for this VM, as the agent does.

    With --bundle the exit status is 0 once the file is written. Only its owner can read it; it holds what hooks printed
    and the names of machines, and no value of a hook's environment.
    """
    from tideover.daemon.policy_source import catalogue_of
    found = examine(loaded, catalogue_of(loaded.settings), this_machine())
    if bundle is not None:
        return _write_bundle(Path(bundle), loaded, found, as_json=as_json)
    if as_json:
        print_json(examination_document(found))
    else:
        for line in examination_lines(found, this_terminal().width):
            click.echo(line)
    return EXIT_OK if found.is_well else EXIT_NO


def _write_bundle(file: Path, loaded: Loaded, found: Examination, *, as_json: bool) -> int:
    from tideover.cli.status import read_status
    from tideover.doctor.bundle import bundle_members, write_bundle
    from tideover.system.private_files import READERS
    status: Mapping[str, object]
    try:
        status = read_status(loaded.settings)
    except TideoverError as trouble:
        status = {"why": str(trouble)}
    members = bundle_members(loaded, status, examination_document(found))
    write_bundle(file, members)
    size = sum(map(len, members.values()))
    if as_json:
        print_json({"ok": True, "file": str(file), "files": sorted(members), "bytes": size})
    else:
        print_sentence(f"Wrote {file}: {len(members)} files, {size / 1024:.0f} KiB. Only {READERS} can read it. "
                       "It holds what hooks printed and names of machines; values of hook environments are hidden.")
    return EXIT_OK


def examination_document(found: Examination) -> dict[str, Any]:
    """Given what was found, return it for --json."""
    return {
        "findings": [{"topic": one.topic, "state": one.state.value, "what": one.what, "do": one.do or None}
                     for one in found.findings],
        "guarantees": [{**asdict(one), "sentence": one.sentence} for one in found.guarantees],
    }


def examination_lines(found: Examination, width: int | None) -> list[str]:
    """Given what was found and the width of the terminal (None: there is none, so lines are left whole), return its
    lines for a person."""
    column = max(len(one.topic) for one in found.findings)
    lines = [line for one in found.findings for line in _finding_lines(one, column, width)]
    lines += ["", "Pauses that can be detected:"]
    lines += [line for one in found.guarantees for line in _wrapped("  ", "  ", one.sentence, width)]
    return [*lines, "", *_wrapped("", "", _sum(found), width)]


def _finding_lines(one: Finding, column: int, width: int | None) -> list[str]:
    state = "BAD " if one.state is FindingLevel.BAD else one.state.value
    head = f"{state}  {one.topic.ljust(column)}  "
    margin = " " * len(head)
    lines = _wrapped(head, margin, one.what, width)
    return lines + (_wrapped(f"{margin}→ ", f"{margin}  ", one.do, width) if one.do else [])


def _wrapped(first: str, margin: str, text: str, width: int | None) -> list[str]:
    """Addresses, paths and lines to copy are never cut in two."""
    lines = wrapped(text, None if width is None else width - len(margin))
    return [(margin if index else first) + line for index, line in enumerate(lines)]


def _sum(found: Examination) -> str:
    wrong = sum(one.state is FindingLevel.BAD for one in found.findings)
    notes = sum(one.state is FindingLevel.NOTE for one in found.findings)
    noted = {0: "", 1: " One note."}.get(notes, f" {notes} notes.")
    if not wrong:
        return f"No problem found.{noted}"
    return f"{'One problem' if wrong == 1 else f'{wrong} problems'}.{noted}"
