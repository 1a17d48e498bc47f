"""The laws every hook keeps, played on its real servers: repeatable, killed anywhere and still recovered, in its time."""
from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bench as benches
from .conftest import own_directory
from .running import DONE, NAMES, NOT_YET, NOTHING, Hook, end_session
from .stages import STAGES, Stage
from .worlds.basics import until

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("TIDEOVER_SEED", time.time_ns() % 1_000_000))
KILLS = int(os.environ.get("TIDEOVER_KILLS", "3"))
SLACK_S = 2.5                            # this machine is shared: starting an interpreter alone may take a second


@pytest.fixture(scope="module", params=NAMES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """One hook's world, for all the laws."""
    reason = benches.missing()
    if reason:
        pytest.skip(reason)
    with own_directory() as home, benches.bench(3) as lab:
        yield STAGES[request.param](lab, home)


def prepared(stage: Stage, state: Path) -> Hook:
    """Given a stage, return its hook after a prepare that had something to do. Raise AssertionError otherwise."""
    hook = stage.hook(state)
    ran = hook.prepare()
    assert ran.status == DONE, ran.output
    return hook


def recovered(stage: Stage, hook: Hook, before: object) -> None:
    """Given a hook whose prepare was started, recover it. Raise AssertionError unless all is as it was."""
    ran = hook.recover()
    assert ran.status in (DONE, NOTHING), ran.output
    until(lambda: stage.look() == before, f"what was there is back: {before}, not {stage.look()}", 40)
    assert list(hook.state.iterdir()) == [], "recover keeps nothing"


def test_prepare_and_recover_may_each_run_twice(stage: Stage, tmp_path: Path) -> None:
    """Repeatable: the second prepare never says "nothing changed" (it would cost the recover), the second recover is idle."""
    before = stage.look()
    hook = prepared(stage, tmp_path / "state")
    again = hook.prepare()
    assert again.status == DONE, again.output
    recovered(stage, hook, before)
    assert hook.recover().status == NOTHING


def test_recover_without_prepare_touches_nothing(stage: Stage, tmp_path: Path) -> None:
    """A hook that was not prepared is not recovered; if it is run all the same it has nothing to do."""
    before = stage.look()
    assert stage.hook(tmp_path / "state").recover().status == NOTHING
    assert stage.look() == before


def test_a_prepare_killed_anywhere_is_recovered(stage: Stage, tmp_path: Path) -> None:
    """What prepare changes is on the disk before it acts."""
    chance = random.Random(SEED)
    print(f"TIDEOVER_SEED={SEED}")
    before = stage.look()
    for attempt in range(KILLS):
        hook = stage.hook(tmp_path / f"state{attempt}")
        process = hook.begin("prepare")
        time.sleep(chance.uniform(0.05, stage.typical_s))
        end_session(process)
        recovered(stage, hook, before)


def test_a_killed_prepare_may_run_again(stage: Stage, tmp_path: Path) -> None:
    """After a crash of the agent prepare is run again, and then recover."""
    chance = random.Random(SEED + 1)
    print(f"TIDEOVER_SEED={SEED}")
    before = stage.look()
    hook = stage.hook(tmp_path / "state")
    process = hook.begin("prepare")
    time.sleep(chance.uniform(0.05, stage.typical_s))
    end_session(process)
    assert hook.prepare().status in (DONE, NOTHING)
    recovered(stage, hook, before)


def test_a_frozen_server_does_not_hold_the_hook_beyond_its_time(stage: Stage, tmp_path: Path) -> None:
    """The deadline is the hook's own: a server that accepts and never answers must not make the agent kill it."""
    before = stage.look()
    hook = stage.hook(tmp_path / "state")
    stage.freeze()
    try:
        ran = hook.run("prepare", seconds_left=5)
    finally:
        stage.thaw()
    assert ran.took_s < 5 + SLACK_S, ran.output
    assert "Traceback" not in ran.output
    assert stage.frozen, "every hook has a server that can freeze"
    assert (ran.status in (DONE, NOTHING)) != stage.needs_them, ran.output
    until(lambda: hook.recover().status != NOT_YET, "recover ends", 60)
    until(lambda: stage.look() == before, "all is as it was", 60)


def test_recover_keeps_its_time_with_the_server_frozen_and_its_debt(stage: Stage, tmp_path: Path) -> None:
    """A recover that could not reach its server says so, keeps its recovery pending, and recovers when the server is back."""
    before = stage.look()
    hook = prepared(stage, tmp_path / "state")
    stage.freeze()
    try:
        ran = hook.run("recover", seconds_left=5)
    finally:
        stage.thaw()
    assert ran.took_s < 5 + SLACK_S, ran.output
    if ran.status != DONE:
        recovered(stage, hook, before)
    until(lambda: stage.look() == before, "all is as it was", 60)
