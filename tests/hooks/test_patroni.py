"""What writers see, and what they were promised and lost, when the PostgreSQL primary's machine stops: patroni-switchover."""
from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import NOTHING, REFUSED, AroundAStop, Hook
from .seen import Seen, add_up, results
from .worlds.basics import answers, need, until
from .worlds.postgres import patroni, patroni_says

pytestmark = pytest.mark.slow

STOP_S = 10


def sql(lab: Bench, number: int, words: str) -> str:
    """Given a machine's number and a statement, run it there."""
    return subprocess.run([*lab.inside, "psql", "-qtA", "-h", lab.machines[number - 1].address, "-U", "postgres", "-c", words],
                          capture_output=True, text=True, check=True).stdout


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 1 under a writer that follows the primary; return the sum."""
    sql(lab, 1, "create table if not exists kept (id int)")
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "postgres_load.py"), *(m.address for m in lab.machines[:2]))
    time.sleep(2)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(4)
    rows = results(load)
    until(lambda: any(patroni_says(lab, n).get("role") == "master" for n in (1, 2)), "there is a primary")
    at = next(n for n in (1, 2) if patroni_says(lab, n).get("role") == "master")
    there = set(sql(lab, at, "select id from kept").split())
    return add_up(rows, lost=len({row[3] for row in rows if row[2] is None} - there))


def test_patroni_switchover_loses_no_row(lab: Bench, home: Path, tmp_path: Path,
                                         tell: Callable[[str, object], None]) -> None:
    """First the yardstick on the same cluster, then the hook; the replica's own hook has nothing to do."""
    need("patroni", "etcd", "psql", "curl")
    patroni(lab, home)
    without = under_load(lab, lambda: None, lambda: None)
    tell("postgresql, no hook, 10 s", without)
    hook = Hook("patroni-switchover", tmp_path / "state", inside=lab.machines[0].inside)
    replica = Hook("patroni-switchover", tmp_path / "state2", inside=lab.machines[1].inside)
    assert replica.prepare().status == NOTHING
    assert hook.prepare(TIDEOVER_EXPECTED_PAUSE_S="9").status == NOTHING, "ttl bears a freeze this short"
    sql(lab, 1, "drop table kept")
    around = AroundAStop(hook, seconds_left=30)
    saw = under_load(lab, around.prepare, around.recover)
    tell("postgresql, patroni-switchover, 10 s", f"{saw}; prepare {around.prepare_took_s:.1f} s")
    assert saw.lost == 0
    assert saw.longest_gap_s < without.longest_gap_s - 3
    answers(lab, "curl", "-sS", "-X", "PATCH", "-d", '{"pause": true}', f"http://{lab.machines[1].address}:8008/config")
    until(lambda: replica.prepare().status == REFUSED, "in maintenance mode the hook does nothing")
