"""Which file counts, and what is reported when it cannot be read. The files are real."""
from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tideover.config_file import load_settings, load_tolerantly, platform_paths
from tideover.errors import EXIT_WRONG_USE, ConfigurationError, WrongUseError
from tideover.model import Kind
from tideover.settings import LINUX, PlatformPaths, default_settings

AGENT = Path(__file__).parents[1] / "agent"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def usual(path: Path) -> PlatformPaths:
    return dataclasses.replace(LINUX, configuration=str(path))


def test_config_goes_before_the_variable_and_that_before_the_usual_place(tmp_path: Path) -> None:
    first = written(tmp_path / "first", '[source]\npoll = "1s"')
    second = written(tmp_path / "second", '[source]\npoll = "2s"')
    third = written(tmp_path / "third", '[source]\npoll = "3s"')
    environ, platform = {"TIDEOVER_CONFIG": str(second)}, usual(third)
    for loaded, file, poll_s in ((load_settings(first, environ, platform), first, 1.0),
                                 (load_settings(None, environ, platform), second, 2.0),
                                 (load_settings(None, {"TIDEOVER_CONFIG": ""}, platform), third, 3.0)):
        assert (loaded.file, loaded.settings.source.poll_s) == (file, poll_s)
        assert loaded.origin["source.poll"].line == 2


@pytest.mark.parametrize(("text", "freeze", "reboot"), [
    ('[source]\nkind = "azure"', "at-once", "at-once"),
    ('[source]\nkind = "aws"', "just-in-time", "just-in-time"),
    ('[source]\nkind = "aws"\n[policy]\nprepare = "at-once"', "at-once", "at-once"),
    ('[source]\nkind = "aws"\n[policy.freeze]\nprepare = "at-once"', "at-once", "just-in-time"),
])
def test_where_not_before_begins_a_long_window_preparation_is_just_in_time_unless_the_file_says_when(
        tmp_path: Path, text: str, freeze: str, reboot: str) -> None:
    loaded = load_settings(written(tmp_path / "t.toml", text), {})
    assert (loaded.settings.policy_for(Kind.FREEZE).prepare, loaded.settings.policy_for(Kind.REBOOT).prepare) == (
        freeze, reboot)


def test_without_a_file_in_the_usual_place_the_defaults_apply(tmp_path: Path) -> None:
    loaded = load_settings(None, {}, usual(tmp_path / "none" / "tideover.toml"))
    assert (loaded.settings, loaded.file, dict(loaded.origin)) == (default_settings(), None, {})


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    for path, environ, who in ((missing, {}, "--config"), (None, {"TIDEOVER_CONFIG": str(missing)}, "TIDEOVER_CONFIG")):
        with pytest.raises(WrongUseError) as refused:
            load_settings(path, environ, usual(tmp_path / "usual"))
        assert str(refused.value) == (f"cannot read the configuration {missing}: there is no such file. "
                                      f"{who} names it; correct the path or remove it")
        assert refused.value.exit_status == EXIT_WRONG_USE


def test_a_directory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WrongUseError, match="it is a directory"):
        load_settings(tmp_path, {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_is_a_sentence_and_no_writer_is_waited_for(tmp_path: Path) -> None:
    """A reload is read on the engine's thread, with an event open."""
    os.mkfifo(tmp_path / "tideover.toml")
    with pytest.raises(WrongUseError, match="it is a pipe, not a file"):
        load_settings(tmp_path / "tideover.toml", {})


def test_a_path_through_a_file_is_a_sentence_also_in_the_usual_place(tmp_path: Path) -> None:
    through = written(tmp_path / "file", "") / "tideover.toml"
    with pytest.raises(WrongUseError, match="not a directory"):
        load_settings(None, {}, usual(through))


def test_a_file_this_user_may_not_read_is_a_sentence(tmp_path: Path) -> None:
    """Another user is needed where the tests run as root; the usual place is no excuse to ignore the file."""
    file = written(tmp_path / "secret.toml", "")
    file.chmod(0)
    tmp_path.chmod(0o755)
    ask = ("import os, sys\n"
           "from pathlib import Path\n"
           "from tideover.config_file import load_settings\n"
           "from tideover.errors import WrongUseError\n"
           "from tideover.settings import LINUX\n"
           "import dataclasses\n"
           "os.chdir(sys.argv[1])\n"
           "if os.getuid() == 0: os.setuid(65534)\n"
           "try: load_settings(None, {}, dataclasses.replace(LINUX, configuration='secret.toml'))\n"
           "except WrongUseError as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, timeout=20,
                          env={"PYTHONPATH": str(AGENT), "PATH": os.environ["PATH"]}, check=False)
    assert done.stdout.startswith("cannot read the configuration secret.toml: this user may not read it. "), done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0


def test_faults_carry_the_files_name(tmp_path: Path) -> None:
    file = written(tmp_path / "bad.toml", "\n[source]\npol = 1\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings(file, {}, LINUX)
    assert (refused.value.file, refused.value.faults) == (
        str(file), ("line 3: source.pol: unknown key, did you mean poll?",))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file here")
def test_an_endless_file_is_refused_after_its_first_part() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(Path("/dev/zero"), {})
    assert refused.value.faults[0].startswith("larger than 256 KiB")


@pytest.mark.skipif(sys.platform == "win32", reason="the other platform's paths")
def test_this_platforms_paths_are_the_contracts() -> None:
    assert platform_paths() == LINUX
    assert LINUX.configuration == "/etc/tideover/tideover.toml"


def test_reading_a_good_file_imports_nothing_heavy() -> None:
    """The agent idles in little memory; without a fault no guessing is loaded."""
    ask = ("import sys; from tideover.settings import *; from tideover.settings.render import render_default_file\n"
           "read_settings(render_default_file(), file='x', defaults=LINUX)\n"
           "print(*sorted({'difflib', 'socket', 'urllib', 'logging', 'subprocess', 'pathlib'}"
           " & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-S", "-c", ask], capture_output=True, text=True, timeout=20,
                          env={"PYTHONPATH": str(AGENT)}, check=True)
    assert done.stdout.strip() == ""


# ---- beside faults ----

@pytest.mark.parametrize(("text", "faults"), [
    ("[hooks]\ntimeoutt = 3\n", 1), ("[log]\nlevel = info\n", 1), ("[clock]\nservers = [\n", 1), ("no table\n", 1), ("LOST = [\n", 1),
    ("[log]\nlevel = \"loud\"\n[source]\npoll = 7\n", 2), ("[log]\nx = \"\xff\"\n", 1), ("[paths]\nstate = 3\n", 1)])
@pytest.mark.parametrize("order", [1, -1])
def test_what_can_be_read_of_a_faulty_file_counts(tmp_path: Path, text: str, faults: int, order: int) -> None:
    """Wherever the fault stands: where the journal lies must not depend on it. All faults are reported."""
    good = '[paths]\nstate = "/srv/state"\n[hook.web.environment]\nTOKEN = "x"\n'
    file = tmp_path / "tideover.toml"
    file.write_bytes("".join([good, text][::order]).encode("latin-1"))
    loaded = load_tolerantly(file, {}, LINUX)
    assert isinstance(loaded.trouble, ConfigurationError)
    assert loaded.settings.paths.state == ("/srv/state" if "paths" not in text or order == 1 else LINUX.state)
    assert loaded.settings.hook["web"].environment == {"TOKEN": "x"}
    assert len(loaded.trouble.faults) >= faults
    with pytest.raises(ConfigurationError):
        load_settings(file, {}, LINUX)


def test_a_good_file_has_no_trouble_and_a_named_file_must_be_there_all_the_same(tmp_path: Path) -> None:
    good = written(tmp_path / "good", '[source]\npoll = "2s"\n')
    assert load_tolerantly(good, {}) == load_settings(good, {})
    with pytest.raises(WrongUseError, match="there is no such file"):
        load_tolerantly(tmp_path / "gone", {})
    assert load_tolerantly(None, {}, usual(tmp_path / "gone")).trouble is None


def test_a_usual_file_that_cannot_be_read_leaves_the_defaults(tmp_path: Path) -> None:
    loaded = load_tolerantly(None, {}, usual(tmp_path))
    assert loaded.settings == default_settings() and "it is a directory" in str(loaded.trouble)


def test_no_fault_repeats_a_value_of_an_environment(tmp_path: Path) -> None:
    for table in ('environment = "s3cret-word"', 'environment = ["s3cret-word"]', 'environment = { A = ["s3cret-word"], B = 7 }'):
        trouble = load_tolerantly(written(tmp_path / "t", f"[hook.web]\n{table}\n"), {}).trouble
        assert isinstance(trouble, ConfigurationError) and "s3cret" not in "".join([str(trouble), *trouble.faults])
