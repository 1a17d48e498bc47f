"""What web clients see when one of two servers behind HAProxy stops for 10 s: lb-health, haproxy-drain, the agent's own page."""
from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import bench as benches, seen
from .bench import Bench
from .conftest import own_directory
from .running import LIBRARY, REFUSED, AroundAStop, Hook
from .seen import Seen, add_up, results
from .worlds.basics import answers, listens, need, until
from .worlds.web import haproxy, nginx

pytestmark = pytest.mark.slow

STOP_S = 10
RATE = 100


def web(lab: Bench, home: Path, more: str = "") -> Path:
    """Given a bench, start two nginx (machines 1 and 2) behind HAProxy (machine 3), each watched with `more` than a probe.

    Return machine 1's drain file.
    """
    need("haproxy", "nginx", "socat", "curl")
    balancer = lab.machines[2]
    for machine in lab.machines[:2]:
        nginx(machine, home / f"nginx{machine.number}", home / f"drain{machine.number}")
        until(lambda machine=machine: listens(lab, machine.address, 8080), "nginx listens")
    haproxy(balancer, home / "haproxy", lab.machines[:2], f"check inter 2s fall 3 rise 2 {more}")
    until(lambda: answers(lab, "curl", "-fsS", f"http://{balancer.address}/small") != "", "HAProxy serves")
    return home / "drain1"


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> tuple[Seen, Seen]:
    """Given what to do before and after, stop machine 1 for 10 s under load; return quick requests and downloads."""
    target = (lab.machines[2].address, "80")
    quick = lab.client(seen.PYTHON, str(seen.CLIENTS / "http_load.py"), *target, "/small", str(RATE), "2")
    slow = lab.client(seen.PYTHON, str(seen.CLIENTS / "http_load.py"), *target, "/slow", "2", "60")
    time.sleep(2)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(5)
    return add_up(results(quick)), add_up(results(slow))


@pytest.fixture(scope="module")
def bare() -> Iterator[tuple[Seen, Seen]]:
    """The yardstick for both hooks: the same load and the same stop without any. Without loss here they prove nothing."""
    if reason := benches.missing():
        pytest.skip(reason)
    with own_directory() as home, benches.bench(3) as lab:
        web(lab, home)
        quick, slow = under_load(lab, lambda: None, lambda: None)
    assert quick.failed > 100
    yield quick, slow


def test_lb_health_loses_no_request(lab: Bench, bare: tuple[Seen, Seen], tmp_path: Path,
                                    tell: Callable[[str, object], None]) -> None:
    """A failing health page, seen by the balancer before the stop, and the downloads under way waited for."""
    drain_file = web(lab, tmp_path)
    hook = Hook("lb-health", tmp_path / "state", inside=lab.machines[0].inside,
                settings={"DRAIN_FILE": str(drain_file), "SETTLE_S": "8", "PORT": "8080", "DRAIN_S": "6"})
    around = AroundAStop(hook, seconds_left=5)   # shorter than it needs: it must say "not yet" and carry on
    quick, slow = under_load(lab, around.prepare, around.recover)
    tell("web, no hook, 10 s", f"{bare[0]}; downloads: {bare[1]}")
    tell("web, lb-health, 10 s", f"{quick}; downloads: {slow}; prepare {around.prepare_took_s:.1f} s")
    assert quick.spares(bare[0], one_in=100) and slow.failed == 0
    assert slow.worst_s < STOP_S
    assert not drain_file.exists()


def test_haproxy_drain_loses_no_request(lab: Bench, bare: tuple[Seen, Seen], tmp_path: Path,
                                        tell: Callable[[str, object], None]) -> None:
    """Drained over the runtime API from the machine that stops, and ready again afterwards."""
    web(lab, tmp_path)
    balancer = lab.machines[2]
    hook = Hook("haproxy-drain", tmp_path / "state", inside=lab.machines[0].inside,
                settings={"SOCKET": f"{balancer.address}:9999", "SERVERS": "*/s1"})
    around = AroundAStop(hook, seconds_left=30)
    quick, slow = under_load(lab, around.prepare, around.recover)
    tell("web, haproxy-drain, 10 s", f"{quick}; downloads: {slow}; prepare {around.prepare_took_s:.1f} s")
    assert quick.spares(bare[0], one_in=100) and slow.failed == 0
    assert slow.worst_s < STOP_S
    both = Hook("haproxy-drain", tmp_path / "both", {**hook.settings, "SERVERS": "be/s1 be/s2"}, inside=hook.inside)
    assert both.prepare().status == REFUSED, "the backend would have no usable server left"


def test_the_agents_own_page_drains_haproxy_without_any_hook(lab: Bench, bare: tuple[Seen, Seen], tmp_path: Path,
                                                             tell: Callable[[str, object], None]) -> None:
    """HAProxy's agent-check understands the page's two words: no new work while it drains, all again afterwards."""
    preparing = tmp_path / "preparing"
    for machine in lab.machines[:2]:
        machine.start(seen.PYTHON, str(seen.CLIENTS / "health_page.py"), machine.address, "9100",
                      str(preparing if machine.number == 1 else tmp_path / "never"), log=tmp_path / f"page{machine.number}",
                      env={"PYTHONPATH": str(LIBRARY.parent / "agent")})
        until(lambda machine=machine: listens(lab, machine.address, 9100), "the page listens")
    web(lab, tmp_path, "agent-check agent-port 9100 agent-inter 500ms")

    def status() -> str:
        """What HAProxy says of machine 1's server."""
        said = subprocess.run(["socat", "-", str(tmp_path / "haproxy/admin.sock")], input="show stat\n", text=True,
                              capture_output=True).stdout
        return next((row.split(",")[17] for row in said.splitlines() if row.startswith("be,s1,")), "")

    def before() -> None:
        preparing.touch()
        until(lambda: status().startswith("DRAIN"), "HAProxy drains the server")
        time.sleep(5)                    # the downloads under way

    def after() -> None:
        preparing.unlink()
        until(lambda: status().startswith("UP"), "HAProxy uses the server again")
    until(lambda: status().startswith("UP"), "the server is up")
    quick, slow = under_load(lab, before, after)
    tell("web, the agent's own page with HAProxy's agent-check, 10 s", f"{quick}; downloads: {slow}")
    assert quick.spares(bare[0], one_in=100) and slow.failed == 0
    assert slow.worst_s < STOP_S
