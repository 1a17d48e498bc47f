"""`tideover config` (check, show, schema): options and what they print."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tideover.cli.options import (
    SuggestingGroup,
    config_before,
    example,
    print_json,
    print_lines,
    print_sentence,
    with_config,
    with_config_for_all,
    with_json,
    with_settings,
)
from tideover.cli.render import Table, table_row
from tideover.cli.terminal import table_lines, this_terminal
from tideover.config_file import Loaded, load_settings
from tideover.documents import DOCUMENTS, document_schema
from tideover.errors import EXIT_OK, EXIT_WRONG_USE, ConfigurationError, WrongUseError


@click.group("config", cls=SuggestingGroup, epilog=example("tideover config check"))
@with_config_for_all
def command() -> None:
    """Validate or show the configuration."""


@command.command("check", epilog=example("tideover config check ./tideover.toml"))
@click.argument("file", required=False)
@with_config
@with_json
@click.pass_context
def check_config(context: click.Context, file: str | None, config: str | None, as_json: bool) -> int:
    """Validate the configuration file and list every fault. Exit status 2 if there is one."""
    import os
    named = file or config or config_before(context)
    try:
        loaded = load_settings(Path(named) if named else None, os.environ)
        _require_safe(loaded)
    except ConfigurationError as trouble:
        if not as_json:
            raise
        print_json({"ok": False, "file": trouble.file, "faults": list(trouble.faults), "warnings": []})
        return EXIT_WRONG_USE
    warnings = _warnings(loaded)
    if as_json:
        print_json({"ok": True, **_files(loaded), "faults": [], "warnings": warnings})
        return EXIT_OK
    for warning in warnings:
        print_sentence(f"warning: {warning}", hanging=2, to_errors=True)
    files = [str(file) for file in (loaded.file, *loaded.drop_ins) if file is not None]
    print_sentence(f"{', '.join(files)}: OK" if files else "No configuration file: the defaults apply.")
    return EXIT_OK


@command.command("show", epilog=example("tideover config show --json"))
@click.option("--secrets", "with_secrets", is_flag=True, help="Show the values of hook environments too.")
@with_json
@with_settings
def show_config(loaded: Loaded, with_secrets: bool, as_json: bool) -> int:
    """Show the effective settings and where each comes from. Values of hook environments are hidden."""
    from tideover.settings.render import effective_values, show_hidden
    shown = effective_values(loaded.settings, loaded.origin)
    if not with_secrets:
        shown = [show_hidden(one) for one in shown]
    if as_json:
        print_json({**_files(loaded),
                    "settings": [{"key": one.key, "value": one.native, "from": one.origin} for one in shown]})
        return EXIT_OK
    rows = tuple(table_row(key, value, origin) for key, value, origin in shown)
    print_lines(table_lines(Table(("KEY", "VALUE", "FROM"), rows), this_terminal()))
    return EXIT_OK


@command.command("schema", epilog=example("tideover config schema > tideover.schema.json"))
@click.argument("document", type=click.Choice(["config", *DOCUMENTS]), default="config")
@with_config
@with_json
def show_schema(document: str, config: str | None, as_json: bool) -> int:
    """Print the JSON Schema of the configuration file, or of a document: record (history --json), pauses, status.

    It is JSON with --json and without.
    """
    from tideover.settings.render import configuration_schema
    print_json(configuration_schema() if document == "config" else document_schema(document))
    return EXIT_OK


def _files(loaded: Loaded) -> dict[str, Any]:
    return {"file": str(loaded.file) if loaded.file else None, "drop_ins": [str(file) for file in loaded.drop_ins]}


def _require_safe(loaded: Loaded) -> None:
    """Raise ConfigurationError if the agent would refuse a file for who else can write it, or read a credential."""
    from tideover.daemon.startup import require_trusted, require_trusted_named
    try:
        require_trusted(loaded)
        require_trusted_named(loaded)
    except WrongUseError as trouble:
        raise ConfigurationError(str(loaded.file), (trouble.cause,)) from trouble


def _warnings(loaded: Loaded) -> list[str]:
    from tideover.daemon.policy_source import catalogue_of
    from tideover.settings import unused_hook_tables, warnings_about
    catalogue = catalogue_of(loaded.settings)
    names = [spec.name for spec in catalogue.hooks]
    return [*warnings_about(loaded.settings, loaded.origin),
            *unused_hook_tables(loaded.settings, names, loaded.origin), *_missing_library(loaded),
            *_refused_program(loaded)]


def _missing_library(loaded: Loaded) -> list[str]:
    wanted = loaded.settings.metrics
    if wanted.listen is None and not wanted.textfile:
        return []
    from tideover.metrics import why_not
    reason = why_not()
    return [f"metrics: {reason}"] if reason else []


def _refused_program(loaded: Loaded) -> list[str]:
    """Without it every event goes its way, so it is no fault of the configuration."""
    command = loaded.settings.notify.command
    if not command:
        return []
    from tideover.hooks.notifier import why_not_run
    reason = why_not_run(command[0])
    return [f"notify.command: {reason}"] if reason is not None else []
