"""The command group; a command's module is imported when the command is used."""
from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click

from tideover import __version__
from tideover.cli.options import config_before, raise_at_interrupt, with_config, with_config_for_all
from tideover.errors import EXIT_OK, EXIT_WRONG_USE


@click.command("run")
@with_config
@click.pass_context
def run_agent_command(context: click.Context, config: str | None) -> int:
    """Run the agent in the foreground, until SIGTERM or SIGINT."""
    import os

    from tideover.daemon.main import start_agent
    named = config or config_before(context)
    return start_agent(Path(named) if named else None, drill=os.environ.get("TIDEOVER_DRILL") == "1")


COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "run": ("tideover.cli.app.run_agent_command", "the agent, in the foreground (what the service runs)"),
    "drill": ("tideover.cli.drill.command", "the whole life of an event, here and now, touching nothing"),
    "status": ("tideover.cli.status.command", "what it waits for, and how all is"),
    "history": ("tideover.cli.events.history_command", "the events so far"),
    "show": ("tideover.cli.events.show_command", "one event's record"),
    "report": ("tideover.cli.events.report_command", "the whole history in numbers"),
    "pauses": ("tideover.cli.events.pauses_command", "every pause noticed"),
    "clock": ("tideover.cli.clock.command", "check the clock against outside time, now"),
    "hooks": ("tideover.cli.hooks.command", "what is run, what is refused; try one"),
    "doctor": ("tideover.cli.doctor.command", "can it work here, and what to do where it cannot"),
    "acknowledge": ("tideover.cli.actions.acknowledge_command", "tell the platform to go ahead, by hand"),
    "recover": ("tideover.cli.actions.recover_command", "run what is still owed, by hand"),
    "simulate": ("tideover.cli.simulate.command", "the built-in metadata service alone"),
    "config": ("tideover.cli.config.command", "check or show the configuration"),
    "service": ("tideover.cli.service.command", "install, remove, start, stop the service (pip)"),
})

NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)]))
"""How click asks for its help to be shown; before 8.2 (Debian 12 has 8.1) it shows it by itself."""


class LazyGroup(click.Group):
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help lists all commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tideover")
@with_config_for_all
def group() -> None:
    """Carries the applications of this VM over the platform's maintenance."""


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
            print(f"tideover: {trouble.format_message()} See tideover --help.", file=sys.stderr)
        return EXIT_WRONG_USE
    except click.ClickException as trouble:
        print(f"tideover: {trouble.format_message()} See tideover --help.", file=sys.stderr)
        return EXIT_WRONG_USE
    except click.Abort as trouble:
        if isinstance(trouble.__cause__, KeyboardInterrupt):
            raise trouble.__cause__ from None
        return EXIT_WRONG_USE
    except SystemExit:                  # click's own way out of a broken pipe
        raise BrokenPipeError from None
    return status if isinstance(status, int) else EXIT_OK
