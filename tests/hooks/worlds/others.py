"""Hooks whose other side is the kernel or a strict fake."""
from __future__ import annotations

import json
from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..seen import CLIENTS, PYTHON
from ..stage import Stage
from .basics import answers, fake, listens, need, until


def tcp_reset_after_resume(lab: Bench, home: Path) -> Stage:
    """A server that may freeze, and twenty clients; what the hook talks to is the kernel."""
    machine = lab.machines[0]
    machine.start(PYTHON, str(CLIENTS / "echo_server.py"), "7777", log=home / "log")
    until(lambda: listens(lab, machine.address, 7777), "the server listens")
    lab.client(PYTHON, str(CLIENTS / "echo_load.py"), machine.address, "7777")
    return Stage(lambda state: Hook("tcp-reset-after-resume", state, {"PORTS": "7777"}, inside=machine.inside),
                 lambda: listens(lab, machine.address, 7777), (machine.namespace,), 0.4, needs_them=False)


def webhook(lab: Bench, home: Path) -> Stage:
    """A receiver; with MUST_ARRIVE, so that a frozen one is noticed."""
    machine = lab.machines[1]
    fake(lab, machine, "receiver", 8000, str(home / "told"), log=home / "log")
    settings = {"URL": f"http://{machine.address}:8000/ok", "MUST_ARRIVE": "yes"}
    return Stage(lambda state: Hook("webhook", state, settings, inside=lab.machines[0].inside), lambda: None,
                 (machine.namespace,), 0.4)


def kubernetes_cordon(lab: Bench, home: Path) -> Stage:
    """The strict fake."""
    need("curl")
    machine = lab.machines[1]
    fake(lab, machine, "kubernetes", 6443, str(home / "asked"), log=home / "log")
    (home / "token").write_text("secret\n")
    settings = {"API": f"http://{machine.address}:6443", "TOKEN_FILE": str(home / "token"), "NODE": "n1"}

    def look() -> object:
        node = json.loads(answers(lab, "curl", "-fsS", "-H", "Authorization: Bearer secret",
                                  f"http://{machine.address}:6443/api/v1/nodes/n1") or "{}")
        return node.get("spec"), node.get("metadata", {}).get("annotations")
    return Stage(lambda state: Hook("kubernetes-cordon", state, settings, inside=lab.machines[0].inside), look,
                 (machine.namespace,), 0.4)

