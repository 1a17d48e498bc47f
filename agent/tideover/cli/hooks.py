"""`tideover hooks` (list, describe, check, new, run, enable, disable): options and what they print."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import (
    SuggestingGroup,
    duration_between,
    example,
    print_json,
    print_lines,
    print_sentence,
    with_config_for_all,
    with_json,
    with_settings,
)
from tideover.cli.render import Paragraph, Part, Style, StyledText, Table, TableRow, key_value, table_row
from tideover.cli.terminal import render_lines, this_terminal
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError, UnreachableError, WrongUseError
from tideover.humanize import length_text
from tideover.model import ANNOUNCED, HookOutcome, HookPhase, HookSpec, Kind, Verdict
from tideover.text_safety import dot_controls

if TYPE_CHECKING:
    from tideover.hooks.description import HookDescription
    from tideover.hooks.directory import Catalogue


@click.group("hooks", cls=SuggestingGroup, epilog=example("tideover hooks check"))
@with_config_for_all
def command() -> None:
    """List, describe, check, write, run, enable and disable hooks."""


HANGING = 10                # columns of the words before a file in `hooks check`


@command.command("list", epilog=example("tideover hooks list --available"))
@click.option("--available", is_flag=True, help="List the hooks of the library instead.")
@with_json
@with_settings
def list_hooks(loaded: Loaded, available: bool, as_json: bool) -> int:
    """List the hooks of the hooks directory, in the order in which they prepare."""
    from tideover.hooks.description import missing_settings
    if available:
        return _list_library(loaded, as_json)
    catalogue = _catalogue(loaded)
    missing = {spec.path: str(why) for spec, why in missing_settings(loaded.settings, catalogue)}
    if as_json:
        print_json({"hooks": [{**_document(spec), "missing": missing.get(spec.path)} for spec in catalogue.judged],
                    "disabled": list(catalogue.disabled), "warnings": list(catalogue.warnings)})
        return EXIT_OK
    if not catalogue.hooks and not catalogue.disabled:
        print_sentence(f"No hook in {loaded.settings.paths.hooks}. tideover hooks list --available lists those of the "
                       "library; tideover hooks new NAME makes one of your own.")
    else:
        print_lines(render_lines([hooks_table(catalogue.judged, catalogue.disabled, missing)], this_terminal()))
    for warning in catalogue.warnings:
        print_sentence(warning, to_errors=True)
    return EXIT_OK


def _list_library(loaded: Loaded, as_json: bool) -> int:
    from tideover.hooks import library
    from tideover.hooks.description import describe_all
    place, directory = library.library(), Path(loaded.settings.paths.hooks)
    files = {name: library.file_of(place, name) for name in library.known_names(place)}
    descriptions = describe_all(files)
    rows = []
    for name, about in descriptions.items():
        enabled = next((file for file in library.files_of(name, directory) if library.is_from(file, files[name])), None)
        summary = str(about) if isinstance(about, TideoverError) else about.summary
        stage = None if isinstance(about, TideoverError) else about.stage
        rows.append({"name": name, "stage": stage, "summary": summary, "path": str(files[name]),
                     "enabled": None if enabled is None else str(enabled)})
    rows.sort(key=lambda row: (row["stage"] is None, row["stage"] or 0, row["name"] or ""))
    if as_json:
        print_json({"available": rows})
    else:
        print_lines(render_lines([library_table(rows)], this_terminal()))
    return EXIT_OK


@command.command("describe", epilog=example("tideover hooks describe haproxy-drain"))
@click.argument("name")
@with_json
@with_settings
def describe_hook(loaded: Loaded, name: str, as_json: bool) -> int:
    """Show what a hook says of itself: what it does before each kind of event, its settings, what it needs.

    NAME is a hook of the hooks directory, or of the library.
    """
    from tideover.hooks import library
    from tideover.hooks.description import can_describe, describe
    from tideover.hooks.environment_file import owner_variables
    from tideover.settings import options_for
    spec = next((spec for spec in _catalogue(loaded).hooks if spec.name == name), None)
    if spec is not None and spec.refused:
        raise TideoverError(f"cannot describe {dot_controls(name)}", f"{spec.path} is refused: {spec.refused}",
                            "See tideover hooks check.")
    file = Path(spec.path) if spec is not None else library.library_file(name, library.library(),
                                                                         f"cannot describe {dot_controls(name)}")
    if not can_describe(file):
        raise TideoverError(f"cannot describe {dot_controls(name)}", f"{file} does not use the hook SDK",
                            "Read the file, or write it on the SDK (tideover hooks new).")
    about = describe(file, name)
    missing = about.missing(owner_variables(options_for(loaded.settings, name)).variables)
    if as_json:
        print_json({**about.as_json(), "path": str(file), "enabled": spec is not None,
                    "missing": [one.name for one in missing]})
    else:
        print_lines(render_lines(description_parts(about, str(file), enabled=spec is not None), this_terminal()))
    return EXIT_OK


@command.command("check", epilog=example("tideover hooks check"))
@with_json
@with_settings
def check_hooks(loaded: Loaded, as_json: bool) -> int:
    """Check that each hook can run and has its required settings, and say why not. Exit status 1 if one cannot."""
    from tideover.applications.admission import unusable_tables
    from tideover.hooks.description import missing_settings
    from tideover.settings import unused_hook_tables
    catalogue = _catalogue(loaded)
    refused = [{"name": spec.name, "path": spec.path, "why": str(why)} for spec, why in catalogue.refusals]
    missing = [{"name": spec.name, "path": spec.path, "why": str(why)}
               for spec, why in missing_settings(loaded.settings, catalogue)]
    ignored = [{"file": file, "why": why} for file, why in catalogue.ignored]
    unused = unused_hook_tables(loaded.settings, [spec.name for spec in catalogue.hooks], loaded.origin)
    warnings = [*catalogue.warnings, *unused, *_never_connected(loaded)]
    applications = [{"name": name, "why": f"its user {user} does not exist here, so none can be it"}
                    for name, user in unusable_tables(loaded.settings)]
    exit_status = EXIT_NO if catalogue.faults or missing or applications else EXIT_OK
    if as_json:
        print_json({"refused": refused, "missing": missing, "ignored": ignored, "disabled": list(catalogue.disabled),
                    "applications": applications, "warnings": warnings})
        return exit_status
    for one in refused:
        print_sentence(f"refused   {Path(str(one['path'])).name}: {one['why']}", hanging=HANGING)
    for one in missing:
        print_sentence(f"missing   {Path(str(one['path'])).name}: {one['why']}", hanging=HANGING)
    for application in applications:
        print_sentence(f"unusable  [application.{application['name']}]: {application['why']}", hanging=HANGING)
    for one in ignored:
        print_sentence(f"ignored   {one['file']}: {one['why']}", hanging=HANGING)
    for name in catalogue.disabled:
        print_sentence(f"disabled  {name}: no run bit; chmod +x enables it", hanging=HANGING)
    for warning in warnings:
        print_sentence(f"warning   {warning}", hanging=HANGING)
    count = len(catalogue.hooks)
    can_run = count - len(refused) - len(missing)
    print_sentence(f"{can_run} of {count} hooks can run." if count else f"No hook in {loaded.settings.paths.hooks}.")
    return exit_status


def _never_connected(loaded: Loaded) -> list[str]:
    """What a running agent knows of the applications; nothing where none answers."""
    from tideover.api.protocol import read_status
    if not loaded.settings.application:
        return []
    paths = loaded.settings.paths
    try:
        status = read_status(Path(paths.socket), Path(paths.state))
    except UnreachableError:
        return []
    return [f"[application.{name}]: it has not connected since the agent's start"
            for name in status["applications_never_connected"] or ()]


@command.command("new", epilog=example("sudo tideover hooks new my-application"))
@click.argument("name")
@click.option("--python", is_flag=True, help="Write it in Python instead of POSIX sh.")
@click.option("--stage", type=click.IntRange(0, 99), default=60, show_default=True,
              help="Its place: hooks prepare upwards and recover downwards. 20 traffic, 40 leadership, 50 databases, "
                   "60 applications, 80 services.")
@with_settings
def new_hook(loaded: Loaded, name: str, python: bool, stage: int) -> int:
    """Write a commented template into the hooks directory: a hook of your own, ready to be run and edited.

    It changes nothing but its own state directory until you put your commands in.
    """
    from tideover.hooks import library
    file = library.new_hook(name, stage, Path(loaded.settings.paths.hooks), python=python)
    print_sentence(f"Wrote {file}. Edit it; then tideover hooks check, and tideover hooks run {name} prepare.")
    return EXIT_OK


@command.command("run", epilog=example("sudo tideover hooks run haproxy-drain recover --reason resumed --pause 7s"))
@click.argument("name")
@click.argument("phase", type=click.Choice([phase.value for phase in HookPhase]))
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), metavar="KIND", default=Kind.FREEZE.value,
              show_default=True, help=f"The kind of the sample event: {', '.join(kind.value for kind in Kind)}.")
@click.option("--reason", type=click.Choice(["resumed", "cancelled", "restarted"]), default=None,
              help="Why recover runs. Without it: resumed after a pause, else cancelled.")
@click.option("--pause", "pause_s", callback=duration_between(0.0, 86_400.0), metavar="LENGTH", default=None,
              help="The pause for recover, such as 7s. Without it none was detected.")
@click.option("--clock", type=click.Choice([verdict.value for verdict in Verdict]), default=Verdict.UNKNOWN.value,
              show_default=True, help="The verdict on the clock for recover.")
@with_json
@with_settings
def run_hook(loaded: Loaded, name: str, phase: str, kind: str, reason: str | None, pause_s: float | None, clock: str,
             as_json: bool) -> int:
    """Run PHASE of one hook now, as the agent would, with a sample event, and show its output as it comes.

    The state directory is kept from prepare to recover. --reason, --pause and --clock are for recover only.
    """
    from tideover.daemon.offline import SampleEvent, run_hook_once
    sample = SampleEvent(Kind(kind), reason or "", pause_s, Verdict(clock))
    report = run_hook_once(loaded, _find(loaded, name), HookPhase(phase), sample,
                      drill=os.environ.get("TIDEOVER_DRILL") == "1",
                      show_line=None if as_json else lambda line: click.echo(dot_controls(line)))
    if as_json:
        took_s = None if report.duration_s is None else round(report.duration_s, 3)
        print_json({"name": name, "phase": phase, "outcome": report.outcome.value, "exit_status": report.exit_status,
                    "duration_s": took_s, "output": report.output, "note": report.note})
    else:
        status = "" if report.exit_status is None else f", exit status {report.exit_status}"
        note = f": {report.note}" if report.note else ""
        print_sentence(f"{name} {phase}: {report.outcome.value}{status}, {length_text(report.duration_s)}{note}")
    return EXIT_OK if report.outcome in (HookOutcome.DONE, HookOutcome.NOTHING) else EXIT_NO


@command.command("enable", epilog=example("sudo tideover hooks enable haproxy-drain"))
@click.argument("name")
@with_settings
def enable_hook(loaded: Loaded, name: str) -> int:
    """Link a library hook into the hooks directory, named after its stage number. Names settings that it lacks."""
    from tideover.hooks import library
    from tideover.hooks.environment_file import owner_variables
    from tideover.settings import options_for
    enabled = library.enable(name, Path(loaded.settings.paths.hooks), library.library())
    print_sentence(f"{enabled.file} {'was enabled already' if enabled.was_there else 'is enabled'}.")
    owners = owner_variables(options_for(loaded.settings, name))
    missing = () if owners.trouble else enabled.description.missing(owners.variables)
    if missing:
        click.echo("Required settings are not set:")
        print_lines(render_lines([key_value(f"  {one.name}", one.meaning) for one in missing], this_terminal()))
        click.echo("Set them in the configuration:")
        table = ", ".join(f'{one.name} = "…"' for one in missing)
        print_lines([f"  [hook.{name}]", f"  environment = {{ {table} }}"])
    else:
        print_sentence(f"Its settings belong into [hook.{name}]; see tideover hooks describe {name}.")
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
    print_sentence(f"{name} was not enabled." if link is None else f"{link} is removed.")
    return EXIT_OK


def _catalogue(loaded: Loaded) -> Catalogue:
    from tideover.daemon.policy_source import catalogue_of
    return catalogue_of(loaded.settings)


def _find(loaded: Loaded, name: str) -> HookSpec:
    """Raise WrongUseError if there is none of that name, TideoverError if it is disabled."""
    catalogue, home, operation = _catalogue(loaded), loaded.settings.paths.hooks, "cannot run the hook"
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


# --- What these commands print

def hooks_table(hooks: Iterable[HookSpec], disabled: Iterable[str], missing: Mapping[str, str]) -> Table:
    """Given what lies in the hooks directory, and by its path which required settings a hook lacks, return a row for
    each file that is or could be a hook, in the order of their names; below it why it cannot run."""
    rows = [(spec.order, spec.name, _hooks_row(spec, missing.get(spec.path))) for spec in hooks]
    rows += [(int(file[:2]), file[3:], table_row(file[:2], file[3:], "-", "-", StyledText("disabled", Style.FAINT), "-",
                                           below=(StyledText("no run bit: chmod +x enables it", Style.FAINT),)))
             for file in disabled]
    return Table(("NN", "NAME", "TIMEOUT", "FAILURE", "STATE", "KINDS"),
                 tuple(made for _, _, made in sorted(rows, key=lambda known: known[:2])))


def library_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Given the hooks of the library, as `hooks list --available --json` has them, return a row for each."""
    return Table(("STAGE", "NAME", "ENABLED", "WHAT IT DOES"), tuple(
        table_row("-" if row["stage"] is None else f"{row['stage']:02d}", row["name"],
                  StyledText("yes", Style.GOOD) if row["enabled"] else "no", row["summary"]) for row in rows))


DOES_LABELS = {"freeze": "Before a freeze", "restart": "Before a restart", "unannounced": "Unannounced",
               "recover": "Recover"}


def description_parts(about: HookDescription, file: str, *, enabled: bool) -> list[Part]:
    """Given what a hook says of itself, its file, and whether it is in the hooks directory, return it for a person."""
    parts: list[Part] = [Paragraph(StyledText(f"{about.name}: {about.summary}", Style.HEAD))]
    parts += [key_value(DOES_LABELS.get(what, what), text) for what, text in about.does.items()]
    parts.append(key_value("Needs", "; ".join(about.needs) or "-"))
    if about.proved_against:
        parts.append(key_value("Proved against", about.proved_against))
    parts += [key_value("Stage", f"{about.stage:02d}"),
              key_value("File", f"{file} ({'in the hooks directory' if enabled else 'not enabled'})")]
    if about.settings:
        parts.append(Table(("SETTING", "DEFAULT", "MEANING"), tuple(
            table_row(one.name, StyledText("required", Style.WARN) if one.required else one.default or "-", one.meaning)
            for one in about.settings)))
        named = next((one for one in about.settings if one.required), about.settings[0]).name
        parts.append(key_value("Configuration", f"[hook.{about.name}]", Style.PLAIN,
                               StyledText(f'environment = {{ {named} = "…" }}')))
    return parts


def kinds_text(kinds: frozenset[Kind]) -> str:
    """Given the kinds a hook is run for, return them in words."""
    if kinds >= ANNOUNCED:
        return ", ".join(["all announced", *sorted(kind.value for kind in kinds - ANNOUNCED)])
    return ", ".join(kind.value for kind in Kind if kind in kinds)


def _hooks_row(spec: HookSpec, missing: str | None) -> TableRow:
    failure = "holds" if spec.required or spec.refused else "may fail"
    why = spec.refused or missing
    state = "refused" if spec.refused else "incomplete" if missing else "ready"
    return table_row(f"{spec.order:02d}", spec.name, length_text(spec.timeout_s), failure,
                     StyledText(state, Style.BAD if why else Style.GOOD), kinds_text(spec.kinds),
                     below=(StyledText(why, Style.BAD),) if why else ())
