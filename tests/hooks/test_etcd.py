"""What writers through the other two members see when the etcd leader's machine stops for 10 s: etcd-move-leader."""
from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, NOTHING, REFUSED, Hook
from .seen import Seen, add_up, results
from .worlds.basics import answers, need
from .worlds.etcd import etcd, etcd_lead

pytestmark = pytest.mark.slow

STOP_S = 10


def hook_on(lab: Bench, number: int, state: Path, kind: str = "freeze") -> Hook:
    """Given a machine's number, return the hook as it runs there, at its defaults."""
    return Hook("etcd-move-leader", state, inside=lab.machines[number - 1].inside, kind=kind)


def _all_keys(lab: Bench, host: str) -> str:
    """Asked until there is an answer: a cluster that has just seen a member come back may take a moment."""
    until = time.monotonic() + 20
    while True:
        told = answers(lab, "curl", "-fsS", "-d", '{"key":"AA==","range_end":"AA==","keys_only":true}',
                       f"http://{host}:2379/v3/kv/range")
        if told.strip() or time.monotonic() > until:
            return told
        time.sleep(0.5)


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 1 under writes through the others; return the sum."""
    hosts = [machine.address for machine in lab.machines[1:]]
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "etcd_load.py"), "50", "1", *hosts)
    time.sleep(2)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(2)
    rows = results(load)
    everything = json.loads(_all_keys(lab, hosts[0]))
    there = {base64.b64decode(row["key"]).decode() for row in everything["kvs"]}
    return add_up(rows, lost=len({row[3] for row in rows if row[2] is None} - there))


@pytest.mark.extra
def test_without_a_hook_writes_wait_for_an_election(lab: Bench, tmp_path: Path,
                                                    tell: Callable[[str, object], None]) -> None:
    """The yardstick."""
    need("etcd", "curl")
    etcd(lab, tmp_path)
    etcd_lead(lab, 1)
    saw = under_load(lab, lambda: None, lambda: None)
    tell("etcd, no hook, 10 s", saw)
    assert saw.failed > 5


# Not in CI yet: on two shared cores 1 run in 3 shows up to 11 failed writes and a gap of 1.2 s (86 and 2.7 s without the
# hook); whether that is the hook or the bench is not known.
@pytest.mark.extra
def test_etcd_move_leader_leaves_no_election_to_wait_for(lab: Bench, tmp_path: Path,
                                                         tell: Callable[[str, object], None]) -> None:
    """Leadership is elsewhere before the stop; a follower has nothing to do; without a majority it refuses."""
    need("etcd", "curl")
    etcd(lab, tmp_path)
    etcd_lead(lab, 1)
    hook = hook_on(lab, 1, tmp_path / "state")
    assert hook_on(lab, 2, tmp_path / "state2").prepare().status == NOTHING
    took: list[float] = []

    def before() -> None:
        ran = hook.prepare(seconds_left=20)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)

    def after() -> None:
        assert hook.recover().status == DONE
    saw = under_load(lab, before, after)
    tell("etcd, etcd-move-leader, 10 s", f"{saw}; prepare {took[0]:.1f} s")
    assert saw.failed <= 1
    assert saw.lost == 0
    lab.machines[2].stop()
    refused = hook_on(lab, 2, tmp_path / "state2", kind="reboot").prepare()
    lab.machines[2].go_on()
    assert refused.status == REFUSED, refused.output
