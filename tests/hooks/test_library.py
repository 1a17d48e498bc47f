"""What holds for every hook without its server: it describes itself, stands on the SDK alone, and fails plainly."""
from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tideover.errors import WrongUseError
from tideover.hooks.directory import read_catalogue
from tideover.hooks.library import enable, known_names, sdk_lines
from tideover.settings import default_settings, options_for

from .running import DONE, FAILED, LIBRARY, NAMES, NOT_YET, NOTHING, REFUSED, WRONG_USE, Hook, describe
from .stages import STAGES

STAGE_NUMBERS = {10, 20, 30, 40, 50, 60, 80}
SHELL = tuple(n for n in NAMES if (LIBRARY / n).read_text().startswith("#!/bin/sh\n"))
PYTHON = tuple(n for n in NAMES if n not in SHELL)

# Settings that lead nowhere: no server, no file, no program. 192.0.2.0/24 would block; a closed port answers at once.
NOWHERE = {
    "lb-health": {"DRAIN_FILE": "/proc/nowhere/drain"},
    "haproxy-drain": {"SOCKET": "/nonexistent/admin.sock", "SERVERS": "be/a"},
    "keepalived-vrrp": {"TRACK_FILE": "/nonexistent/track"},
    "redis-sentinel": {"REDIS": "127.0.0.1:1"},
    "patroni-switchover": {"URL": "http://127.0.0.1:1"},
    "flink-checkpoint": {"URL": "http://127.0.0.1:1"},
    "media-rtmp-drain": {"STAT": "http://127.0.0.1:1/", "STANDBY": "http://127.0.0.1:1/"},
    "janus-drain": {"ADMIN": "http://127.0.0.1:1/"},
    "galera-leave": {"DEFAULTS_FILE": "/nonexistent/my.cnf"},
    "kubernetes-cordon": {"API": "http://127.0.0.1:1", "TOKEN_FILE": "/dev/null"},
    "etcd-move-leader": {"ENDPOINT": "http://127.0.0.1:1"},
    "rabbitmq-drain": {"PATH": "/usr/bin:/bin"},
    "service-stop": {"UNITS": "nowhere.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/nonexistent"},
    "tcp-reset-after-resume": {"PORTS": "7"},
    "webhook": {"URL": "http://127.0.0.1:1/", "MUST_ARRIVE": "yes"},
}

# Their first act may have half-happened, so recovery is pending even when prepare failed.
OWES = {"lb-health", "webhook"}


@pytest.mark.parametrize("name", NAMES)
def test_every_hook_describes_itself(name: str) -> None:
    """One JSON object with everything an owner must know before enabling it."""
    about = describe(name)
    assert about["name"] == name
    assert about["stage"] in STAGE_NUMBERS
    assert set(about) == {"name", "stage", "summary", "does", "settings", "needs", "proved_against"}
    does, settings = about["does"], about["settings"]
    assert isinstance(does, dict) and set(does) == {"freeze", "restart", "unannounced", "recover"}
    assert isinstance(settings, dict)
    for key, setting in settings.items():
        assert key.isupper() and isinstance(setting["default"], str) and setting["meaning"]
        assert set(setting) <= {"default", "meaning", "required"}
    assert about["needs"] and about["proved_against"]


@pytest.mark.parametrize("name", SHELL)
def test_a_shell_hook_has_the_defaults_it_describes(name: str) -> None:
    """The description is text of its own there, so it is held against the code."""
    settings = describe(name)["settings"]
    assert isinstance(settings, dict)
    text = (LIBRARY / name).read_text()
    for key, setting in settings.items():
        assert f': "${{{key}:={setting["default"]}}}"\n' in text


@pytest.mark.parametrize("name", [*PYTHON, "tideover_hook.py", "tideover_hook_message.py"])
def test_a_hook_needs_nothing_but_the_sdk_and_the_standard_library(name: str) -> None:
    """A hook runs with the system's Python, where the agent's own packages may not be."""
    for node in ast.walk(ast.parse((LIBRARY / name).read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
            [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in names:
            assert module.split(".")[0] in sys.stdlib_module_names | {"tideover_hook", "tideover_hook_message"}


@pytest.mark.parametrize("name", ["tideover_hook.py", "tideover_hook_message.py", "tideover-hook.sh"])
def test_the_sdk_is_no_hook(name: str, tmp_path: Path) -> None:
    """It lies beside the library's hooks, and may lie beside an owner's: neither takes it for a hook."""
    assert name not in known_names(LIBRARY) and not os.access(LIBRARY / name, os.X_OK)
    shutil.copy(LIBRARY / name, tmp_path)
    found = read_catalogue(tmp_path, lambda name: options_for(default_settings(), name))
    assert (found.hooks, found.disabled, found.ignored) == ((), (), ())
    with pytest.raises(WrongUseError):
        enable(name, tmp_path / "hooks.d", LIBRARY)


@pytest.mark.parametrize("name", [SHELL[0], PYTHON[0]])
def test_a_link_to_a_hook_finds_the_sdk_and_leaves_nothing_beside_it(name: str, tmp_path: Path) -> None:
    """From a second link too. No compiled file of Python's lies in the library's folder afterwards."""
    (tmp_path / name).symlink_to(LIBRARY / name)
    link = tmp_path / f"20-{name}"
    link.symlink_to(name)
    done = subprocess.run([str(link), "describe"], capture_output=True, text=True, cwd="/")
    assert json.loads(done.stdout)["name"] == name, done.stderr
    assert not list(LIBRARY.rglob("__pycache__"))


@pytest.mark.parametrize("name", [SHELL[0], PYTHON[0]])
def test_a_hook_whose_sdk_others_can_write_is_refused(name: str, tmp_path: Path) -> None:
    """What a hook reads is run as it is: the rule for its file holds for the SDK beside it."""
    library, directory = tmp_path / "library", tmp_path / "hooks.d"
    shutil.copytree(LIBRARY, library)
    directory.mkdir()
    enable(name, directory, library)
    assert [hook.refused for hook in read_catalogue(directory, lambda name: options_for(default_settings(), name)).hooks] == [None]
    if name in PYTHON:
        (library / "__pycache__").mkdir()
        (library / "__pycache__").chmod(0o777)
        [hook] = read_catalogue(directory, lambda name: options_for(default_settings(), name)).hooks
        assert hook.refused is not None and "__pycache__ can be written by everybody" in hook.refused
        (library / "__pycache__").chmod(0o755)
    sdk = library / ("tideover-hook.sh" if name in SHELL else "tideover_hook.py")
    sdk.chmod(0o666)
    [hook] = read_catalogue(directory, lambda name: options_for(default_settings(), name)).hooks
    assert hook.refused == f"{sdk} can be written by everybody: chmod go-w {sdk}"


OWN = {
    "shell": """#!/bin/sh
set -u
LINES
describe() { echo '{"name": "own", "stage": 60}'; }
prepare() { keep changed yes; leave 0 "prepared"; }
recover() { forget; leave 0 "recovered"; }
run_hook "$@"
""",
    "python": """#!/usr/bin/env python3
import sys

LINES
from tideover_hook import forget, main, remember

DESCRIPTION = {"name": "own", "stage": 60, "settings": {}}

if __name__ == "__main__":
    sys.exit(main(DESCRIPTION, lambda: remember({}), forget))
""",
}


@pytest.mark.parametrize("language", OWN)
def test_an_owners_hook_reads_the_sdk_from_the_installed_path(language: str, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that the package gives for it; the rule for hooks holds for what they name."""
    installed = tmp_path / "prefix" / "share" / "tideover" / "hooks"
    installed.mkdir(parents=True)
    for name in ("tideover_hook.py", "tideover-hook.sh"):
        shutil.copy(LIBRARY / name, installed)
    monkeypatch.setattr("tideover.hooks.library.library", lambda: installed)
    own = tmp_path / "hooks.d" / "60-own"
    own.parent.mkdir()
    own.write_text(OWN[language].replace("LINES\n", sdk_lines(language == "python")))
    own.chmod(0o755)
    hook = Hook(str(own), tmp_path / "state")
    assert [hook.run("prepare").status, hook.run("recover").status, hook.run("begin").status] == [DONE, DONE, WRONG_USE]
    [spec] = read_catalogue(own.parent, lambda name: options_for(default_settings(), name)).hooks
    assert spec.refused is None
    installed.chmod(0o777)
    [spec] = read_catalogue(own.parent, lambda name: options_for(default_settings(), name)).hooks
    assert spec.refused is not None and str(installed) in spec.refused


def test_every_hook_has_a_stage_and_an_absent_server() -> None:
    """A hook without a world to prove it in has no proof."""
    assert set(STAGES) == set(NOWHERE) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_server_a_hook_fails_plainly(name: str, tmp_path: Path) -> None:
    """One sentence, no traceback, nothing kept, and recover has nothing to do."""
    hook = Hook(name, tmp_path / "state", NOWHERE[name], kind="reboot")
    ran = hook.run("prepare", seconds_left=10)
    assert ran.status in (FAILED, NOTHING, REFUSED), ran.output
    assert ran.output.strip()
    assert "Traceback" not in ran.output
    assert ran.took_s < 10
    assert hook.recover().status == NOTHING or name in OWES


@pytest.mark.parametrize("name", [SHELL[0], PYTHON[0]])
def test_recover_without_prepare_has_nothing_to_do(name: str, tmp_path: Path) -> None:
    """Nothing was changed, so nothing is put back; the server is not even asked. (The conformance suite asks all.)"""
    ran = Hook(name, tmp_path / "state", NOWHERE[name]).run("recover")
    assert (ran.status, "Traceback" in ran.output) == (NOTHING, False)


@pytest.mark.parametrize("name", [SHELL[0], PYTHON[0]])
def test_a_wrong_call_is_reported(name: str, tmp_path: Path) -> None:
    """Neither phase nor describe: status 2."""
    assert Hook(name, tmp_path / "state").run("begin").status == WRONG_USE


def test_shell_hooks_are_clean() -> None:
    """shellcheck has nothing to say."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    samples = (LIBRARY.parent / "agent/tideover/drill/sample/hooks/posix").iterdir()
    done = subprocess.run(["shellcheck", *(str(LIBRARY / n) for n in [*SHELL, "tideover-hook.sh"]), *map(str, samples)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_python_hooks_are_among_what_ruff_reads() -> None:
    """ruff finds Python by its ending, and a hook has none: each must be named."""
    with (LIBRARY.parent / "pyproject.toml").open("rb") as settings:
        named = tomllib.load(settings)["tool"]["ruff"]["extend-include"]
    assert [name for name in named if name.startswith("hooks/")] == [f"hooks/{name}" for name in PYTHON]


def test_the_shell_example_of_the_documents_is_a_hook(tmp_path: Path) -> None:
    """Not yet while a job runs, then closed; opened again; and nothing to do where an operator has closed it."""
    text = (LIBRARY.parent / "docs" / "hooks.md").read_text()
    body = text.split("```sh hook=60-batch-runner\n")[1].split("```")[0]
    assert ". /usr/share/tideover/hooks/tideover-hook.sh\n" in body
    mine, spool = tmp_path / "batch-runner", tmp_path / "spool"
    mine.write_text(body.replace("/usr/share/tideover/hooks", str(LIBRARY)))
    mine.chmod(0o755)
    spool.mkdir()
    (spool / "job.1").write_text("")
    hook = Hook(str(mine), tmp_path / "state", {"SPOOL": str(spool)})       # an absolute name leaves the library
    assert hook.run("prepare").status == NOT_YET
    (spool / "job.1").unlink()
    assert [hook.run("prepare").status, hook.run("prepare").status] == [DONE, DONE]
    assert (spool / "closed").exists()
    assert hook.run("recover").status == DONE and not (spool / "closed").exists()
    assert hook.run("recover").status == NOTHING
    (spool / "closed").write_text("")
    assert hook.run("prepare").status == NOTHING, "an operator's own"
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(mine)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
