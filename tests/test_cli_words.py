"""What every command understands, whichever it is: found by walking all there are."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tideover.cli import main
from tideover.cli.app import group


def all_commands(above: click.Group = group, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(above) as context:
        for name in above.list_commands(context):
            command = above.get_command(context, name)
            if isinstance(command, click.Group):
                yield from all_commands(command, (*names, name))
            elif command is not None:
                yield (*names, name), command


def arguments_of(command: click.Command) -> list[str]:
    """Something for each argument that must be there; a scenario that is none, so that nothing can be served for ever."""
    return [parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "x"
            for parameter in command.params
            if isinstance(parameter, click.Argument) and (parameter.required or parameter.name == "scenario")]


COMMANDS = dict(all_commands())
PLACES = [(names, at) for names in COMMANDS for at in range(len(names) + 1)]


def test_the_walk_finds_the_commands_and_those_of_groups():
    assert {("run",), ("drill",), ("simulate",), ("service", "status"), ("config", "check"), ("hooks", "run")} <= set(COMMANDS)


@pytest.mark.parametrize(("names", "at"), PLACES, ids=lambda part: "-".join(part) if isinstance(part, tuple) else str(part))
def test_every_command_takes_the_configuration_before_its_name_after_it_and_after_its_groups(
        tmp_path, monkeypatch, capsys, names, at):
    """A file with a fault, so that each says which file it was given, and does nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))       # whatever goes wrong here, no service manager is spoken to
    file = tmp_path / "tideover.toml"
    file.write_text("[source]\npol = 1\n")
    words = [*names[:at], "--config", str(file), *names[at:], *arguments_of(COMMANDS[names])]
    assert main(words) == 2
    told = capsys.readouterr()
    assert f"cannot use the configuration {file}: one fault" in told.err
    assert told.out == ""


def test_the_configuration_that_stands_nearest_counts(tmp_path, capsys):
    for name in ("far", "near"):
        (tmp_path / name).write_text(f'[paths]\nhooks = "{tmp_path}/{name}.d"\n')
    assert main(["--config", str(tmp_path / "far"), "config", "--config", str(tmp_path / "near"), "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "near")


def test_what_needs_no_configuration_does_not_ask_for_one(monkeypatch, capsys):
    monkeypatch.setenv("TIDEOVER_CONFIG", str(Path("/there/is/none")))
    assert main(["simulate", "--list"]) == 0
    assert "freeze" in capsys.readouterr().out


def test_a_command_that_fails_still_prints_one_document_where_json_is_wanted(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text("[source]\npol = 1\n")
    assert main(["status", "--json", "--config", str(file)]) == 2
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["ok"] is False and len(document["faults"]) == 1 and document["why"] == "one fault found"
    assert told.err.startswith("tideover: cannot use the configuration")


def test_the_settings_are_native_values_under_json(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text("[policy]\nacknowledge_shared = true\n")
    assert main(["config", "show", "--json", "--config", str(file)]) == 0
    told = {one["key"]: (one["value"], one["from"]) for one in json.loads(capsys.readouterr().out)["settings"]}
    assert told["policy.acknowledge_shared"] == (True, "file line 2")
    assert told["pause.tick"] == ("250ms", "default")
