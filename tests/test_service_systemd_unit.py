"""The unit is one file for every kind of installation."""
import json
import re
import sys
from pathlib import Path

import pytest

from tideover.cli import main
from tideover.daemon.main import STOP_LIMIT_S
from tideover.errors import TideoverError, WrongUseError
from tideover.hooks import library
from tideover.service.systemd_unit import FILE, PACKAGED_COMMAND, quoted, unit_text


def directive(name):
    return re.findall(rf"^{name}=(.*)$", FILE.read_text(), re.M)


def seconds(text):
    return float(re.fullmatch(r"(\d+)s", text)[1])


def test_only_the_command_differs():
    text = unit_text(["/opt/tideover/bin/tideover"], None)
    assert text.split("\n", 1)[1] == FILE.read_text().replace(PACKAGED_COMMAND, "/opt/tideover/bin/tideover")


def test_a_second_instances_configuration_is_named_wherever_the_command_is():
    text = unit_text(["/srv/a b/python", "-m", "tideover"], "/etc/100%.toml")
    assert 'ExecStart="/srv/a b/python" -m tideover run --config /etc/100%%.toml\n' in text
    assert 'ExecReload="/srv/a b/python" -m tideover config check --config /etc/100%%.toml\n' in text


def test_words_survive_the_units_own_grammar():
    assert [quoted(word) for word in ("plain", "a b", 'q"', "$HOME", "5%")] == ["plain", '"a b"', '"q\\""', "$$HOME", "5%%"]


def test_the_watchdog_outlasts_the_longest_pause_and_a_stop_that_recovers_is_not_cut_off():
    """30 s is the longest pause the platform speaks of; a third of the period may have passed when it begins."""
    [watchdog], [stop] = directive("WatchdogSec"), directive("TimeoutStopSec")
    assert seconds(watchdog) * 2 / 3 > 30 + 5
    assert seconds(stop) >= STOP_LIMIT_S + 10


def test_a_configuration_that_cannot_be_used_is_tried_once():
    """Each further start would end the same way, and the service would be shown as starting all the while."""
    from tideover.errors import EXIT_WRONG_USE, BusyError
    assert directive("RestartPreventExitStatus") == [str(EXIT_WRONG_USE)]
    assert BusyError.exit_status != EXIT_WRONG_USE, "who has taken the state directory lets it go again"


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
    link = library.enable("demo", directory, place)
    assert link == directory / "07-demo" and link.readlink() == place / "demo"
    assert library.disable("demo", directory, place) == link and list(directory.iterdir()) == []


def test_enabling_refuses_what_exists_and_what_the_library_does_not_have(shelf):
    place, directory = shelf
    directory.mkdir()
    (directory / "50-demo").write_text("the owner's own")
    with pytest.raises(TideoverError, match="is there already"):
        library.enable("demo", directory, place)
    for name in ("nothing", "../library/demo", ""):
        with pytest.raises(WrongUseError, match="It has: demo"):
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
def test_a_hook_that_is_disabled_is_not_said_to_be_missing(tmp_path, capsys):
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
        link = library.enable(name, tmp_path, place)
        assert re.fullmatch(rf"[0-9][0-9]-{name}", link.name)


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine is run by systemd (sd_booted(3))")
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("start",), ("stop",)])
def test_where_no_systemd_runs_that_is_told_as_somebody_who_cannot_be_reached(tmp_path, monkeypatch, capsys, words):
    """systemctl may be there all the same, as in a container. With --json there is one document, on standard output."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'System has not been booted with systemd as init system.' >&2\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["service", *words]) == 3
    told = capsys.readouterr()
    assert "this machine does not run systemd" in told.err and told.err.count("\n") == 1
    assert not told.out if "--json" not in words else json.loads(told.out)["why"] == "this machine does not run systemd"
