"""Hooks whose servers do not run here, against strict fakes: what was asked for, and nothing else."""
from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def node(hook: Hook, path: str = "/api/v1/nodes/n1") -> dict[str, Any]:
    """What the API server says of the node, or of another object."""
    request = urllib.request.Request(hook.settings["API"] + path, headers={"Authorization": "Bearer secret"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.loads(answer.read()))


def condition(hook: Hook) -> tuple[str, str, str]:
    """Status, reason and message of the node's condition MaintenanceScheduled."""
    others = [one for one in node(hook)["status"]["conditions"] if one["type"] != "MaintenanceScheduled"]
    assert others == [{"type": "Ready", "status": "True"}], "no other condition is touched"
    [found] = [one for one in node(hook)["status"]["conditions"] if one["type"] == "MaintenanceScheduled"]
    return found["status"], found["reason"], found["message"]


def events(hook: Hook) -> list[tuple[str, str]]:
    """Reason and message of each Event."""
    return [(one["reason"], one["message"]) for one in node(hook, "/api/v1/namespaces/default/events")["items"]]


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
    """A wrong token changes nothing and is reported."""
    hook, _ = cluster
    (tmp_path / "wrong").write_text("wrong\n")
    ran = replace(hook, settings={**hook.settings, "TOKEN_FILE": str(tmp_path / "wrong")}).prepare()
    assert ran.status == FAILED and "401" in ran.output


AHEAD = {"TIDEOVER_EVENT_ID": "E-1", "TIDEOVER_NOT_BEFORE": "2026-11-28T10:15:00.000Z", "TIDEOVER_EXPECTED_PAUSE_S": "9.0"}


def test_kubernetes_publishes_nothing_unless_asked(cluster: tuple[Hook, Path]) -> None:
    """Its service account needs no right to that either."""
    hook, _ = cluster
    assert hook.prepare(**AHEAD).status == hook.recover().status == DONE
    assert node(hook)["status"] == {"conditions": [{"type": "Ready", "status": "True"}]} and events(hook) == []


def test_kubernetes_publishes_kind_not_before_and_length_and_that_it_is_over(cluster: tuple[Hook, Path]) -> None:
    """Once each: a run that is repeated sends no second Event."""
    first, _ = cluster
    hook = replace(first, settings={**first.settings, "PUBLISH": "yes"})
    what = "freeze, NotBefore 2026-11-28T10:15:00.000Z, expected pause 9 s"
    for _ in range(2):
        assert hook.prepare(**AHEAD).status == DONE
        assert condition(hook) == ("True", "Freeze", what)
        assert events(hook) == [("MaintenanceScheduled", what)]
    after = {**AHEAD, "TIDEOVER_REASON": "resumed", "TIDEOVER_PAUSE_S": "7.02"}
    assert hook.recover(**after).status == DONE
    assert condition(hook) == ("False", "Resumed", "freeze is over: resumed, pause 7.0 s")
    assert [reason for reason, _ in events(hook)] == ["MaintenanceScheduled", "MaintenanceOver"]
    assert node(hook)["spec"] == {"podCIDR": "x"}


def test_kubernetes_publishes_for_a_node_that_an_operator_has_cordoned_and_says_what_is_not_known(cluster: tuple[Hook, Path]) -> None:
    """It must end the condition then, so it is recovered; the operator's mark stays."""
    first, _ = cluster
    assert first.prepare().status == DONE
    hook = replace(first, state=first.state.with_name("second"), kind="reboot", settings={**first.settings, "PUBLISH": "yes"})
    assert hook.prepare(TIDEOVER_EVENT_ID="E-2").status == DONE
    assert condition(hook) == ("True", "Reboot", "reboot, NotBefore not known, expected pause not known")
    assert hook.recover(TIDEOVER_EVENT_ID="E-2", TIDEOVER_REASON="cancelled").status == DONE
    assert condition(hook)[:2] == ("False", "Cancelled") and node(hook)["spec"]["unschedulable"] is True


def test_kubernetes_prepares_though_nothing_can_be_published(cluster: tuple[Hook, Path]) -> None:
    """Here for a reason that the API server does not take. Recover fails then, so that the agent tries it again."""
    first, _ = cluster
    hook = replace(first, settings={**first.settings, "PUBLISH": "yes"})
    ran = hook.prepare(**AHEAD, TIDEOVER_KIND="!")
    assert ran.status == DONE and "not published: " in ran.output and node(hook)["spec"]["unschedulable"] is True
    assert hook.recover(**AHEAD, TIDEOVER_REASON="!").status == FAILED
    assert hook.recover(**AHEAD, TIDEOVER_REASON="resumed").status == DONE
    assert condition(hook)[:2] == ("False", "Resumed")
