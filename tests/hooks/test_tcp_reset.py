"""How long clients wait after a 10 s stop of their server: tcp-reset-after-resume."""
from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, NOTHING, Hook
from .seen import Seen, add_up, results
from .worlds.basics import listens, until

pytestmark = pytest.mark.slow

STOP_S = 10


def under_load(lab: Bench, after: Callable[[], None]) -> Seen:
    """Given what to do right after, stop machine 1 under twenty talking clients; return the worst of them."""
    server = lab.machines[0]
    server.start(seen.PYTHON, str(seen.CLIENTS / "echo_server.py"), "7777", log=Path("/dev/null"))
    until(lambda: listens(lab, server.address, 7777), "the server listens")
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "echo_load.py"), server.address, "7777")
    time.sleep(2)
    server.stop_for(STOP_S)
    after()
    time.sleep(8)
    clients = defaultdict(list)
    for row in results(load):
        clients[row[3]].append(row)
    sums = [add_up(rows) for rows in clients.values()]
    return Seen(sum(s.sent for s in sums), sum(s.failed for s in sums), max(s.longest_gap_s for s in sums),
                max(s.worst_s for s in sums))


def test_a_reset_after_the_resume_ends_the_tail(lab: Bench, tmp_path: Path, tell: Callable[[str, object], None]) -> None:
    """Without it clients wait for their next retransmission, long after the server is back."""
    hook = Hook("tcp-reset-after-resume", tmp_path / "state", {"PORTS": "7777"}, inside=lab.machines[0].inside)
    without = under_load(lab, lambda: None)
    tell("tcp, no hook, 10 s", without)
    with_hook = None
    lab.machines[0].power_off()
    assert hook.prepare().status == DONE

    def after() -> None:
        record = {"pauses": [{"resumed_at": datetime.now(UTC).isoformat()}]}
        time.sleep(0.5)
        ran = dataclasses.replace(hook, record=record).recover()
        assert ran.status == DONE, ran.output
        tell("tcp, recover says", ran.output.strip())
    with_hook = under_load(lab, after)
    tell("tcp, tcp-reset-after-resume, 10 s", with_hook)
    assert with_hook.longest_gap_s < without.longest_gap_s - 1


def test_connections_that_are_alive_are_not_reset(lab: Bench, tmp_path: Path) -> None:
    """What has received something since the resume is no stalled connection; a cancelled event resets nothing."""
    server = lab.machines[0]
    server.start(seen.PYTHON, str(seen.CLIENTS / "echo_server.py"), "7777", log=Path("/dev/null"))
    until(lambda: listens(lab, server.address, 7777), "the server listens")
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "echo_load.py"), server.address, "7777")
    resumed_at = datetime.now(UTC).isoformat()
    time.sleep(1.5)
    hook = Hook("tcp-reset-after-resume", tmp_path / "state", {"PORTS": "7777"}, inside=server.inside,
                record={"pauses": [{"resumed_at": resumed_at}]})
    for reason in ("resumed", "cancelled"):
        assert hook.prepare().status == DONE
        ran = hook.recover(TIDEOVER_REASON=reason)
        assert ran.status == DONE, ran.output
    unannounced = dataclasses.replace(hook, kind="unannounced").recover()
    assert unannounced.status == DONE, unannounced.output
    assert dataclasses.replace(hook, kind="reboot").prepare().status == NOTHING
    assert add_up(results(load)).failed == 0
