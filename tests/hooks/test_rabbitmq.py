"""What publishers and consumers see when the node that leads their quorum queue stops for 10 s: rabbitmq-drain."""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, NOTHING, REFUSED, Hook
from .seen import add_up, results
from .worlds.basics import need, until
from .worlds.rabbitmq import rabbitmq, rabbitmq_ask, rabbitmq_environment

pytestmark = pytest.mark.slow

STOP_S = 10


def hook_on(lab: Bench, home: Path, number: int, state: Path) -> Hook:
    """Given a machine's number, return the hook as it runs there."""
    return Hook("rabbitmq-drain", state, inside=lab.machines[number - 1].inside,
                settings=rabbitmq_environment(lab, home, number))


def maintenance(lab: Bench, home: Path) -> str:
    """Which nodes are in maintenance, as node 2 tells it."""
    text = rabbitmq_ask(lab, home, 2, "rabbitmqctl", "-q", "eval",
                        "[rabbit_maintenance:is_being_drained_consistent_read(N) || N <- lists:sort([node()|nodes()])].")
    return text.strip()


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> tuple[str, int, int, float]:
    """Given what to do before and after, stop node 1 under load; return a line, lost, twice, the survivor's gap."""
    client, here = str(seen.CLIENTS / "amqp_load.py"), [machine.address for machine in lab.machines]
    elsewhere = [here[1], here[2], here[0]]
    first = lab.client(seen.PYTHON, client, "publish", "q", *here)      # declares the queue: node 1 leads it
    time.sleep(2)
    second = lab.client(seen.PYTHON, client, "publish", "q", *elsewhere)
    taker = lab.client(seen.PYTHON, client, "consume", "q", *elsewhere)
    time.sleep(3)
    before()
    lab.machines[0].stop_for(STOP_S)
    time.sleep(1)
    after()
    time.sleep(8)
    on_stopped, on_survivor = results(first), results(second)
    time.sleep(3)
    taken = results(taker)
    confirmed = {row[3] for row in on_stopped + on_survivor if row[2] is None}
    counts = Counter(row[3] for row in taken)
    lost, twice = len(confirmed - counts.keys()), sum(n > 1 for n in counts.values())
    survivor = add_up(on_survivor)
    line = (f"publisher on a survivor: {survivor}; publisher on the stopped node: {add_up(on_stopped)}; "
            f"consumer gap {add_up(taken).longest_gap_s:.2f} s; lost though confirmed {lost}, twice {twice}")
    return line, lost, twice, survivor.longest_gap_s


@pytest.mark.extra
def test_without_a_hook_publishers_on_other_nodes_stall_too(lab: Bench, home: Path, tmp_path: Path,
                                                            tell: Callable[[str, object], None]) -> None:
    """The yardstick."""
    need("rabbitmqctl", "rabbitmq-upgrade")
    rabbitmq(lab, home)
    line, _, _, gap_s = under_load(lab, lambda: None, lambda: None)
    tell("rabbitmq, no hook, 10 s", line)
    assert gap_s > 2


def test_rabbitmq_drain_moves_leaders_and_clients_first(lab: Bench, home: Path, tmp_path: Path,
                                                        tell: Callable[[str, object], None]) -> None:
    """Survivors hardly notice, nothing confirmed is lost, and the node takes clients again afterwards."""
    need("rabbitmqctl", "rabbitmq-upgrade")
    rabbitmq(lab, home)
    hook = hook_on(lab, home, 1, tmp_path / "state")
    as_it_was = maintenance(lab, home)
    took: list[float] = []

    def before() -> None:
        ran = hook.prepare(seconds_left=60)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)
        other = hook_on(lab, home, 1, tmp_path / "operator").prepare()
        assert other.status == NOTHING, "a node that is drained already is somebody else's"

    def after() -> None:
        ran = hook.recover()
        assert ran.status == DONE, ran.output
    line, lost, twice, gap_s = under_load(lab, before, after)
    tell("rabbitmq, rabbitmq-drain, 10 s", f"{line}; prepare {took[0]:.1f} s")
    assert (lost, twice) == (0, 0)
    assert gap_s < 5
    until(lambda: maintenance(lab, home) == as_it_was, "maintenance is as it was")
    rabbitmq_ask(lab, home, 3, "rabbitmqctl", "-q", "stop_app")
    refused = hook.prepare()
    assert refused.status == REFUSED, refused.output     # two of three members are left: this one is critical
