"""What every command understands, whichever it is: found by walking all there are."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sampling import thinned
from tideover.cli import main
from tideover.cli.app import group
from tideover.errors import EXIT_OK, EXIT_WRONG_USE


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
GO_ON = {"status", "history", "show", "report", "pauses", "doctor", "acknowledge", "recover"}
ABOUT_THE_PROGRAM = {("config", "schema")}        # says the same whatever the file
PLACES = [(names, at) for names in COMMANDS for at in range(len(names) + 1)]


def test_the_walk_finds_the_commands_and_those_of_groups():
    assert {("run",), ("drill",), ("simulate",), ("service", "status"), ("config", "check"), ("hooks", "run")} <= set(COMMANDS)


@pytest.mark.parametrize(("names", "at"), thinned(PLACES, 3), ids=lambda part: "-".join(part) if isinstance(part, tuple) else str(part))
def test_every_command_takes_the_configuration_before_its_name_after_it_and_after_its_groups(
        tmp_path, monkeypatch, capsys, names, at):
    """A file with a fault, so that each says which file it was given, and does nothing; or what it is there for."""
    monkeypatch.setenv("PATH", str(tmp_path))       # whatever goes wrong here, no service manager is spoken to
    file = faulty(tmp_path)
    words = [*names[:at], "--config", str(file), *names[at:], *arguments_of(COMMANDS[names])]
    status = main(words)
    told = capsys.readouterr()
    if names in ABOUT_THE_PROGRAM:
        assert status == 0 and json.loads(told.out)
        return
    assert f"cannot use the configuration {file}: one fault" in told.err
    if names[0] in GO_ON or names == ("service", "remove"):
        assert "tideover: this command uses the valid settings" in told.err
    else:
        assert (status, told.out) == (2, "")


def faulty(home):
    file = home / "tideover.toml"
    file.write_text(f'[source]\nkind = "none"\npol = 1\n[clock]\nservers = ["127.0.0.1:1"]\n[paths]\nhooks = "{home}/hooks.d"\n'
                    f'state = "{home}/state"\nruntime = "{home}/run"\n')
    return file


@pytest.mark.parametrize("name", sorted(GO_ON - {"doctor"}))
def test_a_faulty_configuration_disables_nothing_that_looks_or_recovers(tmp_path, capsys, name):
    """What can be read of the file counts: here, where the journal lies."""
    file = faulty(tmp_path)
    (tmp_path / "state").mkdir(mode=0o711)
    words = [name, *(["x"] if name in ("show", "acknowledge") else []), "--config", str(file)]
    status = main(words)
    told = capsys.readouterr()
    expected = {"show": (1, "no event id begins with it"), "acknowledge": (3, "source none takes no acknowledgements")}
    assert (status, expected.get(name, (0, ""))[1] in told.err) == (expected.get(name, (0, ""))[0], True), told
    assert f"cannot use the configuration {file}: one fault" in told.err and "line 3: source.pol: unknown key" in told.err


def test_the_last_event_of_a_machine_without_events_is_an_error_that_says_so(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    assert main(["show", "last", "--config", str(file)]) == 1
    assert "cannot show last: no event of this machine is recorded" in capsys.readouterr().err


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
    assert main(["clock", "--json", "--config", str(file)]) == 2
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["ok"] is False and len(document["faults"]) == 1 and document["why"] == "one fault found"
    assert told.err.startswith("tideover: cannot use the configuration")


def test_the_values_of_an_environment_are_shown_only_to_who_asks_for_secrets(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text('[hook.web]\nenvironment = { TOKEN = "s3cret" }\n')
    for words, shown in (([], False), (["--secrets"], True), (["--json"], False), (["--json", "--secrets"], True)):
        assert main(["config", "show", *words, "--config", str(file)]) == 0
        told = capsys.readouterr().out
        assert ("s3cret" in told, "TOKEN" in told) == (shown, True)


def test_the_settings_are_native_values_under_json(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text("[policy]\nacknowledge_shared = true\n")
    assert main(["config", "show", "--json", "--config", str(file)]) == 0
    told = {one["key"]: (one["value"], one["from"]) for one in json.loads(capsys.readouterr().out)["settings"]}
    assert told["policy.acknowledge_shared"] == (True, f"{file} line 2")
    assert told["pause.tick"] == ("250ms", "default")


@pytest.mark.parametrize("names", [(), *sorted({names[:1] for names in COMMANDS}), *COMMANDS], ids=" ".join)
def test_the_help_of_each_command_ends_with_an_example(names, capsys):
    assert main([*names, "--help"]) == EXIT_OK
    *_, head, last = capsys.readouterr().out.rstrip().splitlines()
    assert head.strip() == "Example:"
    assert " ".join(("tideover", *names)) in last


@pytest.mark.parametrize("typed", [["statsu"], ["hooks", "lst"], ["recover", "--forgt", "x"]], ids=" ".join)
def test_a_misspelt_command_or_option_is_answered_with_the_one_meant_and_the_help_that_lists_it(typed, capsys):
    meant = {"statsu": "status", "lst": "list", "--forgt": "--forget"}
    wrong = next(word for word in typed if word in meant)
    assert main(typed) == EXIT_WRONG_USE
    said = capsys.readouterr().err
    assert "Did you mean" in said and meant[wrong] in said
    above = typed[:typed.index(wrong)]
    assert said.rstrip().endswith(f"See {' '.join(['tideover', *above])} --help.")


@pytest.mark.parametrize("typed", [["show"], ["status", "extra"], ["hooks", "run", "web", "resume"], ["hooks", "run", "web"], ["drill", "--kind", "x"]], ids=" ".join)
def test_a_wrong_use_is_whole_sentences_that_end_with_the_commands_own_help(typed, capsys):
    assert main(typed) == EXIT_WRONG_USE
    said = capsys.readouterr().err
    names = typed[:2] if typed[0] == "hooks" else typed[:1]
    assert said.startswith("tideover: ") and said.endswith(f". See tideover {' '.join(names)} --help.\n") and said.count("\n") == 1
    assert "  " not in said and "\t" not in said


def test_the_help_of_a_group_shows_each_summary_whole(capsys):
    for names in {names[:1] for names in COMMANDS if len(names) > 1}:
        main([*names, "--help"])
        assert "..." not in capsys.readouterr().out.partition("Commands:")[2]
