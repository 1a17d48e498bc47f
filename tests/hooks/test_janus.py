"""What WebRTC clients' sessions and new clients see when Janus' machine stops: janus-drain."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .bench import Bench
from .running import DONE, NOTHING, Hook
from .worlds.basics import answers, listens, need, until
from .worlds.media import janus

pytestmark = pytest.mark.slow

STOP_S = 10


def test_new_sessions_wait_and_old_ones_survive(lab: Bench, home: Path, tmp_path: Path,
                                                tell: Callable[[str, object], None]) -> None:
    """While drained a create is refused (472) and a session lives on, over the stop; an operator's own drain is left alone."""
    need("janus", "curl")
    machine = lab.machines[0]
    janus(machine, home / "janus")
    until(lambda: listens(lab, machine.address, 8088), "Janus listens")
    (home / "secret").write_text("bench\n")

    def say(what: str, path: str = "") -> dict[str, object]:
        words = json.dumps({"janus": what, "transaction": "t"})
        return dict(json.loads(answers(lab, "curl", "-fsS", "-d", words, f"http://{machine.address}:8088/janus{path}")))
    session = say("create")["data"]
    assert isinstance(session, dict)
    hook = Hook("janus-drain", tmp_path / "state", {"SECRET_FILE": str(home / "secret")}, inside=machine.inside)
    assert hook.prepare().status == DONE
    refused = say("create")
    assert isinstance(refused.get("error"), dict) and refused["error"]["code"] == 472
    assert Hook("janus-drain", tmp_path / "operator", hook.settings, inside=machine.inside).prepare().status == NOTHING
    machine.stop_for(STOP_S)
    alive = say("keepalive", f"/{session['id']}")["janus"]
    tell("janus, janus-drain, 10 s", f"old session: {alive}; a new one while drained: {refused['error']['code']}")
    assert alive == "ack"
    assert hook.recover().status == DONE
    assert say("create")["janus"] == "success"
