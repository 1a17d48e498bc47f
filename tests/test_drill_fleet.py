"""The drill of a fleet: three agents, a shared event, and one event each with one slot; it says no where one of that did not hold."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tideover.cli import main
from tideover.drill.fleet import NAMES, FleetDrill

AGENT = Path(__file__).parents[1] / "agent"


@pytest.mark.slow
def test_three_machines_go_one_after_the_other_and_a_shared_event_has_one_acknowledgement(tmp_path):
    told = subprocess.run([sys.executable, "-m", "tideover", "drill", "--fleet", "--pause", "1500ms", "--json"], text=True,
                          capture_output=True, timeout=150, env={**os.environ, "PYTHONPATH": str(AGENT), "TMPDIR": tempfile.gettempdir()})
    document = json.loads(told.stdout)
    assert (told.returncode, told.stderr, document["held"], document["acknowledgements"]) == (0, "", True, 4), document
    assert [check["held"] for check in document["checks"]] == [True] * 5
    assert document["folders"] == [] and {line["who"] for line in document["timeline"]} == {"platform", "machine", "store", *NAMES}


@pytest.fixture
def drill():
    one = FleetDrill(1.0, lambda line: None)
    with one:
        yield one


def noted(drill: FleetDrill, name: str, *runs: tuple[str, float, float]) -> None:
    """What the hooks of a machine wrote down: phase, begin, end."""
    folder = next(machine.folder for machine in drill.machines if machine.name == name)
    folder.notes.write_text("".join(f"{begin:.3f} 10-notes {phase} begun -\n{end:.3f} 10-notes {phase} done -\n"
                                    for phase, begin, end in runs))


def test_two_machines_away_at_once_are_a_broken_check(drill):
    """Each machine: the shared event first, then its own."""
    for number, name in enumerate(NAMES):
        noted(drill, name, ("prepare", 1, 2), ("recover", 3, 4), ("prepare", 10 + number, 11 + number), ("recover", 11.2 + number, 11.9 + number))
    drill._entries.append((1.0, 1))
    assert [finding.held for finding in drill._check() if finding.guarantee == 2] == [False]
    for number, name in enumerate(NAMES):
        noted(drill, name, ("prepare", 1, 2), ("recover", 3, 4), ("prepare", 10 + 5 * number, 11 + 5 * number),
              ("recover", 12 + 5 * number, 13 + 5 * number))
    assert [finding.held for finding in drill._check() if finding.guarantee == 2] == [True]
    drill._entries.append((2.0, 2))
    assert [finding.held for finding in drill._check() if finding.guarantee == 2] == [False]


def test_a_drill_in_which_nothing_happened_is_no_success(drill):
    assert [finding.held for finding in drill._check()] == [False, False, False, False, True]


@pytest.mark.parametrize("words", [["--cancel"], ["--hooks"], ["--kind", "reboot"], ["--platform", "gcp"]])
def test_what_means_nothing_for_a_fleet_is_refused(words, capsys):
    assert main(["drill", "--fleet", *words]) == 2
    assert f"{words[0]} cannot be combined with --fleet" in capsys.readouterr().err
