"""What a command says where its output cannot be written, or the system lacks what it needs: one sentence, or none."""
from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from running_agent import environment
from tideover.cli import main
from tideover.errors import EXIT_BUG, EXIT_NO, EXIT_OK, WrongUseError
from tideover.simulator.scenarios import read_scenario

TIDEOVER = f"{sys.executable} -m tideover"
REPOSITORY = Path(__file__).parents[1]


def in_shell(line: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], env=environment(), capture_output=True, text=True, timeout=60, check=False,
                          **options)       # type: ignore[call-overload,no-any-return]


@pytest.fixture
def configured(tmp_path: Path) -> str:
    (tmp_path / "t.toml").write_text(f'[source]\nkind = "none"\n[paths]\nhooks = "{tmp_path}"\nstate = "{tmp_path}/state"\n'
                                     f'runtime = "{tmp_path}/run"\n')
    return f"--config {tmp_path}/t.toml"


@pytest.mark.slow
@pytest.mark.parametrize("words", ["status", "history --json", "config show", "hooks list", "--help", "", "simulate --list"])
def test_a_full_disk_behind_standard_output_is_reported_in_one_sentence(words, configured):
    done = in_shell(f"{TIDEOVER} {words} {configured if words[:1].isalpha() and 'simulate' not in words else ''} > /dev/full")
    assert done.returncode == EXIT_NO
    assert done.stderr == ("tideover: cannot write the output: no space left on device. Free disk space, or redirect the output.\n")


@pytest.mark.slow
@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_started_without_its_standard_streams_answers_by_its_exit_status(closing, configured):
    done = in_shell(f"{TIDEOVER} config check {configured} {closing}")
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    failed = in_shell(f"{TIDEOVER} show nope {configured} {closing}")
    assert failed.returncode == EXIT_NO and "Traceback" not in failed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "--help", "simulate --list"])
def test_a_reader_that_goes_away_is_no_failure(words):
    done = in_shell(f"{TIDEOVER} {words} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) in {(EXIT_OK, ""), (2, "")}      # 2: no command was named


@pytest.mark.slow
@pytest.mark.parametrize("limits", ["-n 10", "-n 7", "-n 6", "-n 5", "-f 0", "-v 100000"])
def test_tiny_limits_are_reported_in_one_sentence(limits, configured):
    for words in ("status", "doctor", "history"):
        done = in_shell(f"ulimit {limits}; {TIDEOVER} {words} {configured}")
        assert done.returncode in (0, 1, 2, 3), (words, done.stderr)
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1, done.stderr


@pytest.mark.slow
def test_ctrl_c_while_a_command_starts_ends_it_without_a_word(configured):
    """At each moment of its start, from the first line of ours on; a shell sees the signal."""
    program = ("import os, signal, sys, threading, time\nimport tideover.cli\n"
               "delay_s = float(sys.argv.pop())\n"
               "threading.Thread(target=lambda: (time.sleep(delay_s), os.kill(os.getpid(), signal.SIGINT)), daemon=True)"
               ".start()\nsys.exit(tideover.cli.main())")
    for delay_s in (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12):
        done = subprocess.run([sys.executable, "-c", program, "doctor", *configured.split(), str(delay_s)], env=environment(),
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr.strip() == "" and done.returncode in (-signal.SIGINT, 0, 1), (delay_s, done)


LOOKS = """
import _signal, sys
sys.path.insert(0, sys.argv.pop(1))
early = []

class Look:
    def find_spec(name, path=None, target=None):
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            early.append(name)

sys.meta_path.insert(0, Look)
"""


@pytest.mark.parametrize(("start", "before"), [
    ("import tideover.__main__", ["tideover", "tideover.__main__"]),
    (f"try: exec(open({str(REPOSITORY / 'packaging/deb/debian/tideover.py')!r}).read())\nexcept SystemExit: pass", [])])
def test_nothing_is_loaded_before_ctrl_c_ends_the_command_without_a_trace(start, before):
    """The way in of pip's command and that of the Debian package."""
    done = subprocess.run([sys.executable, "-IS", "-c", f"{LOOKS}{start}\nprint(early)", str(REPOSITORY / "agent"), "--help"],
                          capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == str(before)


@pytest.mark.parametrize("words", [["replay"], ["simulate"], ["hooks", "enable"], ["hooks", "new"], ["show"], ["acknowledge", "--yes"],
                                   ["recover", "--yes", "--forget"], ["status", "--config"], ["report", "--html"]])
def test_a_hostile_name_in_an_error_steers_no_terminal(words, capsys, monkeypatch, tmp_path):
    (tmp_path / "t.toml").write_text(f'[source]\nkind = "none"\n[paths]\nstate = "{tmp_path}/state"\n')
    monkeypatch.setenv("TIDEOVER_CONFIG", str(tmp_path / "t.toml"))
    assert main([*words, "/no/\x1b[31m\x07\N{RIGHT-TO-LEFT OVERRIDE}x\r\nforged"]) != 0
    said = capsys.readouterr().err
    assert not {"\x1b", "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}", "\r"} & set(said)
    assert said.startswith("tideover: ") and said.count("\n") == 1


@pytest.mark.slow
def test_a_fault_of_ours_ends_with_status_70_and_a_trace():
    program = ("import sys, tideover.cli\ntideover.cli._run_words = lambda words: 1 // 0\nsys.argv = ['tideover', 'status']\n"
               "sys.exit(tideover.cli.main())")
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == EXIT_BUG and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(("trouble", "told"), [
    (OSError(24, "Too many open files", "/etc/x"), "cannot continue: too many open files (/etc/x). Raise the limit"),
    (OSError(28, "No space left on device"), "cannot write the output: no space left on device. Free disk space"),
    (MemoryError(), "cannot continue: out of memory."),
    (ImportError("libx.so: failed to map\nsegment"), "cannot load a part of the program: libx.so: failed to map segment."),
    (RuntimeError("can't start new thread"), "cannot continue: no thread can be started."),
])
def test_what_the_system_lacks_is_reported_in_one_sentence(monkeypatch, capsys, trouble, told):
    def fail(words: list[str]) -> int:
        raise trouble

    monkeypatch.setattr("tideover.cli._run_words", fail)
    assert main(["status"]) == EXIT_NO
    said = capsys.readouterr().err
    assert said.startswith(f"tideover: {told}") and said.count("\n") == 1


def test_a_scenario_is_read_up_to_a_bound(tmp_path):
    """A device that never ends, named by mistake, takes no memory."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, before[1]))
    try:
        with pytest.raises(WrongUseError, match="larger than 256 KiB"):
            read_scenario("/dev/zero")
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
