"""The list of commands and the order of `tideover --help`; a command's module is imported when it is used."""
from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import click

from tideover import __version__
from tideover.cli.endings import raise_at_interrupt
from tideover.cli.options import (
    SuggestingGroup,
    config_before,
    example,
    print_sentence,
    with_config,
    with_config_for_all,
)
from tideover.errors import EXIT_OK, EXIT_WRONG_USE


@click.command("run", epilog=example("tideover run --config ./tideover.toml"))
@with_config
@click.pass_context
def run_agent_command(context: click.Context, config: str | None) -> int:
    """Run the agent in the foreground until SIGTERM or SIGINT."""
    import os
    from pathlib import Path

    from tideover.lean_imports import load_requests
    load_requests()
    from tideover.daemon.main import start_agent
    named = config or config_before(context)
    return start_agent(Path(named) if named else None, drill=os.environ.get("TIDEOVER_DRILL") == "1")


COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "run": ("tideover.cli.app.run_agent_command", "Run the agent in the foreground (as the service does)."),
    "drill": ("tideover.cli.drill.command", "Rehearse a maintenance event end to end in a temporary directory."),
    "status": ("tideover.cli.status.command", "Show the agent's status."),
    "history": ("tideover.cli.events.history_command", "List past and present events."),
    "show": ("tideover.cli.events.show_command", "Show the record of one event."),
    "report": ("tideover.cli.events.report_command", "Show statistics of all events and pauses."),
    "pauses": ("tideover.cli.events.pauses_command", "List the pauses detected."),
    "clock": ("tideover.cli.clock.command", "Check the clock against time servers now."),
    "hooks": ("tideover.cli.hooks.command", "List, describe, check, write, run, enable and disable hooks."),
    "doctor": ("tideover.cli.doctor.command", "Check the setup of this machine."),
    "replay": ("tideover.cli.replay.command", "Decide again what a bundle recorded, and compare."),
    "acknowledge": ("tideover.cli.actions.acknowledge_command", "Acknowledge an event by hand (StartRequests)."),
    "recover": ("tideover.cli.actions.recover_command", "Run pending recover hooks now."),
    "fleet": ("tideover.cli.fleet.command", "Show, release or remove what machines of a fleet have in their store."),
    "simulate": ("tideover.cli.simulate.command", "Serve a simulated metadata service and time server."),
    "config": ("tideover.cli.config.command", "Validate or show the configuration."),
    "service": ("tideover.cli.service.command", "Install, remove, start or stop the service (for pip installations)."),
    "completion": ("tideover.cli.completion.command", "Print the completion script of bash, zsh or fish."),
})

NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)]))
"""How click asks for its help to be shown; before 8.2 (Debian 12 has 8.1) it shows it by itself."""


class LazyGroup(SuggestingGroup):
    """A group whose commands are looked up in the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].rpartition(".")
        found: click.Command = getattr(importlib.import_module(module), function)
        raise_at_interrupt()
        return found

    def summaries(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """The help lists all commands without importing them."""
        yield from ((name, about) for name, (_, about) in COMMANDS.items())


@click.group(cls=LazyGroup, epilog=example("tideover drill"), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tideover")
@with_config_for_all
def group() -> None:
    """Run prepare and recover hooks around cloud maintenance events."""


def run_command(words: list[str]) -> int:
    """Given the words after `tideover`, run the command; return its exit status. Raise TideoverError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")       # a terminal without our signs ("±") still gets the rest
    try:
        status = group.main(args=words, prog_name="tideover", standalone_mode=False)
    except click.UsageError as trouble:
        if isinstance(trouble, NO_ARGUMENTS):
            print(trouble.ctx.get_help() if trouble.ctx else "")
        else:
            command = trouble.ctx.command_path if trouble.ctx else "tideover"
            message = " ".join(trouble.format_message().split())       # click breaks lists of choices with tabs
            end = "" if message.endswith((".", "?", "!")) else "."     # click's own sentences end with and without
            print_sentence(f"tideover: {message}{end} See {command} --help.", hanging=2, to_errors=True)
        return EXIT_WRONG_USE
    except click.ClickException as trouble:
        print_sentence(f"tideover: {trouble.format_message()} See tideover --help.", hanging=2, to_errors=True)
        return EXIT_WRONG_USE
    except click.Abort as trouble:
        if isinstance(trouble.__cause__, KeyboardInterrupt):
            raise trouble.__cause__ from None
        return EXIT_WRONG_USE
    except SystemExit:                  # click's own way out of a broken pipe
        raise BrokenPipeError from None
    return status if isinstance(status, int) else EXIT_OK
