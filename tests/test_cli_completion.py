"""Completion in real shells: commands, options, names of hooks, ids of events."""
from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from lives import Life, event
from tideover.cli import main
from tideover.cli.app import COMMANDS, group
from tideover.cli.completion import SHELLS, completed_commands
from tideover.hooks import library
from tideover.journal import FILE, Journal
from tideover.lifecycle import State

PATIENCE_S = 30.0


@pytest.fixture
def home(tmp_path):
    """A configuration with two hooks and two events of this machine and one of another; the command on the PATH."""
    for name in ("10-web", "20-database", "30--rf"):
        (tmp_path / "hooks.d").mkdir(exist_ok=True)
        (tmp_path / "hooks.d" / name).touch()
    (tmp_path / "state").mkdir()
    life = Life().polled(event("4f9a-one"), event("7c02-two"), event("other", resources=("vm-2",)), event("$(touch owned)"), event("-rf"))
    journal = Journal(tmp_path / "state" / FILE)
    journal.commit(life.now, State(), life.state, life.entries)
    journal.close()
    (tmp_path / "tideover.toml").write_text(
        f'[paths]\nhooks = "{tmp_path}/hooks.d"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    tool = tmp_path / "bin" / "tideover"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m tideover "$@"\n')
    tool.chmod(0o755)
    return tmp_path


def environment(home):
    return {"PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(home), "TIDEOVER_CONFIG": str(home / "tideover.toml"),
            "TERM": "dumb", "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)}


def offered_by_bash(home, *lines):
    """What bash offers at the end of each line."""
    script = "source <(tideover completion bash)\n"
    for line in lines:
        words = line.split(" ")
        script += f"""COMP_WORDS=({' '.join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
_tideover
printf '%s ' "${{COMPREPLY[@]}}"; echo
"""
    return [set(line.split()) for line in output_of(home, ["bash", "-uc", script]).splitlines()]


def offered_by_fish(home, *lines):
    script = "tideover completion fish | source\n" + "".join(f"complete -C '{line}'; echo ====\n" for line in lines)
    told = output_of(home, ["fish", "--no-config", "-c", script]).split("====\n")[:-1]
    return [{offer.partition("\t")[0] for offer in offers.splitlines()} for offers in told]


def output_of(home, command):
    ran = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=PATIENCE_S, cwd=home)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


CASES = [
    ("tideover ", set(COMMANDS)),
    ("tideover hi", {"history"}),
    ("tideover hooks run ", {"web", "database"}),
    ("tideover hooks run w", {"web"}),
    ("tideover hooks run web ", {"prepare", "recover"}),
    ("tideover hooks run web recover --reason ", {"resumed", "cancelled", "restarted"}),
    ("tideover hooks run --kind freeze d", {"database"}),
    ("tideover hooks enable ha", {"haproxy-drain"}),
    ("tideover show ", {"last", "4f9a-one", "7c02-two"}),
    ("tideover show --utc 4f", {"4f9a-one"}),
    ("tideover acknowledge 7", {"7c02-two"}),
    ("tideover completion ", set(SHELLS)),
    ("tideover simulate freeze-", {"freeze-without-notice"}),
    ("tideover service st", {"start", "stop", "status"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "offered"), [("bash", offered_by_bash), ("fish", offered_by_fish)])
def test_a_shell_offers_commands_values_hooks_and_events(home, shell, offered):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    found = offered(home, *(line for line, _ in CASES))
    assert dict(zip((line for line, _ in CASES), found, strict=True)) == dict(CASES)
    assert not (home / "owned").exists(), "an event's id is a word, not a command"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_offers_the_options_of_the_command_that_is_typed(home):
    commands = list(completed_commands(group, "tideover", ""))
    assert offered_by_bash(home, *(f"{one.at} -" for one in commands)) == [
        {name for option in one.options for name in option.names} for one in commands]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_configuration_that_is_typed_decides_which_hooks_are_offered(home):
    (home / "other").mkdir()
    (home / "other" / "10-cache").touch()
    (home / "other.toml").write_text(f'[paths]\nhooks = "{home}/other"\n')
    assert offered_by_bash(home, "tideover --config other.toml hooks run ",
                           "tideover hooks run --config = other.toml ",
                           "tideover --config oth") == [{"cache"}, {"cache"}, {"other", "other.toml"}]


TYPED = {"bash": (["bash", "--norc", "--noprofile", "-i"], "source <(tideover completion bash)"),
         "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit && compinit -u -D && source <(tideover completion zsh)")}


@pytest.mark.slow
@pytest.mark.parametrize("shell", TYPED)
@pytest.mark.parametrize(("typed", "completed"), [
    ("tideover hooks run dat\t", "tideover hooks run database"),
    ("tideover show 4f\t", "tideover show 4f9a-one"),
    ("tideover hist\t", "tideover history"),
    ("tideover drill --ki\t", "tideover drill --kind"),
])
def test_a_person_at_a_real_terminal_presses_tab(home, shell, typed, completed):
    """The line that stands at the prompt is echoed by the shell itself: Ctrl-A and `echo` show what it holds."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    command, sourcing = TYPED[shell]
    person = Person(command, environment(home) | {"PS1": "$ ", "TERM": "xterm"})
    try:
        person.types(f"{sourcing}; echo re'ady'\n")
        person.sees("ready\r")
        person.types(typed)
        time.sleep(2.0)
        person.types("\x01echo '<\x05>'\n")
        person.sees(f"<{completed}")
    finally:
        person.leaves()


class Person:
    """A person at a terminal in which a shell runs."""

    def __init__(self, command, environment):
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvpe(command[0], command, environment)
        self.seen = ""

    def types(self, text):
        os.write(self._terminal, text.encode())

    def sees(self, text):
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.seen += os.read(self._terminal, 4096).decode(errors="replace")

    def leaves(self):
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_good_syntax(tmp_path, capsys, shell):
    assert main(["completion", shell]) == 0
    file = tmp_path / "script"
    file.write_text(capsys.readouterr().out)
    assert "@COMMANDS@" not in file.read_text() and "@OPTIONS@" not in file.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n", str(file)], check=True, timeout=PATIENCE_S)


def test_words_are_not_asked_of_a_journal_that_cannot_be_read_with_an_error(home, capsys):
    (home / "state" / FILE).write_text("no journal")
    assert main(["__complete", "events", "--config", str(home / "tideover.toml")]) == 1
    assert capsys.readouterr() == ("", "")
    assert main(["__complete", "nothing"]) == 2


def test_the_library_is_offered_without_being_run(home, capsys):
    assert main(["__complete", "library", "--config", str(home / "tideover.toml")]) == 0
    assert capsys.readouterr().out.split() == library.known_names(library.library())


@pytest.mark.slow
def test_asking_for_words_loads_no_command(home):
    """A shell asks at each press of a key."""
    code = ("import sys; from tideover.cli import main; "
            f"main(['__complete', 'hooks', '--config', {str(home / 'tideover.toml')!r}]); "
            "print(sorted({'click', 'requests', 'psutil', 'sqlite3', 'tideover.engine'} & sys.modules.keys()))")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert ran.stdout.split("\n")[:3] == ["web", "database", "[]"], ran.stderr
