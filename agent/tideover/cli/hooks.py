"""`tideover hooks`: the catalogue, what would be refused, trying one, linking one of the library's."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import (
    SuggestingGroup,
    example,
    print_json,
    print_lines,
    with_config_for_all,
    with_json,
    with_settings,
)
from tideover.cli.render import hooks_table
from tideover.cli.terminal import render_lines, this_terminal
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError, WrongUseError
from tideover.humanize import length_text
from tideover.model import HookOutcome, HookPhase, HookSpec, Kind
from tideover.text_safety import dot_controls


@click.group("hooks", cls=SuggestingGroup, epilog=example("tideover hooks check"))
@with_config_for_all
def command() -> None:
    """List, check, run, enable and disable hooks."""


@command.command("list", epilog=example("tideover hooks list"))
@with_json
@with_settings
def list_hooks(loaded: Loaded, as_json: bool) -> int:
    """List the hooks of the hooks directory, in the order in which they prepare."""
    from tideover.daemon.policy_source import catalogue_of
    catalogue = catalogue_of(loaded.settings)
    if as_json:
        print_json({"hooks": [_document(spec) for spec in catalogue.hooks], "disabled": list(catalogue.disabled),
                    "warnings": list(catalogue.warnings)})
        return EXIT_OK
    if not catalogue.hooks and not catalogue.disabled:
        print_lines([f"No hook in {dot_controls(loaded.settings.paths.hooks)}."])
    else:
        print_lines(render_lines([hooks_table(catalogue.hooks, catalogue.disabled)], this_terminal()))
    for warning in catalogue.warnings:
        click.echo(dot_controls(warning), err=True)
    return EXIT_OK


@command.command("check", epilog=example("tideover hooks check"))
@with_json
@with_settings
def check_hooks(loaded: Loaded, as_json: bool) -> int:
    """Check that each hook can run, and say why not. Exit status 1 if one cannot."""
    from tideover.daemon.policy_source import catalogue_of
    from tideover.settings import unused_hook_tables
    catalogue = catalogue_of(loaded.settings)
    refused = [{"name": spec.name, "path": spec.path, "why": why} for spec, why in catalogue.refusals]
    ignored = [{"file": file, "why": why} for file, why in catalogue.ignored]
    unused = unused_hook_tables(loaded.settings, [spec.name for spec in catalogue.hooks], loaded.origin)
    warnings = [*catalogue.warnings, *unused]
    if as_json:
        print_json({"refused": refused, "ignored": ignored, "disabled": list(catalogue.disabled), "warnings": warnings})
        return EXIT_NO if catalogue.faults else EXIT_OK
    for one in refused:
        click.echo(f"refused   {dot_controls(one['path'])}: {dot_controls(one['why'])}")
    for one in ignored:
        click.echo(f"ignored   {dot_controls(one['file'])}: {dot_controls(one['why'])}")
    for name in catalogue.disabled:
        click.echo(f"disabled  {dot_controls(name)}: no run bit; chmod +x enables it")
    for warning in warnings:
        click.echo(f"warning   {dot_controls(warning)}")
    click.echo(f"{len(catalogue.hooks) - len(refused)} of {len(catalogue.hooks)} hooks can run.")
    return EXIT_NO if catalogue.faults else EXIT_OK


@command.command("run", epilog=example("sudo tideover hooks run haproxy-drain prepare --kind freeze"))
@click.argument("name")
@click.argument("phase", type=click.Choice([phase.value for phase in HookPhase]))
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), default=Kind.FREEZE.value,
              help="The kind of event passed to the hook.")
@with_json
@with_settings
def run_hook(loaded: Loaded, name: str, phase: str, kind: str, as_json: bool) -> int:
    """Run PHASE of one hook now, as the agent would, with a sample event; the reason for recover is "cancelled".

    The state directory is kept from prepare to recover.
    """
    from tideover.daemon.offline import run_hook_once
    report = run_hook_once(loaded, _find(loaded, name), HookPhase(phase), Kind(kind),
                      drill=os.environ.get("TIDEOVER_DRILL") == "1",
                      show_line=None if as_json else lambda line: click.echo(dot_controls(line)))
    if as_json:
        took_s = None if report.duration_s is None else round(report.duration_s, 3)
        print_json({"name": name, "phase": phase, "outcome": report.outcome.value, "exit_status": report.exit_status,
                    "duration_s": took_s, "output": report.output, "note": report.note})
    else:
        status = "" if report.exit_status is None else f", exit status {report.exit_status}"
        note = f": {dot_controls(report.note)}" if report.note else ""
        click.echo(f"{name} {phase}: {report.outcome.value}{status}, {length_text(report.duration_s)}{note}")
    return EXIT_OK if report.outcome in (HookOutcome.DONE, HookOutcome.NOTHING) else EXIT_NO


@command.command("enable", epilog=example("sudo tideover hooks enable haproxy-drain"))
@click.argument("name")
@with_settings
def enable_hook(loaded: Loaded, name: str) -> int:
    """Link a library hook into the hooks directory, named after its stage number."""
    from tideover.hooks import library
    link = library.enable(name, Path(loaded.settings.paths.hooks), library.library())
    click.echo(f"{link} is enabled. Its settings belong into [hook.{name}]; {link} describe tells them.")
    return EXIT_OK


@command.command("disable", epilog=example("sudo tideover hooks disable haproxy-drain"))
@click.argument("name")
@with_settings
def disable_hook(loaded: Loaded, name: str) -> int:
    """Remove the link that enable made; refused while the hook's recovery is pending."""
    from tideover.hooks import library
    from tideover.journal.store import read_memory
    state, _ = read_memory(loaded.settings, lambda journal: ())
    if name in state.hooks:
        raise TideoverError(f"cannot disable {dot_controls(name)}", "it is prepared, and recover needs the file",
                            "Wait until the event is over, or run tideover recover first.")
    link = library.disable(name, Path(loaded.settings.paths.hooks), library.library())
    click.echo(f"{link} is removed.")
    return EXIT_OK


def _find(loaded: Loaded, name: str) -> HookSpec:
    """Raise WrongUseError if there is none of that name, TideoverError if it is disabled."""
    from tideover.daemon.policy_source import catalogue_of
    catalogue, home, operation = catalogue_of(loaded.settings), loaded.settings.paths.hooks, "cannot run the hook"
    for spec in catalogue.hooks:
        if spec.name == name:
            return spec
    for file in catalogue.disabled:
        if file.partition("-")[2] == name:      # a file without its run bit: there is none on Windows
            raise TideoverError(f"{operation} {dot_controls(name)}", "it is disabled: its file has no run bit",
                                f"chmod +x {Path(home) / file} enables it.")
    raise WrongUseError(f"{operation} {dot_controls(name)}", f"{home} has no hook of that name",
                        "See tideover hooks list; give the name without its number.")


def _document(spec: HookSpec) -> dict[str, Any]:
    return {
        "name": spec.name, "order": spec.order, "path": spec.path,
        "kinds": [kind.value for kind in Kind if kind in spec.kinds], "min_pause_s": spec.min_pause_s,
        "timeout_s": spec.timeout_s, "required": spec.required, "user": spec.user, "refused": spec.refused,
    }
