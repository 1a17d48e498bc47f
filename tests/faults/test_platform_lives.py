"""The whole life of an event of each other platform while something around the agent is out of order."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.test_platform_deaths import CONFIGURATION, Played, start
from faults.test_whole_lives import (
    configuration_faulty,
    disk_full,
    log_pipe_full,
    no_descriptor,
    package_removed,
    three_descriptors,
)
from running_agent import World
from tideover.platforms import platform_named
from tideover.simulator import TimeServer, load_simulator

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("descriptors, mounts, and the stand-in of vmtoolsd", allow_module_level=True)


class PlatformWorld(World):
    """A world whose configuration names another platform."""

    source = ""

    def configure(self, more: str = "", deadline: str = "60s") -> None:
        assert self.time_server is not None
        text = CONFIGURATION.format(kind=self.kind, source=self.source, time_server=self.time_server.address, home=self.home)
        (self.home / "tideover.toml").write_text(f"{text}{more}\n")


@pytest.fixture(params=["gcp", "aws", "vsphere"])
def played(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Played]:
    simulator = load_simulator(platform_named(request.param))
    service: Any = simulator.open_service("vm-1")
    with service, TimeServer() as clock:
        here = PlatformWorld(tmp_path, service, clock, request.param)
        here.source = "\n".join(f'{key} = "{text}"' for key, text in simulator.source_settings(service).items())
        yield Played(here, request.param, service, simulator.EVENT_WORDS["freeze"])
        here.close()


ANY_PLATFORMS = [pytest.param(disorder, marks=pytest.mark.extra) for disorder in (
    log_pipe_full, three_descriptors, configuration_faulty)]         # hardly a matter of the platform: by hand


@pytest.mark.parametrize("disorder", [no_descriptor, disk_full, package_removed, *ANY_PLATFORMS],
                         ids=lambda disorder: disorder.__name__)
def test_the_whole_life_of_another_platforms_event_while_something_is_out_of_order(played, disorder):
    """Prepared, acknowledged where the platform takes that, recovered by a good clock, and recorded with its pause."""
    here, service = played.world, played.service
    with disorder(here) as life:
        life.start()
        if played.kind == "vsphere":
            here.until(lambda: service.registered is not None)
        event = service.add_event(played.word, not_before_in_s=60.0)
        here.until(lambda: played.saw("prepare-ended"))
        if played.kind == "vsphere":
            here.until(lambda: service.acknowledgements)
        life.comes_to("acknowledged")
        time.sleep(0.5)
        begin(played, event)
        with here.stopped():
            time.sleep(1.5)
        time.sleep(0.5)
        service.remove_event(event)
        here.until(lambda: played.saw("recover-ended"), 40.0)
        life.comes_to("recovered")
        here.until(lambda: here.record()["status"] == "closed", 40.0)
        record = here.record()
        assert here.begun() == ["app prepare", "app recover"]
        assert [line[6] for line in here.lines() if line[2] == "recover"] == ["good"]
        assert record["outcome"] == "resumed" and record["clock"]["verdict"] == "good"
        assert any(pause["length_s"] >= 1.0 for pause in record["pauses"]), record["pauses"]
        assert len(service.acknowledgements) == (1 if played.kind == "vsphere" else 0)
        life.stop()


def begin(played: Played, event: str) -> None:
    """As `start`, where the journal cannot be written either."""
    if played.kind == "vsphere":
        return start(played, event)
    played.service.start_event(event)
    played.service.platform_ahead_s = 61.0
    time.sleep(1.5)
    return None
