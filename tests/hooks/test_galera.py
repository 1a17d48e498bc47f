"""What writers through the other two nodes see when one Galera node's machine stops for 10 s: galera-leave."""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, NOTHING, REFUSED, Hook
from .seen import Seen, add_up, results
from .worlds.basics import need
from .worlds.mariadb import galera, galera_ask, galera_says

pytestmark = pytest.mark.slow

STOP_S = 10


def under_load(lab: Bench, home: Path, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 3 under inserts through the others; return the sum."""
    hosts = [machine.address for machine in lab.machines[:2]]
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "galera_load.py"), "50", "3", *hosts)
    time.sleep(2)
    before()
    lab.machines[2].stop_for(STOP_S)
    after()
    time.sleep(2)
    rows = results(load)
    there = set(galera_ask(home, 1, "select id from bench.kept").split())
    return add_up(rows, lost=len({row[3] for row in rows if row[2] is None} - there))


def test_galera_leave_lets_the_others_go_on(lab: Bench, home: Path, tmp_path: Path,
                                            tell: Callable[[str, object], None]) -> None:
    """First the hook, then the yardstick on the same cluster; below three members it refuses."""
    need("mariadbd", "mariadb", "mariadb-install-db", "rsync")
    galera(lab, home)
    hook = Hook("galera-leave", tmp_path / "state", {"DEFAULTS_FILE": f"{home}/galera3/my.cnf"},
                inside=lab.machines[2].inside)
    other = Hook("galera-leave", tmp_path / "state2", {"DEFAULTS_FILE": f"{home}/galera2/my.cnf"})
    took: list[float] = []

    def before() -> None:
        ran = hook.prepare(seconds_left=20)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)
        assert other.prepare().status == REFUSED, "two members are left: nobody else may leave"

    def after() -> None:
        ran = hook.recover(seconds_left=20)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)
    saw = under_load(lab, home, before, after)
    tell("galera, galera-leave, 10 s", f"{saw}; prepare {took[0]:.1f} s, recover {took[1]:.1f} s")
    without = under_load(lab, home, lambda: None, lambda: None)
    tell("galera, no hook, 10 s", without)
    assert (saw.lost, without.lost) == (0, 0)
    assert without.failed > 5, "the yardstick: without a stop that hurts, the rest proves nothing"
    assert saw.spares(without, one_in=10)
    assert saw.longest_gap_s < without.longest_gap_s
    assert galera_says(lab, home, 1, "cluster_size") == "3"
    founder = Hook("galera-leave", tmp_path / "state3", {**hook.settings, "ADDRESSES": "?pc.wait_prim=no"})
    assert founder.prepare().status == REFUSED, "gcomm:// that names nobody would found a second cluster at the return"
    galera_ask(home, 3, "set global wsrep_cluster_address=''")
    assert hook.prepare().status == NOTHING, "an operator took it out: left as it is"
