"""What WebRTC clients' sessions and new clients see when Janus' machine stops: janus-drain."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench, Machine
from .running import DONE, NOTHING, Hook
from .seen import Seen, add_up, results
from .worlds.basics import answers, listens, need, until
from .worlds.media import janus

pytestmark = pytest.mark.slow

STOP_S = 10
WAITS_S = 3                              # from the acknowledgement to the stop


def two(lab: Bench, home: Path) -> Path:
    """Start a Janus on machines 1 and 2; return the file with their admin secret."""
    need("janus", "curl")
    for machine in lab.machines[:2]:
        janus(machine, home / f"janus{machine.number}")
        until(lambda machine=machine: listens(lab, machine.address, 8088), "Janus listens")
    (home / "secret").write_text("bench\n")
    return home / "secret"


def say(lab: Bench, machine: Machine, what: str, path: str = "") -> dict[str, object]:
    """Given a request, return the answer of a machine's Janus."""
    words = json.dumps({"janus": what, "transaction": "t"})
    return dict(json.loads(answers(lab, "curl", "-fsS", "-d", words, f"http://{machine.address}:8088/janus{path}")))


def newcomers(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> tuple[Seen, int]:
    """Stop machine 1 while new clients come, its Janus their first choice; return what they saw, and how many of them
    it took after it was prepared: their sessions began with a standstill."""
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "janus_load.py"), "20", "2", *(m.address for m in lab.machines[:2]))
    time.sleep(1)
    before()
    prepared = time.monotonic()
    time.sleep(WAITS_S)
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(2)
    rows = results(load)
    caught = [row for row in rows if row[3] == lab.machines[0].address and prepared < row[0] < prepared + WAITS_S + STOP_S]
    return add_up(rows), len(caught)


def test_new_sessions_begin_elsewhere_and_old_ones_survive(lab: Bench, home: Path, tmp_path: Path,
                                                           tell: Callable[[str, object], None]) -> None:
    """While drained a create is refused (472) and a session lives on, over the stop; an operator's own drain is left alone."""
    secret = two(lab, home)
    machine = lab.machines[0]
    bare, bare_caught = newcomers(lab, lambda: None, lambda: None)
    tell("janus, no hook, 10 s", f"new sessions: {bare}; begun on the machine about to stop: {bare_caught}")
    session = say(lab, machine, "create")["data"]
    assert isinstance(session, dict)
    hook = Hook("janus-drain", tmp_path / "state", {"SECRET_FILE": str(secret)}, inside=machine.inside)

    def before() -> None:
        assert hook.prepare().status == DONE
        refused = say(lab, machine, "create").get("error")
        assert isinstance(refused, dict) and refused["code"] == 472
        assert Hook("janus-drain", tmp_path / "operator", hook.settings, inside=machine.inside).prepare().status == NOTHING

    def after() -> None:
        alive = say(lab, machine, "keepalive", f"/{session['id']}")["janus"]
        tell("janus, janus-drain, 10 s", f"old session: {alive}")
        assert alive == "ack"
        assert hook.recover().status == DONE
    saw, caught = newcomers(lab, before, after)
    tell("janus, janus-drain, 10 s", f"new sessions: {saw}; begun on the machine about to stop: {caught}")
    assert bare.failed > 5 and bare_caught > 5, "the yardstick: without a stop that hurts, the rest proves nothing"
    assert saw.spares(bare, one_in=10)
    assert caught == 0
    assert say(lab, machine, "create")["janus"] == "success"
