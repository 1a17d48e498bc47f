"""How much a Flink job computes twice when its TaskManager's machine stops for longer than its heartbeat: flink-checkpoint."""
from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from .bench import Bench, Machine
from .running import DONE, Hook
from .worlds.basics import until
from .worlds.streaming import flink, flink_libraries, flink_says

pytestmark = pytest.mark.slow

STOP_S = 12
HEARTBEAT_MS = 5000


def submit(lab: Bench, jar: Path, output: Path) -> str:
    """Given the job's jar and where it writes, run it and return its id once it writes."""
    name = str(flink_says(lab, "/jars/upload", "-F", f"jarfile=@{jar}")["filename"]).rsplit("/", 1)[1]
    started = flink_says(lab, f"/jars/{name}/run", "-H", "Content-Type: application/json",
                         "-d", f'{{"programArgsList": ["{output}"]}}')
    assert "jobid" in started, str(started)[-1500:]
    until(lambda: output.exists() and output.stat().st_size > 2000, "the job writes", 60)
    return str(started["jobid"])


def worker(lab: Bench, job: str) -> Machine:
    """The machine whose TaskManager runs the job."""
    vertex = flink_says(lab, f"/jobs/{job}")["vertices"]
    assert isinstance(vertex, list)
    found = re.search(r"10\.99\.0\.(\d)", str(flink_says(lab, f"/jobs/{job}/vertices/{vertex[0]['id']}/taskmanagers")))
    assert found
    return lab.machines[int(found[1]) - 1]


def twice(lab: Bench, home: Path, jar: Path, before: Callable[[Machine, str], None]) -> tuple[int, float]:
    """Given what to do before, stop the job's machine; return how many records were done twice and the longest gap."""
    output = home / f"out{time.monotonic_ns()}"
    job = submit(lab, jar, output)
    time.sleep(8)
    machine = worker(lab, job)
    before(machine, job)
    machine.stop_for(STOP_S)
    time.sleep(15)
    flink_says(lab, f"/jobs/{job}?mode=cancel", "-X", "PATCH")
    rows = [line.split() for line in output.read_text().splitlines()]
    at = sorted(int(row[0]) / 1000 for row in rows)
    gap_s = max(later - sooner for sooner, later in pairwise(at))
    until(lambda: flink_says(lab, "/overview").get("slots-available") == 2, "both TaskManagers are free", 60)
    return len(rows) - len({row[1] for row in rows}), gap_s


@pytest.mark.extra
def test_flink_checkpoint_leaves_little_to_do_twice(lab: Bench, home: Path, tmp_path: Path,
                                                    tell: Callable[[str, object], None]) -> None:
    """The checkpoint is right before the stop instead of somewhere in the last minute."""
    flink_libraries()
    jar = flink(lab, home, HEARTBEAT_MS)
    without, gap_s = twice(lab, home, jar, lambda machine, job: None)
    tell(f"flink, no hook, {STOP_S} s", f"done twice {without}, longest gap {gap_s:.1f} s")
    took: list[float] = []

    def before(machine: Machine, job: str) -> None:
        hook = Hook("flink-checkpoint", tmp_path / "state", inside=machine.inside,
                    settings={"URL": f"http://{lab.machines[2].address}:8081", "JOBS": job})
        ran = hook.prepare(seconds_left=20)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)
    with_hook, gap_s = twice(lab, home, jar, before)
    tell(f"flink, flink-checkpoint, {STOP_S} s", f"done twice {with_hook}, longest gap {gap_s:.1f} s; prepare {took[0]:.1f} s")
    assert without > 500
    assert with_hook < without / 4


@pytest.mark.extra
def test_flink_stop_with_a_savepoint_does_nothing_twice(lab: Bench, home: Path, tmp_path: Path,
                                                        tell: Callable[[str, object], None]) -> None:
    """Before a restart, with MODE=stop: the job goes on from its savepoint as the same jar."""
    flink_libraries()
    jar = flink(lab, home, HEARTBEAT_MS)
    output = home / "out"
    job = submit(lab, jar, output)
    uploaded = flink_says(lab, "/jars")["files"]
    assert isinstance(uploaded, list)
    time.sleep(3)
    hook = Hook("flink-checkpoint", tmp_path / "state", inside=lab.machines[0].inside, kind="reboot", settings={
        "URL": f"http://{lab.machines[2].address}:8081", "JOBS": job, "MODE": "stop", "JAR": uploaded[0]["id"],
        "ARGUMENTS": str(output)})
    ran = hook.prepare(seconds_left=30)
    assert ran.status == DONE, ran.output
    size = output.stat().st_size
    recovered = hook.recover(seconds_left=30)
    assert recovered.status == DONE, recovered.output
    until(lambda: output.stat().st_size > size + 2000, "the job goes on", 60)
    numbers = [line.split()[1] for line in output.read_text().splitlines()]
    tell("flink, stop and start again", f"done twice {len(numbers) - len(set(numbers))} of {len(numbers)}")
    assert len(numbers) == len(set(numbers))
    assert "0" in numbers[:1]
