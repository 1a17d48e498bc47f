"""What writers see, and what they were promised and lost, when the Redis master's machine stops: redis-sentinel."""
from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, NOTHING, REFUSED, AroundAStop, Hook, end_session
from .seen import Seen, add_up, results
from .worlds.basics import answers, need, until
from .worlds.sentinel import redis_with_sentinels

pytestmark = pytest.mark.slow

STOP_S = 10
SEED = int(os.environ.get("TIDEOVER_SEED", time.time_ns() % 1_000_000))


def sentinel_addresses(lab: Bench) -> list[str]:
    """The Sentinels as a client's configuration lists them."""
    return [f"{machine.address}:26379" for machine in lab.machines]


def hook_on(lab: Bench, number: int, state: Path, **more: str) -> Hook:
    """Given a machine's number, return the hook as it would run there."""
    return Hook("redis-sentinel", state, inside=lab.machines[number - 1].inside,
                settings={"REDIS": f"{lab.machines[number - 1].address}:6379",
                          "SENTINELS": " ".join(sentinel_addresses(lab)), **more})


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 1 under five writers; return the sum with what was lost."""
    client = str(seen.CLIENTS / "redis_load.py")
    writers = [lab.client(seen.PYTHON, client, "aware", "mymaster", *sentinel_addresses(lab)) for _ in range(4)]
    writers.append(lab.client(seen.PYTHON, client, "fixed", "mymaster", f"{lab.machines[0].address}:6379"))
    time.sleep(2)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(14)                       # the old master is written to by the fixed client until Sentinel demotes it
    rows = [results(writer) for writer in writers]
    sums = [add_up(row) for row in rows[:4]]
    acknowledged = {row[3] for one in rows for row in one if row[2] is None}
    return Seen(sum(s.sent for s in sums), sum(s.failed for s in sums), max(s.longest_gap_s for s in sums),
                max(s.worst_s for s in sums), lost=len(acknowledged - kept(lab)))


def kept(lab: Bench) -> set[str]:
    """Every key the announced master has at the end."""
    until(lambda: len({master(lab, machine.number) for machine in lab.machines}) == 1, "all Sentinels agree")
    where = master(lab, 3)
    until(lambda: "role:master" in answers(lab, "redis-cli", "-h", where, "info", "replication"), "the master serves")
    return set(subprocess.run([*lab.inside, "redis-cli", "-h", where, "keys", "*"], capture_output=True, text=True,
                              check=True).stdout.split())


def master(lab: Bench, number: int) -> str:
    """The master's address as machine `number`'s Sentinel announces it."""
    asked = answers(lab, "redis-cli", "-h", lab.machines[number - 1].address, "-p", "26379",
                    "sentinel", "get-master-addr-by-name", "mymaster")
    return asked.split()[0] if asked else ""


@pytest.mark.extra
def test_without_a_hook_acknowledged_writes_are_lost(lab: Bench, tmp_path: Path,
                                                     tell: Callable[[str, object], None]) -> None:
    """The yardstick: a failure detector of 5 s and a stop of 10 s."""
    need("redis-server", "redis-sentinel", "redis-cli")
    redis_with_sentinels(lab, tmp_path, 5000)
    saw = under_load(lab, lambda: None, lambda: None)
    tell("redis, no hook, 10 s", saw)
    assert saw.lost


def test_redis_sentinel_loses_no_acknowledged_write(lab: Bench, tmp_path: Path,
                                                    tell: Callable[[str, object], None]) -> None:
    """The fenced sequence, led from another machine; the new replica's own hook has nothing to do."""
    need("redis-server", "redis-sentinel", "redis-cli")
    redis_with_sentinels(lab, tmp_path, 5000)
    hook = hook_on(lab, 1, tmp_path / "state")
    assert hook_on(lab, 2, tmp_path / "state2").prepare().status == NOTHING
    assert hook.prepare(TIDEOVER_EXPECTED_PAUSE_S="2").status == NOTHING, "a freeze this short is best left alone"
    around = AroundAStop(hook, seconds_left=20)
    saw = under_load(lab, around.prepare, around.recover)
    tell("redis, redis-sentinel, 10 s", f"{saw}; prepare {around.prepare_took_s:.1f} s")
    assert saw.lost == 0
    assert saw.longest_gap_s < 6
    assert "role:slave" in answers(lab, "redis-cli", "-h", lab.machines[0].address, "info", "replication")
    lab.machines[0].stop()
    refused = hook_on(lab, 2, tmp_path / "state2").prepare()
    lab.machines[0].go_on()
    assert refused.status == REFUSED, refused.output     # the only replica is out of step


@pytest.mark.extra
def test_a_move_killed_anywhere_loses_no_acknowledged_write(lab: Bench, tmp_path: Path,
                                                            tell: Callable[[str, object], None]) -> None:
    """Killed while writes are held, while Sentinel promotes, before the fence: recover ends the move or the hold."""
    need("redis-server", "redis-sentinel", "redis-cli")
    redis_with_sentinels(lab, tmp_path, 5000)
    chance = random.Random(SEED)
    print(f"TIDEOVER_SEED={SEED}")
    client, rows = str(seen.CLIENTS / "redis_load.py"), []
    for attempt in range(6):
        until(lambda: len({master(lab, machine.number) for machine in lab.machines}) == 1, "all Sentinels agree", 60)
        number = next(m.number for m in lab.machines if m.address == master(lab, 3))
        until(lambda at=number: "state=online" in answers(lab, "redis-cli", "-h", lab.machines[at - 1].address, "info", "replication"),
              "a replica is in step", 60)
        writers = [lab.client(seen.PYTHON, client, "aware", "mymaster", *sentinel_addresses(lab)),
                   lab.client(seen.PYTHON, client, "fixed", "mymaster", f"{lab.machines[number - 1].address}:6379")]
        time.sleep(0.5)
        hook = hook_on(lab, number, tmp_path / f"killed{attempt}")
        process = hook.begin("prepare")
        time.sleep(chance.uniform(0.1, 1.5))
        end_session(process)
        time.sleep(chance.uniform(0, 1))             # the agent restarts
        ran = hook.recover()
        assert ran.status in (DONE, NOTHING), ran.output
        time.sleep(2)
        rows += [row for writer in writers for row in results(writer)]
    time.sleep(12)                       # Sentinel has demoted whoever is still to be demoted
    lost = len({row[3] for row in rows if row[2] is None} - kept(lab))
    tell("redis, redis-sentinel killed 6 times under load", f"lost though acknowledged {lost} of {len(rows)}")
    assert lost == 0
