"""`tideover completion`: the completion scripts of bash, zsh and fish, made from the commands' own options.

The script holds all words of commands and options, so that it answers at once; for names of hooks and ids of events it
runs `tideover __complete` (completion_words.py).
"""
from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click

from tideover.cli.options import LONGEST_SUMMARY, example, without_settings
from tideover.errors import EXIT_OK

SHELLS = ("bash", "zsh", "fish")
SCRIPTS = Path(__file__).with_name("completion_scripts")
FILES, VALUE = "@files", "@value"       # of a parameter that takes a file, or what no list has
FILE_METAVARS = ("FILE", "BUNDLE", "DIRECTORY")
NAMED: Mapping[tuple[str, str], str] = MappingProxyType({
    ("show", "event"): "@events",
    ("acknowledge", "event"): "@events",
    ("recover", "event"): "@events",
    ("fleet release", "member"): "@members",
    ("recover", "--forget"): "@pending",
    ("hooks run", "name"): "@hooks",
    ("hooks disable", "name"): "@hooks",
    ("hooks enable", "name"): "@library",
    ("hooks describe", "name"): "@all-hooks",
    ("simulate", "scenario"): "@scenarios",
})
"""What `tideover __complete` is asked for a command's parameter."""


@dataclass(frozen=True, slots=True)
class CompletedOption:
    """One option. `takes`: "" for a flag, words separated by |, or a word of `NAMED`, FILES, VALUE; `metavar`: what
    the help text has in its place."""

    names: tuple[str, ...]
    about: str
    takes: str
    metavar: str


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """One command. `at`: "tideover" and the names of the commands down to it; `usage`: its arguments as the help text
    has them."""

    at: str
    about: str
    subcommands: tuple[tuple[str, str], ...]
    options: tuple[CompletedOption, ...]
    arguments: tuple[str, ...]
    usage: tuple[str, ...]


@click.command("completion", epilog=example("source <(tideover completion bash)"))
@click.argument("shell", type=click.Choice(SHELLS))
@without_settings
def command(shell: str) -> int:
    """Print the completion script of a shell: commands, options, names of hooks, ids of events.

    The Debian package installs it for bash, zsh and fish. Elsewhere source it from the shell's start file, in fish with
    tideover completion fish | source.
    """
    from tideover.cli.app import group
    commands = list(completed_commands(group, "tideover", ""))
    text = (SCRIPTS / shell).read_text(encoding="utf-8")
    for mark, block in WRITERS[shell](commands).items():
        text = text.replace(f"@{mark}@", block)
    click.echo(text, nl=False)
    return EXIT_OK


def completed_commands(found: click.Command, name: str, about: str, above: click.Context | None = None,
                       ) -> Iterator[CompletedCommand]:
    """Given a command, its name, summary and the context above it, yield what is completed of it and of those below."""
    with click.Context(found, parent=above, info_name=name, **found.context_settings) as context:
        below: dict[str, tuple[click.Command, str]] = {}
        if isinstance(found, click.Group):
            for child in found.list_commands(context):
                command = found.get_command(context, child)
                if command is not None and not command.hidden:
                    below[child] = command, command.get_short_help_str(LONGEST_SUMMARY)
        parameters = found.get_params(context)
        inner = context.command_path.partition(" ")[2]
        yield CompletedCommand(
            context.command_path, about, tuple((child, summary) for child, (_, summary) in below.items()),
            tuple(_option(one, inner) for one in parameters if isinstance(one, click.Option) and not one.hidden),
            tuple(_takes(one, inner, one.name or "") for one in parameters if isinstance(one, click.Argument)),
            tuple(piece for piece in found.collect_usage_pieces(context) if piece != "[OPTIONS]"))
        for child, (command, summary) in below.items():
            yield from completed_commands(command, child, summary, context)


def _option(option: click.Option, inner: str) -> CompletedOption:
    names = tuple(sorted((*option.opts, *option.secondary_opts)))       # click keeps those of --help in a set
    takes = "" if option.is_flag or option.count else _takes(option, inner, names[0])
    words = takes if takes[:1] not in ("", "@") else ""
    return CompletedOption(names, " ".join((option.help or "").split()), takes,
                           option.metavar or words or (option.name or "").upper())


def _takes(parameter: click.Parameter, inner: str, name: str) -> str:
    if (inner, name) in NAMED:
        return NAMED[inner, name]
    if isinstance(parameter.type, click.Choice):
        return "|".join(str(choice) for choice in parameter.type.choices)
    is_file = isinstance(parameter.type, click.Path) or (parameter.metavar or name.upper()) in FILE_METAVARS
    return FILES if is_file else VALUE


# --- Each shell's own words

def _bash(commands: list[CompletedCommand]) -> dict[str, str]:
    lines = []
    for one in commands:
        names = " ".join(name for option in one.options for name in option.names)
        lines.append(f"        {shlex.quote(one.at)}) subcommands={_joined(name for name, _ in one.subcommands)} "
                     f"options={shlex.quote(names)} arguments={_joined(one.arguments)} ;;")
    return {"COMMANDS": "\n".join(lines), "OPTIONS": _taking(commands)}


def _joined(words: Iterator[str] | tuple[str, ...]) -> str:
    return shlex.quote(" ".join(words))


def _taking(commands: list[CompletedCommand]) -> str:
    return "\n".join(f"        {shlex.quote(f'{one.at} {name}')}) takes={shlex.quote(option.takes)} ;;"
                     for one in commands for option in one.options if option.takes for name in option.names)


def _zsh(commands: list[CompletedCommand]) -> dict[str, str]:
    blocks = []
    for one in commands:
        block = [f"        {shlex.quote(one.at)})"]
        for head, words in (("subcommands", [f"{name}:{about}" for name, about in one.subcommands]),
                            ("options", [f"{name}:{option.about}" for option in one.options for name in option.names]),
                            ("arguments", one.arguments)):
            block += [f"            {head}=(", *(f"                {shlex.quote(word)}" for word in words),
                      "            )"] if words else []
        blocks.append("\n".join([*block, "            ;;"]))
    return {"COMMANDS": "\n".join(blocks), "OPTIONS": _taking(commands)}


def _fish(commands: list[CompletedCommand]) -> dict[str, str]:
    subcommands = [f"        case {_fish_quoted(one.at)}\n            printf '%s\\n' "
                   f"{' '.join(name for name, _ in one.subcommands)}" for one in commands if one.subcommands]
    taking = [_fish_quoted(f"{one.at} {name}") for one in commands for option in one.options if option.takes
              for name in option.names]
    lines = []
    for one in commands:
        here = f"complete -c tideover -n {_fish_quoted(f'__tideover_is {_fish_quoted(one.at)}')}"
        lines += [f"{here} -a {name} -d {_fish_quoted(about)}" for name, about in one.subcommands]
        lines += [f"{here} {_fish_names(option.names)}{_fish_offer(option.takes)} -d {_fish_quoted(option.about)}"
                  for option in one.options]
        lines += [f"complete -c tideover -n {_fish_quoted(f'__tideover_is {_fish_quoted(one.at)} {place}')}"
                  f"{_fish_offer(takes).replace(' -x', '').replace(' -r', '')}"
                  for place, takes in enumerate(one.arguments) if takes != VALUE]
    return {"SUBCOMMANDS": "\n".join(subcommands), "TAKING": f"        case {' '.join(taking)}",
            "COMPLETIONS": "\n".join(lines)}


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish_names(names: tuple[str, ...]) -> str:
    return " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in names)


def _fish_offer(takes: str) -> str:
    if takes in ("", VALUE):
        return " -x" if takes else ""
    if takes == FILES:
        return " -r -F"
    if takes.startswith("@"):
        return f" -x -a {_fish_quoted(f'(__tideover_words {takes[1:]})')}"
    return f" -x -a {_fish_quoted(takes.replace('|', ' '))}"


WRITERS = MappingProxyType({"bash": _bash, "zsh": _zsh, "fish": _fish})
