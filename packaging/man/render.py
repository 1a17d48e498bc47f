"""Writes the two manual pages: render.py DIRECTORY. The words for commands and keys are the program's own."""
from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from tideover import __version__
from tideover.cli.app import group
from tideover.cli.completion import CompletedCommand, CompletedOption, completed_commands
from tideover.settings.keys import APPLICATION, HOOK, TABLES, KeyTable, SettingKey
from tideover.settings.render import render_default_file

HEAD = """.TH TIDEOVER.TOML 5 "@DATE@" "tideover @VERSION@" "File Formats"
.SH NAME
tideover.toml \\- configuration of tideover
.SH SYNOPSIS
.I /etc/tideover/tideover.toml
.br
.I /etc/tideover/conf.d/*.toml
.SH DESCRIPTION
TOML files. The drop-ins in conf.d are read after the main file, in the order of their names: tables are merged key by
key, the later file wins, lists are replaced. Every key has a default, and without any file the defaults hold. A key
that is unknown, of the wrong type or out of range stops the start; all faults are listed at once.
.B tideover config check
does the same without starting, and
.B tideover config show
prints every key with its value and where it comes from.
.PP
Durations are text: "250ms", "5s", "2m", "1h", "365d". A running agent reads the file again on SIGHUP.
"""
COMMON = {"--config", "--help"}        # of every command; the page has them once
TAIL = """.SH SEE ALSO
.BR tideover (1)
"""


def escaped(text: str) -> str:
    """Given plain text, return it as troff writes it (groff(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def commands() -> str:
    """Return each command with its arguments, what it does, and its options, as its --help has them."""
    return "\n".join(_command(one) for one in completed_commands(group, "tideover", "") if one.at != "tideover")


def _command(one: CompletedCommand) -> str:
    name = one.at.partition(" ")[2]
    if one.subcommands:
        return f".SS {escaped(name)} COMMAND\n{escaped(one.about)}"
    usage = " ".join([rf"\fB{escaped(name)}\fR", *(rf"\fI{escaped(argument)}\fR" for argument in one.usage)])
    return "\n".join([f".TP\n{usage}\n{escaped(one.about)}", ".RS", *(_option(option) for option in one.options
                                                                      if not COMMON & set(option.names)), ".RE"])


def _option(option: CompletedOption) -> str:
    names = ", ".join(rf"\fB{escaped(name)}\fR" for name in option.names)
    value = rf" \fI{escaped(option.metavar)}\fR" if option.takes else ""
    return f".TP\n{names}{value}\n{escaped(option.about)}"


def defaults() -> dict[tuple[str, str], str]:
    """Return the default of each key as the commented file writes it, by its table's header and its name."""
    found, header = {}, ""
    for line in render_default_file().splitlines():
        if titled := re.fullmatch(r"#?\[([^\]]+)\]", line):
            header = titled[1]
        elif written := re.fullmatch(r"#([a-z_]+) = (.*)", line):
            found[header, written[1]] = written[2]
    return found


def table(described: KeyTable, header: str, known: dict[tuple[str, str], str]) -> str:
    lines = [f".SS [{escaped(header)}]", escaped(described.about)]
    lines += [_key(key, known.get((header, key.name), "")) for key in described.keys]
    return "\n".join(lines)


def _key(key: SettingKey, default: str) -> str:
    reason = f" ({key.takes.reason})" if key.takes.reason else ""
    usual = f' Default: {default}.' if default else ""
    kinds = " May be set for one kind as well." if key.kinds else ""
    takes = escaped(f"Takes {key.takes.expected}{reason}.{usual}{kinds}")
    return f".TP\n.B {escaped(key.name)}\n{escaped(key.about)}\n{takes}"


def configuration_page() -> str:
    known = defaults()
    tables = "\n".join(table(one, one.name, known) for one in TABLES)
    named = "\n".join(table(one, f"{one.name}.NAME", known) for one in (HOOK, APPLICATION))
    return f"{HEAD}.SH TABLES\n{tables}\n{named}\n{TAIL}"


def main(directory: Path) -> None:
    moment = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    first = Path(__file__).with_name("tideover.1").read_text().replace("@COMMANDS@", commands())
    for name, page in (("tideover.1", first), ("tideover.toml.5", configuration_page())):
        (directory / name).write_text(page.replace("@DATE@", f"{moment:%Y-%m-%d}").replace("@VERSION@", __version__))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
