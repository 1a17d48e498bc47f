"""Hooks whose servers do not run here, against strict fakes: what was asked for, and nothing else."""
from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .running import DONE, FAILED, NOT_YET, NOTHING, Hook
from .worlds.basics import fake_on_loopback

pytestmark = pytest.mark.slow

A_JOB, B_JOB = "a" * 32, "b" * 32


@pytest.fixture
def flink(tmp_path: Path) -> Iterator[tuple[Hook, Path]]:
    """The hook at a fake JobManager, and what that was asked."""
    log = tmp_path / "asked"
    log.touch()
    with fake_on_loopback("flink", str(log)) as place:
        yield Hook("flink-checkpoint", tmp_path / "state", {"URL": f"http://{place}"}), log


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Hook, Path]]:
    """The hook at a fake API server, and what that was asked."""
    log, token = tmp_path / "asked", tmp_path / "token"
    log.touch()
    token.write_text("secret\n")
    with fake_on_loopback("kubernetes", str(log)) as place:
        settings = {"API": f"http://{place}", "TOKEN_FILE": str(token), "NODE": "n1"}
        yield Hook("kubernetes-cordon", tmp_path / "state", settings), log


def node(hook: Hook) -> dict[str, dict[str, object]]:
    """What the API server says of the node."""
    request = urllib.request.Request(hook.settings["API"] + "/api/v1/nodes/n1", headers={"Authorization": "Bearer secret"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.loads(answer.read()))


def test_flink_takes_a_checkpoint_of_every_running_job(flink: tuple[Hook, Path]) -> None:
    """Before a freeze jobs go on; a run too short for the checkpoint says "not yet"."""
    hook, log = flink
    assert hook.run("prepare", seconds_left=1).status == NOT_YET
    log.write_text("")
    assert hook.prepare().status == DONE
    assert {line.split()[0] for line in log.read_text().splitlines()} == \
        {f"/jobs/{job}/checkpoints" for job in (A_JOB, B_JOB)}
    assert hook.recover().status == DONE


def test_flink_stops_each_job_once_and_starts_it_from_its_savepoint(flink: tuple[Hook, Path]) -> None:
    """Run again with too little time, a job is not asked to stop twice; the jar gets the savepoint's path."""
    first, log = flink
    hook = replace(first, kind="reboot", settings={**first.settings, "MODE": "stop", "JOBS": A_JOB, "JAR": "job.jar"})
    assert hook.run("prepare", seconds_left=1).status == NOT_YET
    assert hook.prepare().status == DONE
    assert hook.recover(TIDEOVER_REASON="cancelled").status == DONE
    stops, starts = ([json.loads(line.split(" ", 1)[1]) for line in log.read_text().splitlines() if word in line]
                     for word in ("/stop", "/run"))
    assert len(stops) == 1
    assert starts == [{"savepointPath": f"file:/savepoints/{stops[0]['triggerId']}", "programArgsList": []}]


def test_kubernetes_cordons_and_uncordons_only_its_own(cluster: tuple[Hook, Path]) -> None:
    """Nothing else on the node changes; a node that an operator cordoned stays cordoned."""
    hook, log = cluster
    before = node(hook)
    assert hook.prepare().status == DONE
    assert node(hook)["spec"] == {"podCIDR": "x", "unschedulable": True}
    operator = replace(hook, state=hook.state.with_name("operator"))
    assert operator.prepare().status == NOTHING
    assert hook.recover().status == DONE
    after = node(hook)
    assert (after["spec"], after["metadata"]["annotations"]) == (before["spec"], before["metadata"]["annotations"])
    assert log.read_text() == ""


def test_kubernetes_evicts_before_a_restart_and_waits_for_budgets(cluster: tuple[Hook, Path]) -> None:
    """Pods of DaemonSets, static and finished ones stay; a budget's "later" is asked again."""
    first, log = cluster
    hook = replace(first, kind="reboot", settings={**first.settings, "EVICT": "yes"})
    ran = hook.prepare()
    assert ran.status == DONE, ran.output
    asked = [line.split("/")[-2] for line in log.read_text().splitlines()]
    assert sorted(asked) == ["guarded", "guarded", "web"]
    assert hook.recover().status == DONE
    assert node(hook)["spec"] == {"podCIDR": "x"}


def test_kubernetes_without_a_right_to_it_fails_plainly(cluster: tuple[Hook, Path], tmp_path: Path) -> None:
    """A wrong token changes nothing and is told."""
    hook, _ = cluster
    (tmp_path / "wrong").write_text("wrong\n")
    ran = replace(hook, settings={**hook.settings, "TOKEN_FILE": str(tmp_path / "wrong")}).prepare()
    assert ran.status == FAILED and "401" in ran.output
