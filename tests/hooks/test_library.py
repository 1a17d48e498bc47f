"""What can be said of every hook without its server: it describes itself, stands alone, and fails plainly."""
from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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

# Their first act may have half-happened, so recover is owed even when prepare failed.
OWES = {"lb-health", "webhook"}


def frame(name: str) -> str:
    """Given a hook, return the part that all hooks of its language share."""
    text = (LIBRARY / name).read_text()
    begin, end = text.index("# ---- the frame:"), text.index("# ---- end of the frame ----")
    return text[begin:end]


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


@pytest.mark.parametrize("names", [SHELL, PYTHON], ids=["shell", "python"])
def test_all_hooks_of_a_language_share_one_frame(names: tuple[str, ...]) -> None:
    """Stand-alone files cannot share code; so the same text stands in each, and it may not drift."""
    assert len({frame(name) for name in names}) == 1


@pytest.mark.parametrize("name", PYTHON)
def test_a_hook_needs_nothing_but_the_standard_library(name: str) -> None:
    """A hook runs with the system's Python, where the agent's own packages may not be."""
    for node in ast.walk(ast.parse((LIBRARY / name).read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
            [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in names:
            assert module.split(".")[0] in sys.stdlib_module_names


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
def test_a_wrong_call_is_told(name: str, tmp_path: Path) -> None:
    """Neither phase nor describe: status 2, from the frame that all share."""
    assert Hook(name, tmp_path / "state").run("begin").status == WRONG_USE


def test_shell_hooks_are_clean() -> None:
    """shellcheck has nothing to say."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", *(str(LIBRARY / n) for n in SHELL)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_python_hooks_are_among_what_ruff_reads() -> None:
    """ruff finds Python by its ending, and a hook has none: each must be named."""
    with (LIBRARY.parent / "pyproject.toml").open("rb") as settings:
        named = tomllib.load(settings)["tool"]["ruff"]["extend-include"]
    assert named == [f"hooks/{name}" for name in PYTHON]


ADMIN = """#!/bin/sh
cd "${0%/*}" && case $1 in accepting) cat accepting ;; accept) echo "$2" > accepting ;; busy) cat busy ;; esac
"""


def test_the_template_in_the_readme_is_a_hook(tmp_path: Path) -> None:
    """With the frame below it, as the text says: drained, not yet while busy, given back, and nothing to do twice."""
    body = (LIBRARY / "README.md").read_text().split("```sh\n#!/bin/sh\n")[1].split("```")[0]
    mine = tmp_path / "my-application"
    mine.write_text(f"#!/bin/sh\n{body}\n{frame(SHELL[0])}")
    (tmp_path / "admin").write_text(ADMIN)
    for program in (mine, tmp_path / "admin"):
        program.chmod(0o755)
    accepting, busy = tmp_path / "accepting", tmp_path / "busy"
    accepting.write_text("yes\n")
    busy.write_text("1\n")
    hook = Hook(str(mine), tmp_path / "state", {"ADMIN": str(tmp_path / "admin")})       # an absolute name leaves the library
    assert hook.run("prepare").status == NOT_YET
    busy.write_text("0\n")
    assert [hook.run("prepare").status, hook.run("prepare").status] == [DONE, DONE]
    assert accepting.read_text() == "no\n"
    assert [hook.run("recover").status, accepting.read_text(), hook.run("recover").status] == [DONE, "yes\n", NOTHING]
    accepting.write_text("no\n")
    assert hook.run("prepare").status == NOTHING, "an operator's own"
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(mine)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
