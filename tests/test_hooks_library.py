"""The hook library: enable, disable, describe, what is available, and templates of new hooks."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from running_agent import world
from tideover.cli import main
from tideover.errors import TideoverError, WrongUseError
from tideover.hooks import library
from tideover.hooks.description import describe

LIBRARY = library.library()


@pytest.fixture
def shelf(tmp_path):
    """A library of one hook, and a hooks directory."""
    place = tmp_path / "library"
    place.mkdir()
    (place / "demo").write_text('#!/bin/sh\necho \'{"name": "demo", "stage": 7}\'\n')
    (place / "demo").chmod(0o755)
    return place, tmp_path / "hooks.d"


def test_enabling_links_a_hook_of_the_library_under_its_stages_number_and_disabling_undoes_just_that(shelf):
    place, directory = shelf
    link = library.enable("demo", directory, place).file
    assert link == directory / "07-demo" and link.readlink() == place / "demo"
    assert library.disable("demo", directory, place) == link and list(directory.iterdir()) == []


def test_enabling_refuses_what_exists_and_what_the_library_does_not_have(shelf):
    place, directory = shelf
    directory.mkdir()
    (directory / "50-demo").write_text("the owner's own")
    with pytest.raises(TideoverError, match="is there already"):
        library.enable("demo", directory, place)
    for name in ("nothing", "../library/demo", ""):
        with pytest.raises(WrongUseError, match="has no such hook"):
            library.enable(name, directory, place)


def test_disabling_never_touches_a_file_of_the_owners(shelf, tmp_path):
    place, directory = shelf
    directory.mkdir()
    for make in (lambda file: file.write_text("mine"), lambda file: file.symlink_to(tmp_path / "mine")):
        file = directory / "50-demo"
        make(file)
        with pytest.raises(TideoverError, match="no link to the library"):
            library.disable("demo", directory, place)
        file.unlink()


def test_a_name_that_no_hook_has_is_wrong_use_of_each_command_that_takes_one(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nhooks = "{tmp_path}/hooks.d"\nstate = "{tmp_path}/state"\n')
    for words in (["enable", "nosuch"], ["disable", "nosuch"], ["run", "nosuch", "prepare"]):
        assert main(["hooks", *words, "--config", str(file)]) == 2, words
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no run bits")
def test_a_hook_that_is_disabled_is_not_reported_as_missing(tmp_path, capsys):
    (tmp_path / "hooks.d").mkdir()
    hook = tmp_path / "hooks.d" / "10-web"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o644)
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nhooks = "{tmp_path}/hooks.d"\nstate = "{tmp_path}/state"\n')
    assert main(["hooks", "run", "web", "prepare", "--config", str(file)]) == 1
    said = capsys.readouterr().err
    assert f"it is disabled: its file has no run bit. chmod +x {hook} enables it." in said


@pytest.mark.slow
def test_every_hook_of_the_checkouts_library_can_be_enabled(tmp_path):
    place = library.library()
    assert place == Path(__file__).parents[1] / "hooks"
    for name in library.known_names(place):
        link = library.enable(name, tmp_path, place).file
        assert re.fullmatch(rf"[0-9][0-9]-{name}", link.name)


@pytest.fixture
def own(tmp_path, capsys, monkeypatch):
    """Commands with a configuration of their own; each returns its exit status and what it printed."""
    monkeypatch.delenv("TIDEOVER_DRILL", raising=False)
    file = tmp_path / "tideover.toml"
    file.write_text(f'[paths]\nhooks = "{tmp_path}/hooks.d"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')

    def command(*words):
        status = main(["hooks", *words, "--config", str(file)])
        said = capsys.readouterr()
        return status, said.out + said.err
    command.file, command.directory = file, tmp_path / "hooks.d"
    return command


@pytest.mark.slow
def test_enabling_twice_and_disabling_twice_are_no_failures(own):
    """A role that sets a machine up runs again and again."""
    assert own("enable", "service-stop")[0] == 0
    status, said = own("enable", "service-stop")
    assert status == 0 and "was enabled already" in said
    assert own("disable", "service-stop")[0] == 0
    status, said = own("disable", "service-stop")
    assert (status, said) == (0, "service-stop was not enabled.\n")


def test_a_file_of_the_owners_is_not_taken_for_the_librarys_hook(own):
    own.directory.mkdir()
    (own.directory / "80-service-stop").write_text("#!/bin/sh\n")
    status, said = own("enable", "service-stop")
    assert status == 1 and "is there already" in said


@pytest.mark.slow
def test_enable_and_check_name_the_required_settings_that_are_missing_until_they_are_set(own):
    status, said = own("enable", "haproxy-drain")
    assert status == 0 and "Required settings are not set" in said and "SERVERS" in said and "[hook.haproxy-drain]" in said
    status, said = own("check")
    assert status == 1 and "missing" in said and "SERVERS" in said and "0 of 1 hooks can run" in said
    own.file.write_text(own.file.read_text() + '[hook.haproxy-drain]\nenvironment = { SERVERS = "be/a" }\n')
    status, said = own("enable", "haproxy-drain")
    assert status == 0 and "Required settings" not in said
    status, said = own("check")
    assert (status, said) == (0, "1 of 1 hooks can run.\n")


@pytest.mark.slow
def test_a_required_setting_may_stand_in_the_environment_file(own, tmp_path):
    own("enable", "haproxy-drain")
    secret = tmp_path / "haproxy.env"
    secret.write_text("SERVERS=be/a\n")
    secret.chmod(0o600)
    own.file.write_text(own.file.read_text() + f'[hook.haproxy-drain]\nenvironment_file = "{secret}"\n')
    assert own("check")[0] == 0


def test_a_hook_that_does_not_read_the_sdk_is_never_asked_to_describe_itself(own, tmp_path):
    """To a program that knows two words, any other may be the second one."""
    own.directory.mkdir()
    hook = own.directory / "10-own"
    hook.write_text(f"#!/bin/sh\necho \"$1\" >> {tmp_path}/ran\n")
    hook.chmod(0o755)
    assert own("check")[0] == 0
    status, said = own("describe", "own")
    assert status == 1 and "does not use the hook SDK" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_available_lists_every_hook_of_the_library_with_its_words_and_whether_it_is_enabled(own):
    own("enable", "lb-health")
    status, said = own("list", "--available", "--json")
    told = {one["name"]: one for one in json.loads(said)["available"]}
    assert status == 0 and sorted(told) == library.known_names(LIBRARY)
    assert {name for name, one in told.items() if one["enabled"]} == {"lb-health"}
    assert told["lb-health"]["summary"] == describe(LIBRARY / "lb-health", "lb-health").summary
    _, said = own("list", "--available")
    assert not [name for name in told if name not in said]


@pytest.mark.parametrize(("script", "words"), [("exec yes", "more than 64 KiB"), ("echo no >&2; exit 7", "no"),
                                               ("printf '[%.0s' $(seq 30000)", "recursion")], ids=["endless", "fails", "deep"])
def test_a_hook_that_does_not_describe_itself_costs_one_sentence(tmp_path, script, words):
    hook = tmp_path / "50-own"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    with pytest.raises(TideoverError, match="cannot describe own") as refused:
        describe(hook, "own")
    assert words in str(refused.value)


def test_describe_shows_a_hooks_own_words_and_its_required_settings(own):
    status, said = own("describe", "service-stop")
    about = describe(LIBRARY / "service-stop", "service-stop")
    assert status == 0 and about.summary in said and "not enabled" in said
    for setting in about.settings:
        assert setting.name in said and setting.meaning in said
    status, said = own("describe", "service-stop", "--json")
    told = json.loads(said)
    assert status == 0 and told["settings"].keys() == {one.name for one in about.settings}
    assert told["missing"] == [one.name for one in about.settings if one.required]


def test_a_misspelt_hook_is_answered_with_the_one_meant(own):
    for command in ("describe", "enable"):
        status, said = own(command, "servce-stop")
        assert status == 2 and "Did you mean service-stop?" in said and said.count("\n") == 1


LANGUAGES = [pytest.param((), id="shell"), pytest.param(("--python",), id="python")]


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_new_hook_passes_the_check_and_runs_both_phases_as_it_is(own, language):
    status, said = own("new", "my-application", *language)
    file = own.directory / "60-my-application"
    assert status == 0 and str(file) in said
    assert own("check") == (0, "1 of 1 hooks can run.\n")
    assert own("describe", "my-application")[0] == 0
    status, said = own("run", "my-application", "recover")
    assert status == 0 and "nothing was prepared" in said, "a recover without a prepare has nothing to do"
    for _ in range(2):
        assert own("run", "my-application", "prepare", "--kind", "reboot")[0] == 0
    status, said = own("run", "my-application", "recover", "--reason", "resumed", "--pause", "7s")
    assert status == 0 and "resumed" in said and "7.000" in said
    assert not list((own.directory.parent / "state").rglob("changed"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_new_hook_never_overwrites_one_of_that_name(own, language):
    own.directory.mkdir()
    (own.directory / "20-mine").write_text("mine")
    status, said = own("new", "mine", *language)
    assert status == 1 and "is there already" in said
    assert [file.read_text() for file in own.directory.iterdir()] == ["mine"]
    assert own("new", "No Name")[0] == 2 and own("new", "../up")[0] == 2


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_shell_template_is_good_shell(own):
    own("new", "mine")
    subprocess.run(["shellcheck", str(own.directory / "60-mine")], check=True)


def test_the_python_template_is_good_python(own):
    own("new", "mine", "--python")
    compile((own.directory / "60-mine").read_text(), "60-mine", "exec")


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_new_hook_goes_through_a_drill(own, language):
    own("new", "mine", *language)
    for words in ((), ("--cancel",), ("--kind", "reboot")):
        assert main(["drill", "--hooks", *words, "--pause", "1s", "--config", str(own.file)]) == 0


@pytest.mark.slow
def test_the_doctor_and_the_start_of_the_agent_name_missing_settings_as_the_check_does(tmp_path):
    with world(tmp_path) as here:
        here.configure("")
        library.enable("haproxy-drain", here.home / "hooks.d", LIBRARY)
        doctor = here.command("doctor")
        assert "0 of 1" in doctor.stdout and "20-haproxy-drain cannot work: required settings are not set: SERVERS" in doctor.stdout
        here.start()
        here.until(lambda: any("hook.cannot-run" in line and "SERVERS" in line for line in here.said().splitlines()))
