"""An event of each other platform, with an agent that is killed at each step of its life and started again: what was
prepared is recovered, the record is closed, and an acknowledgement is sent once and only by who is prepared."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from running_agent import World
from tideover.platforms import platform_named
from tideover.simulator import TimeServer, load_simulator

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("kill -9, and the stand-in of vmtoolsd", allow_module_level=True)

STEPS = ("prepare", "prepare-ended", "started", "recover", "recover-ended")
SLOW_HOOK = "sleep 0.4"
CONFIGURATION = """
[source]
kind = "{kind}"
poll = "100ms"
{source}
[policy]
prepare = "at-once"
[pause]
settle = "300ms"
[clock]
servers = ["{time_server}"]
[paths]
hooks = "{home}/hooks.d"
state = "{home}/state"
runtime = "{home}/run"
"""


@dataclass
class Played:
    """A world of one platform. `word`: of the event."""

    world: World
    kind: str
    service: Any
    word: str
    is_killed: bool = False

    def kill_at(self, step: str, now: str) -> None:
        """Kill the agent, and start it again, if this is the step."""
        if step == now and not self.is_killed:
            self.is_killed = True
            self.world.kill()
            self.world.start(asks=False)

    def saw(self, phase: str) -> bool:
        return any(line[2] == phase for line in self.world.lines())


@pytest.fixture(params=["gcp", "aws", "vsphere"])
def played(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Played]:
    simulator = load_simulator(platform_named(request.param))
    service = simulator.open_service("vm-1")
    with service, TimeServer() as clock:
        world = World(tmp_path, service, clock, request.param)
        world.hook("10-web", SLOW_HOOK)
        source = "\n".join(f'{key} = "{text}"' for key, text in simulator.source_settings(service).items())
        (tmp_path / "tideover.toml").write_text(CONFIGURATION.format(
            kind=request.param, source=source, time_server=clock.address, home=tmp_path))
        yield Played(world, request.param, service, simulator.EVENT_WORDS["freeze"])
        world.close()


@pytest.mark.parametrize("step", STEPS)
def test_an_event_of_another_platform_survives_the_death_of_the_agent_at_each_step(played, step):
    world, service = played.world, played.service
    world.start()
    if played.kind == "vsphere":
        world.until(lambda: service.registered is not None)
    event = service.add_event(played.word, not_before_in_s=60.0)
    world.until(lambda: played.saw("prepare"))
    played.kill_at(step, "prepare")
    world.until(lambda: played.saw("prepare-ended"))
    played.kill_at(step, "prepare-ended")
    if played.kind == "vsphere":
        world.until(lambda: service.acknowledgements)
    time.sleep(0.5)
    start(played, event)
    played.kill_at(step, "started")
    time.sleep(0.5)
    service.remove_event(event)
    world.until(lambda: played.saw("recover"), 30.0)
    played.kill_at(step, "recover")
    world.until(lambda: played.saw("recover-ended"), 30.0)
    played.kill_at(step, "recover-ended")
    world.until(lambda: world.record()["status"] == "closed", 30.0)
    judge(played, step)


def start(played: Played, event: str) -> None:
    """The event begins, as far as its platform shows it: on Google's by the end of the notice, on AWS's by NotBefore."""
    played.service.start_event(event)
    if played.kind in ("gcp", "aws"):
        played.service.platform_ahead_s = 61.0
        played.world.until(lambda: played.world.record().get("started_at"), 30.0)


def judge(played: Played, step: str) -> None:
    begun = played.world.begun()
    prepares, recovers = begun.count("web prepare"), begun.count("web recover")
    assert 1 <= prepares <= 2 and 1 <= recovers <= 2 and begun[-1] == "web recover", begun
    assert begun.index("web recover") > begun.index("web prepare")
    assert len(played.world.records()) == 1 and played.world.record()["outcome"] == "resumed"
    assert not list((played.world.home / "state/hooks").glob("web"))
    acknowledged = len(played.service.acknowledgements)
    assert acknowledged in ((0,) if played.kind != "vsphere" else (1, 2) if step == "prepare-ended" else (1,)), (
        "an acknowledgement is repeated only where the agent died before it had the answer")
    if acknowledged:
        ended = min(float(line[0]) for line in played.world.lines() if line[2] == "prepare-ended")
        assert played.service.acknowledgements[0].at >= ended - 0.01
