"""The manual pages, the help texts and the code name the same commands, options and keys."""
from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tideover.cli import main
from tideover.cli.app import group
from tideover.cli.completion import completed_commands
from tideover.settings.keys import APPLICATION, HOOK, TABLES

TOP = Path(__file__).parents[1]
COMMANDS = {one.at: one for one in completed_commands(group, "tideover", "")}
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
COMMON = {"--config", "--help", "-h"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The two pages as they are built, without troff's escapes."""
    spec = importlib.util.spec_from_file_location("render_man_pages", TOP / "packaging/man/render.py")
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    directory = tmp_path_factory.mktemp("man")
    render.main(directory)
    return directory


def plain(page: Path) -> str:
    return re.sub(r"\\f.", "", page.read_text()).replace("\\-", "-").replace("\\e", "\\")


def options_of_help(names, capsys):
    """The options that a help text lists, each at the beginning of its line."""
    assert main([*names, "--help"]) == 0
    text = capsys.readouterr().out.partition("Options:")[2].partition("Commands:")[0].partition("Example:")[0]
    return {name for line in text.splitlines() if (found := re.match(r"  (-.*?)(?:  |$)", line))
            for name in OPTION.findall(found[1].partition(" [")[0])}


@pytest.mark.parametrize("at", COMMANDS)
def test_the_help_of_a_command_has_the_options_that_the_command_takes(at, capsys):
    names = at.split()[1:]
    assert options_of_help(names, capsys) == {name for option in COMMANDS[at].options for name in option.names}


@pytest.mark.parametrize("at", [at for at, one in COMMANDS.items() if at != "tideover"])
def test_the_manual_page_has_the_options_that_the_command_takes(pages, at):
    name, one = at.partition(" ")[2], COMMANDS[at]
    if one.subcommands:
        assert f"\n.SS {name} COMMAND\n" in plain(pages / "tideover.1")
        return
    usage = " ".join([name, *one.usage])
    [block] = re.findall(rf"^\.TP\n{re.escape(usage)}\n(.*?)^\.RE$", plain(pages / "tideover.1"), re.M | re.S)
    named = {word for line in re.findall(r"^\.TP\n(-.*)$", block, re.M) for word in OPTION.findall(line)}
    assert named == {name for option in one.options for name in option.names} - COMMON


def test_what_is_written_by_hand_in_the_manual_page_names_no_option_that_is_not_there():
    known = {name for one in COMMANDS.values() for option in one.options for name in option.names}
    written = plain(TOP / "packaging/man/tideover.1")
    assert set(OPTION.findall(written)) <= known, set(OPTION.findall(written)) - known


def test_the_manual_page_of_the_configuration_has_every_key_under_its_table(pages):
    sections = dict(re.findall(r"^\.SS \[(.*?)\]\n(.*?)(?=^\.S[SH] )", plain(pages / "tideover.toml.5"), re.M | re.S))
    found = {header: re.findall(r"^\.TP\n\.B (\S+)$", text, re.M) for header, text in sections.items()}
    named = {f"{one.name}.NAME": [key.name for key in one.keys] for one in (HOOK, APPLICATION)}
    assert found == {one.name: [key.name for key in one.keys] for one in TABLES} | named


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["tideover.1", "tideover.toml.5"])
def test_the_pages_are_sound_and_fit_the_terminal(pages, name, width):
    shown = subprocess.run(["man", "--warnings", "-l", pages / name], capture_output=True, text=True, check=True,
                           env={"PATH": "/usr/bin:/bin", "MANWIDTH": str(width), "LC_ALL": "C.UTF-8"})
    assert shown.stderr == ""
    lines = re.sub(r".\x08", "", shown.stdout).splitlines()
    assert max(map(len, lines)) <= width
