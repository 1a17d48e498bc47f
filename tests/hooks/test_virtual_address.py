"""What clients of a virtual address see when the router that holds it stops for 10 s: keepalived-vrrp."""
from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from . import seen
from .bench import Bench, signal_all
from .running import NOTHING, REFUSED, AroundAStop, Hook
from .seen import Seen, stop
from .worlds.basics import answers, need, until
from .worlds.web import VIP, keepalived, nginx

pytestmark = pytest.mark.slow

STOP_S = 10


def routers(lab: Bench, home: Path) -> list[Path]:
    """Given a bench, start two routers that share VIP, machine 1 its holder; return their tracked files."""
    need("keepalived", "nginx")
    tracks = []
    for machine in lab.machines[:2]:
        nginx(machine, home / f"nginx{machine.number}", home / f"drain{machine.number}")
        tracks.append(keepalived(machine, home / f"keepalived{machine.number}", 200 - 50 * machine.number))
    settled(lab)
    return tracks


def settled(lab: Bench) -> None:
    """Wait until machine 1, and no other, has held the address for a while."""
    until(lambda: VIP in answers(lab.machines[0], "ip", "-o", "addr"), "machine 1 holds the virtual address")
    until(lambda: VIP not in answers(lab.machines[1], "ip", "-o", "addr"), "machine 2 does not")
    until(lambda: answers(lab, "curl", "-fsS", f"http://{VIP}:8080/small") != "", "the virtual address serves")
    time.sleep(2)


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 1 under load and return what the clients saw."""
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "http_load.py"), VIP, "8080", "/small", "50", "1")
    time.sleep(1)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(6)
    return stop(load)


def test_keepalived_vrrp_moves_the_address_before_it_would_die(
        lab: Bench, tmp_path: Path, tell: Callable[[str, object], None]) -> None:
    """The address is elsewhere before the stop and comes back after recover; the router that lacks it has nothing to do.

    An address takes no connections along: a request that is under way at the very move, there or back, may be reset.
    """
    track, other = routers(lab, tmp_path)
    bare = under_load(lab, lambda: None, lambda: None)
    tell("virtual address, no hook, 10 s", bare)
    settled(lab)
    hook = Hook("keepalived-vrrp", tmp_path / "state", inside=lab.machines[0].inside,
                settings={"TRACK_FILE": str(track), "VIP": VIP})
    backup = Hook("keepalived-vrrp", tmp_path / "state2", inside=lab.machines[1].inside,
                  settings={"TRACK_FILE": str(other), "VIP": VIP})
    assert backup.prepare().status == NOTHING
    around = AroundAStop(hook, seconds_left=30)
    saw = under_load(lab, around.prepare, around.recover)
    tell("virtual address, keepalived-vrrp, 10 s", f"{saw}; prepare {around.prepare_took_s:.1f} s")
    assert bare.failed > 50, "the yardstick: without a stop that hurts, the rest proves nothing"
    assert saw.spares(bare, one_in=20)
    assert saw.longest_gap_s < bare.longest_gap_s / 2
    assert track.read_bytes() == b"0\n"
    until(lambda: VIP in answers(lab.machines[0], "ip", "-o", "addr"), "the address is back where it was")
    signal_all(lab.machines[1].namespace, signal.SIGSTOP)            # nobody is left to take the address
    alone = replace(hook, settings={**hook.settings, "WAIT_S": "5"}).prepare()
    signal_all(lab.machines[1].namespace, signal.SIGCONT)
    assert alone.status == REFUSED, alone.output
    assert track.read_bytes() == b"0\n"
