"""The configuration in pieces: conf.d/*.toml beside the main file, by name, the later file wins."""
from __future__ import annotations

import json
import sys

import pytest

from tideover.cli import main
from tideover.config_file import load_settings, load_tolerantly
from tideover.daemon.startup import require_trusted_named
from tideover.errors import ConfigurationError, WrongUseError

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="mode bits")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf.d").mkdir(mode=0o755)
    (tmp_path / "tideover.toml").write_text(
        '[hooks]\ntimeout = "20s"\nreserve = "3s"\n[clock]\nservers = ["a.example", "b.example"]\n'
        '[hook.web]\nuser = "www"\nenvironment = { ONE = "1", TWO = "2" }\n')
    return tmp_path


def drop_in(home, name, text):
    path = home / "conf.d" / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def load(home):
    return load_settings(home / "tideover.toml", {})


def test_tables_are_merged_key_by_key_the_later_file_wins_and_lists_are_replaced(home):
    drop_in(home, "10-first.toml", '[hooks]\ntimeout = "30s"\n[clock]\nservers = ["c.example"]\n[hook.web.environment]\nTWO = "22"\n')
    drop_in(home, "20-second.toml", '[hooks]\ntimeout = "40s"\n[hook.db]\nrequired = false\n')
    settings = load(home).settings
    assert (settings.hooks.timeout_s, settings.hooks.reserve_s) == (40.0, 3.0)
    assert [server.host for server in settings.clock.servers] == ["c.example"]
    assert settings.hook["web"].user == "www" and dict(settings.hook["web"].environment) == {"ONE": "1", "TWO": "22"}
    assert (settings.hook["web"].timeout_s, settings.hook["db"].required) == (40.0, False)


def test_a_drop_in_counts_without_a_main_file_too(home, monkeypatch):
    from dataclasses import replace

    from tideover.settings import LINUX
    (home / "tideover.toml").unlink()
    drop_in(home, "10.toml", '[source]\npoll = "2s"\n')
    loaded = load_settings(None, {}, replace(LINUX, configuration=str(home / "tideover.toml")))
    assert (loaded.settings.source.poll_s, loaded.file, [file.name for file in loaded.drop_ins]) == (2.0, None, ["10.toml"])


def test_hidden_files_backups_and_other_endings_are_no_drop_ins(home):
    for name in (".10.toml.swp", ".hidden.toml", "10.toml~", "10.toml.dpkg-new", "README"):
        drop_in(home, name, "no TOML at all")
    assert load(home).drop_ins == ()


def test_config_show_says_which_file_and_line_each_value_is_from(home, capsys):
    file = drop_in(home, "10-first.toml", '# a comment\n[hooks]\ntimeout = "30s"\n')
    assert main(["config", "show", "--json", "--config", str(home / "tideover.toml")]) == 0
    shown = json.loads(capsys.readouterr().out)
    origin = {one["key"]: one["from"] for one in shown["settings"]}
    assert origin["hooks.timeout"] == f"{file} line 3" and origin["hooks.reserve"] == f"{home / 'tideover.toml'} line 3"
    assert origin["source.poll"] == "default" and shown["drop_ins"] == [str(file)]


def test_all_faults_of_all_files_are_reported_at_once_each_with_its_file(home):
    (home / "tideover.toml").write_text('[hooks]\ntimeout = "soon"\n')
    one = drop_in(home, "10.toml", '[hooks]\ntimeout = "30s"\nreserv = "1s"\n')
    two = drop_in(home, "20.toml", "[hooks\n")
    with pytest.raises(ConfigurationError) as told:
        load(home)
    faults = told.value.faults
    assert faults[0].startswith("line 2: hooks.timeout: expected a duration"), "also a value that a later file replaces"
    assert faults[1].startswith(f"{one} line 3: hooks.reserv: unknown key, did you mean reserve?")
    assert faults[2].startswith(f"{two} line 1: not TOML") and len(faults) == 3


def test_warnings_name_the_drop_in(home, capsys):
    file = drop_in(home, "10.toml", '[source]\npoll = "100ms"\n')
    assert main(["config", "check", str(home / "tideover.toml")]) == 0
    assert f"warning: {file} line 2: source.poll: the metadata service answers 5 requests" in capsys.readouterr().err


def test_what_is_wrong_in_a_drop_in_takes_nothing_away_from_the_main_file(home):
    """A command that recovers goes on with what it needs: here, where the journal lies."""
    (home / "tideover.toml").write_text(f'[paths]\nstate = "{home}/state"\n[hooks]\ntimeout = "20s"\n')
    drop_in(home, "10.toml", '[paths]\nstate = 5\n[hooks]\ntimeout = "soon"\nreserve = "1s"\n')
    drop_in(home, "20.toml", '[hooks\ntimeout = "7s"\n[clock]\ntolerance = "1s"\n')
    loaded = load_tolerantly(home / "tideover.toml", {})
    settings = loaded.settings
    assert (settings.paths.state, settings.hooks.timeout_s, settings.hooks.reserve_s) == (f"{home}/state", 20.0, 1.0)
    assert settings.clock.tolerance_s == 1.0 and isinstance(loaded.trouble, ConfigurationError)


@POSIX_ONLY
def test_a_drop_in_that_others_can_change_is_refused(home, capsys):
    file = drop_in(home, "10.toml", '[source]\npoll = "2s"\n')
    assert main(["config", "check", str(home / "tideover.toml")]) == 0
    file.chmod(0o666)
    assert main(["config", "check", str(home / "tideover.toml")]) == 2
    assert f"chmod go-w {file}" in capsys.readouterr().err
    file.chmod(0o644)
    (home / "conf.d").chmod(0o777)
    assert main(["config", "check", str(home / "tideover.toml")]) == 2
    assert f"chmod go-w {home / 'conf.d'}" in capsys.readouterr().err


@POSIX_ONLY
def test_a_credential_file_of_the_fleet_is_refused_if_others_can_read_a_secret_or_change_a_certificate(home, capsys):
    password, authority = home / "password", home / "ca.pem"
    for file in (password, authority):
        file.write_text("x")
        file.chmod(0o644)
    drop_in(home, "10.toml", f'[fleet]\nstore = "etcds://a"\nuser = "u"\npassword_file = "{password}"\nca_file = "{authority}"\n')
    config = str(home / "tideover.toml")
    assert main(["config", "check", config]) == 2
    assert f"chmod go-r {password}" in capsys.readouterr().err
    with pytest.raises(WrongUseError, match="cannot use a credential file of \\[fleet\\]: "):
        require_trusted_named(load(home))
    password.chmod(0o600)
    assert main(["config", "check", config]) == 0
    authority.chmod(0o666)
    assert main(["config", "check", config]) == 2
    drop_in(home, "20.toml", '[fleet]\nstore = ""\n')
    assert main(["config", "check", config]) == 0           # without a store nothing of it is used


@POSIX_ONLY
def test_the_program_of_vmware_tools_is_refused_if_others_can_change_it(home, capsys):
    program = home / "vmtoolsd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    drop_in(home, "10.toml", f'[source]\nkind = "vsphere"\n[source.vsphere]\nvmtoolsd = "{program}"\n')
    config = str(home / "tideover.toml")
    assert main(["config", "check", config]) == 0
    program.chmod(0o757)
    assert main(["config", "check", config]) == 2
    assert f"chmod go-w {program}" in capsys.readouterr().err
    with pytest.raises(WrongUseError, match=r"cannot use source\.vsphere\.vmtoolsd: "):
        require_trusted_named(load(home))
    drop_in(home, "20.toml", f'[hooks]\ntimeout = "20s"\n[source.vsphere]\nvmtoolsd = "{home / "gone"}"\n')
    assert main(["config", "check", config]) == 0           # a poll says that it is not installed


@POSIX_ONLY
def test_a_program_of_notify_that_would_be_refused_is_a_warning(home, capsys):
    program = home / "tell"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    drop_in(home, "10.toml", f'[notify]\ncommand = ["{program}"]\n')
    assert main(["config", "check", str(home / "tideover.toml")]) == 0
    assert f"notify.command: {program} can be written by everybody: chmod go-w {program}" in capsys.readouterr().err
    program.chmod(0o755)
    assert main(["config", "check", str(home / "tideover.toml")]) == 0
    assert "notify.command" not in capsys.readouterr().err


@POSIX_ONLY
def test_a_drop_in_that_cannot_be_read_is_reported(home):
    (home / "conf.d" / "10.toml").mkdir()
    with pytest.raises(WrongUseError, match="directory"):
        load(home)
    assert load_tolerantly(home / "tideover.toml", {}).settings.hooks.timeout_s == 20.0


def test_no_directory_of_drop_ins_is_no_fault(home):
    (home / "conf.d").rmdir()
    assert load(home).drop_ins == ()
