"""Hooks on Windows: what is run and how, and that nothing of a hook outlives its end."""
from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tideover.effects import RunHook
from tideover.hooks.directory import read_catalogue
from tideover.hooks.environment import environment_markers
from tideover.hooks.environment_file import OwnerVariables
from tideover.hooks.orphans import OrphanRun, end_orphans
from tideover.hooks.runner import HookRunner
from tideover.hooks.windows_process import job_name
from tideover.model import HookOutcome, HookPhase, HookReport, HookSpec, Kind
from tideover.observations import HookSettled, Observation
from tideover.settings import default_settings, options_for
from tideover.winapi.base import system_directory
from tideover.winapi.processes import Job

AGENT = Path(__file__).parents[1] / "hooks_agent.py"
PATIENCE_S = 20.0
SYSTEM_ROOT = os.environ["SYSTEMDRIVE"] + "\\"        # where every hook starts
BEATS = """
import os, subprocess, sys, time
from pathlib import Path
home, depth = Path(sys.argv[1]), int(sys.argv[2])
if depth:
    subprocess.Popen([sys.executable, __file__, str(home), str(depth - 1)], creationflags=0x8 | 0x200,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
(home / f"pid-{depth}").write_text(str(os.getpid()))
while True:
    (home / f"beat-{depth}").write_text(str(time.time()))
    time.sleep(0.02)
"""
"""A process that starts another one detached and in a group of its own, and so on; each writes down that it lives."""


class Bench:
    def __init__(self, home: Path) -> None:
        self.home, self.hooks, self.state = home, home / "hooks.d", home / "state"
        self.hooks.mkdir(parents=True)
        self.answers: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.lines: list[str] = []
        self.environment: dict[str, str] = {}
        self.runner = HookRunner(self.answers.put, self.state, environment_of=lambda name: OwnerVariables(self.environment),
                                 log_line=lambda name, line: self.lines.append(line))
        self._runs = 0

    def write(self, file: str, text: str) -> HookSpec:
        path = self.hooks / file
        path.write_bytes(text.replace("\n", "\r\n").encode())
        return HookSpec(Path(file).stem[3:], int(file[:2]), str(path))

    def order(self, spec: HookSpec, phase: HookPhase = HookPhase.PREPARE, limit_s: float = PATIENCE_S) -> RunHook:
        self._runs += 1
        return RunHook(spec, phase, self._runs, 1, limit_s, "event-1", Kind.FREEZE,
                       "resumed" if phase is HookPhase.RECOVER else "")

    def run(self, spec: HookSpec, phase: HookPhase = HookPhase.PREPARE, limit_s: float = PATIENCE_S,
            record: bytes = b"{}") -> HookReport:
        self.runner.start(self.order(spec, phase, limit_s), record, "trace-1")
        return self.answer()

    def answer(self) -> HookReport:
        answer = self.answers.get(timeout=2 * PATIENCE_S)
        assert isinstance(answer, HookSettled)
        return answer.report

    def tree(self, depth: int = 2) -> str:
        """The line of a .cmd hook that starts a tree of so many generations."""
        program = self.home / "beats.py"
        program.write_text(BEATS)
        return f'"{sys.executable}" "{program}" "{self.home}" {depth}'

    def until(self, question: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not question():
            assert time.monotonic() < end, f"it never came: {self.lines}"
            time.sleep(0.02)

    def all_beat(self, depth: int = 2) -> bool:
        return all((self.home / f"beat-{one}").exists() for one in range(depth + 1))

    def anybody_lives(self, depth: int = 2) -> list[int]:
        pids = [int((self.home / f"pid-{one}").read_text()) for one in range(depth + 1)]
        return [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "a place (with) & signs")
    yield made
    made.runner.close()
    for file in made.home.glob("pid-*"):        # what a faulty agent has let live
        with suppress(OSError):
            os.kill(int(file.read_text()), signal.SIGTERM)      # TerminateProcess, on Windows


# --- what is run, and what it is given ------------------------------------------------------------------------------

@pytest.mark.parametrize("status, outcome", [
    (0, HookOutcome.DONE), (3, HookOutcome.NOTHING), (4, HookOutcome.REFUSED), (75, HookOutcome.NOT_YET),
    (1, HookOutcome.FAILED), (9009, HookOutcome.FAILED), (-1073741819, HookOutcome.FAILED)])
def test_an_exit_status_means_what_it_means_everywhere(bench: Bench, status: int, outcome: HookOutcome) -> None:
    report = bench.run(bench.write("10-one.cmd", f"@exit /b {status}\n"))
    assert report.outcome is outcome
    assert report.exit_status == status % 2**32


def test_a_batch_hook_gets_its_phase_and_the_record_and_starts_at_the_system_drives_root(bench: Bench) -> None:
    spec = bench.write("10-one.cmd", "@echo off\necho %1 %TIDEOVER_PHASE% %TIDEOVER_KIND% %TIDEOVER_REASON%\nmore\ncd\n")
    record = json.dumps({"event_id": "e"}).encode()
    report = bench.run(spec, HookPhase.RECOVER, record=record)
    assert report.outcome is HookOutcome.DONE
    said = report.output.split("\n")
    assert said[0] == "recover recover freeze resumed"
    received, end = json.JSONDecoder().raw_decode(said[1])
    assert (received, said[1][end:]) == ({"event_id": "e"}, SYSTEM_ROOT)


def test_a_bat_file_and_a_python_file_are_hooks_as_well(bench: Bench) -> None:
    assert bench.run(bench.write("10-old.bat", "@echo %1\n")).output.strip() == "prepare"
    spec = bench.write("20-snake.py", "import sys\nprint(sys.argv[1], len(sys.stdin.buffer.read()))\nsys.exit(3)\n")
    report = bench.run(spec, record=b"x" * 300_000)
    assert (report.outcome, report.output) == (HookOutcome.NOTHING, "prepare 300000\n")


def test_a_program_is_a_hook_as_well(bench: Bench) -> None:
    path = bench.hooks / "10-who.exe"
    shutil.copy(Path(system_directory()) / "hostname.exe", path)
    report = bench.run(HookSpec("who", 10, str(path)))
    assert report.exit_status is not None and report.outcome in (HookOutcome.DONE, HookOutcome.FAILED)


def test_a_powershell_hook_is_handed_to_powershell_by_its_file(bench: Bench) -> None:
    """Whether PowerShell does what it says cannot be seen here: under Wine it is a stub."""
    from tideover.hooks.windows_process import command_for
    line = command_for("C:\\hooks.d\\10-a b.ps1", "prepare")
    assert line.lower().startswith("c:\\windows\\system32\\windowspowershell\\v1.0\\powershell.exe ")
    assert line.endswith('-ExecutionPolicy Bypass -File "C:\\hooks.d\\10-a b.ps1" prepare')


def test_a_hook_that_never_reads_delays_no_other(bench: Bench) -> None:
    report = bench.run(bench.write("10-one.cmd", "@exit /b 0\n"), record=b"x" * 2_000_000)
    assert report.outcome is HookOutcome.DONE


def test_a_hook_sees_what_it_needs_of_windows_and_nothing_of_ours(bench: Bench) -> None:
    os.environ["SECRET_OF_THE_AGENT"] = "x"
    spec = bench.write("10-one.cmd", "@set\n")
    bench.environment.update({"tideover_kind": "mine", "OWNERS": "word", "Path": "C:\\own"})
    seen = dict(line.split("=", 1) for line in bench.run(spec).output.splitlines() if "=" in line)
    names = {name.upper(): value for name, value in seen.items()}
    assert {"SYSTEMROOT", "COMSPEC", "PATHEXT", "HOME", "TIDEOVER_STATE_DIR"} <= set(names)
    assert "SECRET_OF_THE_AGENT" not in names
    assert (names["TIDEOVER_KIND"], names["OWNERS"]) == ("freeze", "word")
    assert len(names) == len(seen)


def test_what_is_printed_comes_as_lines_of_utf8(bench: Bench) -> None:
    text = "import sys\nsys.stdout.buffer.write(b'one\\r\\ntwo \\xc3\\xa4\\r\\n\\x84 oem\\r\\nlast')\n"
    report = bench.run(bench.write("10-one.py", text))
    said = report.output.split("\n")
    assert (said[0], said[1], said[3]) == ("one", "two ä", "last")
    assert said[2].endswith(" oem")
    assert bench.lines[0] == "one"


def test_much_output_keeps_its_end(bench: Bench) -> None:
    report = bench.run(bench.write("10-one.py", "for n in range(40000): print(n)\n"))
    assert report.output.endswith("39999\n") and len(report.output) <= 64 * 1024


def test_another_users_hook_is_refused(bench: Bench) -> None:
    spec = bench.write("10-one.cmd", "@exit /b 0\n")
    report = bench.run(HookSpec(spec.name, spec.order, spec.path, user="somebody-else"))
    assert report.outcome is HookOutcome.REFUSED and "somebody-else" in report.note


def test_a_hook_that_is_gone_is_reported_in_a_sentence(bench: Bench) -> None:
    report = bench.run(HookSpec("one", 10, str(bench.hooks / "10-one.cmd")))
    assert report.outcome is HookOutcome.FAILED and "10-one.cmd" in report.note


# --- the catalogue --------------------------------------------------------------------------------------------------

def test_the_catalogue_has_files_with_a_suffix_and_their_names_go_without(bench: Bench) -> None:
    for file in ("10-one.cmd", "20-two.PY", "30-three.ps1", "40-four", "50-five.vbs", "60-six.cmd.bak"):
        bench.write(file, "rem\n")
    bench.write("70-empty.cmd", "")
    found = read_catalogue(bench.hooks, lambda name: options_for(default_settings(), name))
    assert [(hook.order, hook.name, hook.refused) for hook in found.hooks if hook.name != "empty"] == [
        (10, "one", None), (20, "two", None), (30, "three", None)]
    assert "is empty" in str(next(hook.refused for hook in found.hooks if hook.name == "empty"))
    assert {file for file, _ in found.ignored} == {"40-four", "50-five.vbs"}


# --- the end --------------------------------------------------------------------------------------------------------

def test_a_hook_that_never_ends_is_killed_with_its_whole_tree(bench: Bench) -> None:
    """Detached, in a group of its own, grandchildren: a job has them all."""
    spec = bench.write("10-one.cmd", f"@{bench.tree()}\n")
    bench.runner.start(bench.order(spec, limit_s=8.0), b"{}", "trace-1")
    bench.until(bench.all_beat)
    report = bench.answer()
    assert report.outcome is HookOutcome.TIMED_OUT
    assert bench.anybody_lives() == []


def test_a_cancelled_hook_is_ended_at_once_with_its_whole_tree(bench: Bench) -> None:
    order = bench.order(bench.write("10-one.cmd", f"@{bench.tree()}\n"), limit_s=60.0)
    bench.runner.start(order, b"{}", "trace-1")
    bench.until(bench.all_beat)
    began = time.monotonic()
    bench.runner.cancel(order.key)
    assert bench.answer().outcome is HookOutcome.STOPPED
    assert time.monotonic() - began < 10.0
    assert bench.anybody_lives() == []


def test_what_a_hook_leaves_behind_by_ending_itself_lives_on_and_can_go_on_talking(bench: Bench) -> None:
    """A hook may start a service's process; that is not ours to end."""
    bench.tree(0)
    text = (f"import subprocess, sys\nsubprocess.Popen([sys.executable, r'{bench.home / 'beats.py'}', "
            f"r'{bench.home}', '0'])\n")
    assert bench.run(bench.write("10-one.py", text)).outcome is HookOutcome.DONE
    bench.until(lambda: bench.all_beat(0))
    bench.runner.close()
    time.sleep(0.2)
    (alive,) = bench.anybody_lives(0)
    os.kill(alive, signal.SIGTERM)


def test_hooks_die_with_the_agent_that_started_them(bench: Bench) -> None:
    """However it dies: the system closes its handles, and with the last one to a job goes what is in it."""
    bench.write("10-one.cmd", f"@{bench.tree()}\n")
    agent = subprocess.Popen([sys.executable, str(AGENT), str(bench.state), str(bench.hooks / "10-one.cmd"), "60", "1"])
    bench.until(bench.all_beat)
    agent.kill()
    agent.wait()
    bench.until(lambda: bench.anybody_lives() == [])


def test_the_agent_after_a_crash_ends_what_was_kept_alive_and_erases_the_trace(bench: Bench) -> None:
    """A job lives as long as any process has a handle to it; its name follows from the run."""
    path = bench.hooks / "10-one.cmd"
    bench.write("10-one.cmd", f"@{bench.tree()}\n")
    agent = subprocess.Popen([sys.executable, str(AGENT), str(bench.state), str(path), "60", "1"])
    bench.until(bench.all_beat)
    # hooks_agent.py cuts three characters off the file's name, and Windows' suffix belongs to it there
    run = OrphanRun("one.cmd", HookPhase.PREPARE, 1, "trace-1")
    marks = environment_markers(run.title, run.trace_id, str((bench.state / "one.cmd").resolve()))
    kept = Job.open(job_name(marks))
    assert kept is not None
    trace = list((bench.state / ".running").glob("*.json"))
    assert len(trace) == 1
    agent.kill()
    agent.wait()
    assert len(bench.anybody_lives()) == 3
    (ended,) = end_orphans(bench.state, [])
    kept.close()
    assert (ended.of, ended.left) == (run, 0)
    assert ended.found >= 3
    assert bench.anybody_lives() == []
    assert not list((bench.state / ".running").glob("*.json"))


def test_a_recovered_hooks_directory_is_gone_and_the_next_one_is_empty(bench: Bench) -> None:
    spec = bench.write("10-one.cmd", '@dir /b "%TIDEOVER_STATE_DIR%"\n@echo x > "%TIDEOVER_STATE_DIR%\\kept.txt"\n')
    bench.run(spec)
    assert "kept.txt" in bench.run(spec, HookPhase.RECOVER).output
    assert not (bench.state / "one").exists()
    assert "kept.txt" not in bench.run(spec).output


def test_a_directory_in_use_is_empty_for_the_next_prepare(bench: Bench) -> None:
    """A program that a hook left behind holds it, and Windows does not let it go."""
    bench.tree(0)
    text = (f"import os, subprocess, sys\nfrom pathlib import Path\nos.chdir(os.environ['TIDEOVER_STATE_DIR'])\nprint(sorted(os.listdir()))\n"
            f"if sys.argv[1] == 'prepare' and not Path(r'{bench.home / 'pid-0'}').exists():\n    Path('kept').touch()\n"
            f"    subprocess.Popen([sys.executable, "
            f"r'{bench.home / 'beats.py'}', r'{bench.home}', '0'], stdin=-3, stdout=-3, stderr=-3)\n")
    spec = bench.write("10-one.py", text)
    assert bench.run(spec).outcome is HookOutcome.DONE
    bench.until(lambda: bench.all_beat(0))
    assert bench.run(spec, HookPhase.RECOVER).output == "['kept']\n"
    assert bench.run(spec).output == "[]\n"
