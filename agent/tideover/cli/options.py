"""What every command shares: --config, --json, --utc, --yes, examples in --help, suggestions for mistyped words."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from tideover.config_file import Loaded, load_settings, load_tolerantly
from tideover.documents import SCHEMA
from tideover.errors import ConfigurationError, TideoverError, UnconfirmedError
from tideover.settings import read_duration, write_duration
from tideover.text_safety import dot_controls, safe_json

LONGEST_SUMMARY = 1000      # characters: no summary is cut; click wraps it

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")


def example(line: str) -> str:
    """Given a command line, return it as the end of a help text. \\b: click keeps the line breaks of a paragraph."""
    return f"\b\nExample:\n  {line}"


def duration_between(shortest_s: float, longest_s: float,
                     ) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """Return what reads an option's duration, written as in the configuration, as seconds; None where it is not
    given."""
    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
        if text is None:
            return None
        seconds = read_duration(text)
        if seconds is None or not shortest_s <= seconds <= longest_s:
            raise click.BadParameter(f"{text!r} is not a duration from {write_duration(shortest_s)} to "
                                     f"{write_duration(longest_s)}.", context, parameter)
        return seconds

    return read


class SuggestingGroup(click.Group):
    """A group that names the command probably meant where an unknown one is typed, and whose help cuts no summary."""

    def resolve_command(self, ctx: click.Context, args: list[str],
                        ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries(ctx)))

    def summaries(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the name of each command and its summary, in the order of the help text."""
        for name in self.list_commands(ctx):
            found = self.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield name, found.get_short_help_str(LONGEST_SUMMARY)


def with_config(function: Function) -> Function:
    """What is typed here takes --config."""
    option: Callable[[Function], Function] = click.option(
        "--config", "config", metavar="FILE", default=None, help="Use this configuration file.")
    return option(function)


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --config and is given `loaded`. Loading raises ConfigurationError, WrongUseError."""
    @with_config
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, *positional: Any, config: str | None, **named: Any) -> Any:
        return function(*positional, loaded=load(context, config), **named)
    return command


def with_readable_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --config and is given `loaded`: what can be read of the configuration. It works beside a faulty
    one, and says so on standard error. Loading raises WrongUseError for a file that is named and cannot be read."""
    @with_config
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, *positional: Any, config: str | None, **named: Any) -> Any:
        wanted = config or config_before(context)
        loaded = load_tolerantly(Path(wanted) if wanted else None, os.environ)
        if loaded.trouble is not None:
            _print_faults(loaded.trouble)
        return function(*positional, loaded=loaded, **named)
    return command


def _print_faults(trouble: TideoverError) -> None:
    faults = trouble.faults if isinstance(trouble, ConfigurationError) else ()
    for line in (f"tideover: {trouble}", *(f"  {fault}" for fault in faults),
                 "tideover: this command uses the valid settings, and defaults for the others."):
        print_sentence(line, hanging=2, to_errors=True)


def confirmed(act: Callable[[bool], Result], yes: bool) -> Result:
    """Given what is to be done (its argument: whether the owner has confirmed it) and whether --yes was given, do it;
    where it must be confirmed, ask first. Raise UnconfirmedError where there is no terminal to ask at."""
    try:
        return act(yes)
    except UnconfirmedError as trouble:
        if sys.stdin is None or not sys.stdin.isatty():
            raise
        if not click.confirm(f"{trouble.cause}. Continue?", err=True):
            raise TideoverError(trouble.operation, trouble.cause, "Nothing was done.") from trouble
        return act(True)


with_yes: Callable[[Function], Function] = click.option(
    "--yes", is_flag=True, help="Answer yes to every question; required without a terminal.")


def without_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command needs no configuration and works beside a broken one; it takes --config as every command does, and a
    file that is named must be one that can be used: a mistyped name is reported by every command."""
    @with_config
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, *positional: Any, config: str | None, **named: Any) -> Any:
        check_named(context, config)
        return function(*positional, **named)
    return command


def with_config_for_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """A group takes --config for the commands below it."""
    @with_config
    @click.pass_context
    @wraps(function)
    def group(context: click.Context, /, config: str | None) -> Any:
        context.obj = config or config_before(context)
        return function()
    return group


def with_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --json: one document on standard output, nothing else there; also when it fails, beside the
    sentence on standard error."""
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    @wraps(function)
    def command(*positional: Any, as_json: bool, **named: Any) -> Any:
        try:
            return function(*positional, as_json=as_json, **named)
        except TideoverError as trouble:
            if as_json:
                print_json(_failure_document(trouble))
            raise
    return command


def _failure_document(trouble: TideoverError) -> dict[str, Any]:
    """What failed, why, and what to do; of a configuration, each fault."""
    document = {"ok": False, "what": trouble.operation, "why": trouble.cause, "do": trouble.hint}
    return document | ({"faults": list(trouble.faults)} if isinstance(trouble, ConfigurationError) else {})


def with_utc(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --utc: moments exactly as they were written down."""
    option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
        "--utc", is_flag=True, help="Print exact times in UTC.")
    return option(function)


def load(context: click.Context, config: str | None) -> Loaded:
    """Given what stood before and after the command's name, return the settings. Raise as `load_settings` does."""
    named = config or config_before(context)
    return load_settings(Path(named) if named else None, os.environ)


def check_named(context: click.Context, config: str | None) -> None:
    """Raise as `load_settings` does if a file is named, before or after the command's name, and cannot be used."""
    if config or config_before(context):
        load(context, config)


def config_before(context: click.Context) -> str | None:
    """Given a command's context, return the --config that stood before its name, the nearest one. A context begins with
    what the one above it has (click)."""
    found = context.obj
    return found if isinstance(found, str) else None


def api_refusal(doing: str, event: str | None, answer: Mapping[str, Any]) -> TideoverError:
    """Given what was asked of the agent and an answer that is no, return it as the error that says so."""
    what = f"cannot {doing} {dot_controls(event)}" if event else f"cannot {doing}"
    kind = UnconfirmedError if answer.get("unconfirmed") is True else TideoverError
    return kind(what, str(answer.get("why", "the agent gave no reason")),
                str(answer.get("do", "See tideover status.")))


def print_json(document: Mapping[str, Any]) -> None:
    """Print one document, with the number of its schema, but where it is a schema itself."""
    click.echo(safe_json(_numbered(document), indent=2))


def print_json_line(document: Mapping[str, Any]) -> None:
    """Print the same on one line, one of many."""
    click.echo(safe_json(_numbered(document)))


def _numbered(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return document if "$schema" in document else {"schema": SCHEMA, **document}


def print_sentence(text: str, *, hanging: int = 0, to_errors: bool = False) -> None:
    """Print one line of plain text, harmless; a terminal gets it wrapped between words, further lines indented by
    `hanging`."""
    from tideover.cli.terminal import this_terminal, wrapped_line
    width = this_terminal(sys.stderr if to_errors else None).width
    click.echo("\n".join(wrapped_line(text, width, hanging)), err=to_errors)


def print_json_listing(key: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Print one document that is one list, in the form of `print_json`, item by item, however many there are."""
    is_empty = True
    sys.stdout.write(f'{{\n  "schema": {SCHEMA},\n  "{key}": [')
    for item in items:
        sys.stdout.write(("\n    " if is_empty else ",\n    ") + safe_json(item, indent=2).replace("\n", "\n    "))
        is_empty = False
    sys.stdout.write("]\n}\n" if is_empty else "\n  ]\n}\n")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines that are harmless already, in the colours they have."""
    for line in lines:
        click.echo(line, color=True)
