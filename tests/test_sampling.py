"""A sampled run leaves nothing out for good."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sampling import ROOT, plan, runs_in, turn_of_head

TURNS, FILES = plan()
CASES = [f"{file}::test_{number}" for file in (*FILES, "tests/test_agent.py") for number in range(11)]


def test_in_a_round_of_turns_every_proof_is_run():
    runs = [runs_in(turn, CASES) for turn in range(TURNS)]
    assert all(map(any, zip(*runs, strict=True)))


def test_what_is_not_named_runs_in_every_turn():
    assert all(all(runs_in(turn, ["tests/test_agent.py::test_x"] * 5)) for turn in range(TURNS))


def test_the_cases_of_a_dealt_file_are_each_run_once_in_a_round():
    dealt = [f"{file}::test_{number}" for file, rule in FILES.items() if rule == "dealt" for number in range(9)]
    assert [sum(told) for told in zip(*(runs_in(turn, dealt) for turn in range(TURNS)), strict=True)] == [1] * len(dealt)


@pytest.mark.parametrize("file", FILES)
def test_what_is_sampled_exists_and_has_turns_there_are(file):
    assert (ROOT / file).is_file(), f"tests/sampled.toml names {file}"
    assert FILES[file] == "dealt" or (set(FILES[file]) <= set(range(TURNS)) and FILES[file])


@pytest.mark.slow
def test_commits_that_follow_each_other_have_turns_that_do(tmp_path, monkeypatch):
    monkeypatch.setattr("sampling.ROOT", tmp_path)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    turns = []
    for _ in range(TURNS + 1):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
        turns.append(turn_of_head())
    assert turns == [(turns[0] + n) % TURNS for n in range(TURNS + 1)]


TINY = """
import pytest
def test_quick(): pass
@pytest.mark.slow
def test_slow(): pass
@pytest.mark.slow
def test_without_its_tool(): pytest.skip("no such tool here")
"""


@pytest.mark.slow
@pytest.mark.parametrize("words, told", [
    ([], ["1 passed", "pytest -m slow"]),
    (["-m", "slow"], ["1 passed", "1 skipped", "no such tool here"]),
    (["-m", ""], ["2 passed", "1 skipped", "no such tool here"]),
    (["test_tiny.py::test_slow"], ["1 passed"]),
])
def test_plain_pytest_is_the_fast_suite_and_says_how_to_run_the_rest(tmp_path, words, told):
    """And `-m slow` tells what was skipped and why; a proof that is named runs."""
    for name in ("conftest.py", "sampling.py", "sampled.toml"):
        (tmp_path / name).write_text((ROOT / "tests" / name).read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    (tmp_path / "test_tiny.py").write_text(TINY)
    unsampled = {name: value for name, value in os.environ.items() if not name.startswith("TIDEOVER_")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words], cwd=tmp_path, env=unsampled, capture_output=True, text=True)
    assert done.returncode == 0 and all(text in done.stdout for text in told), done.stdout + done.stderr
