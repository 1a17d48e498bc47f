"""`tideover recover [EVENT]`: run what is still owed, by hand; through the agent, or without one."""
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import print_json, with_json, with_settings
from tideover.configuration import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, UnreachableError

LOOK_S = 0.2


@click.command("recover")
@click.argument("event", required=False)
@click.option("--wait", "wait_s", default=120.0, show_default=True, help="Seconds to wait for the agent's hooks.")
@with_json
@with_settings
def command(loaded: Loaded, event: str | None, wait_s: float, as_json: bool) -> int:
    """Run the recover hooks that are owed, of EVENT or of all. Exit status 1 if any is owed afterwards."""
    from tideover.api.client import ask
    socket = Path(loaded.settings.paths.socket)
    try:
        answer = ask(socket, {"ask": "recover", "event": event})
    except UnreachableError:
        from tideover.daemon.by_hand import recover_by_hand
        recovered = recover_by_hand(loaded, event, drill=os.environ.get("TIDEOVER_DRILL") == "1")
        answer = {"ok": not recovered.still_owed, "were_owed": list(recovered.were_owed),
                  "still_owed": list(recovered.still_owed)}
    else:
        answer = _wait(socket, wait_s) if answer.get("ok") else {**answer, "still_owed": []}
    if as_json:
        print_json(answer)
    else:
        click.echo(_sentence(answer), err=not answer["ok"])
    return EXIT_OK if answer["ok"] else EXIT_NO


def _wait(socket: Path, wait_s: float) -> dict[str, Any]:
    from tideover.api.client import ask
    until = time.monotonic() + wait_s
    while True:
        status = ask(socket, {"ask": "status"})["status"]
        owed = list(status["recover_owed"])
        tried = not any(hook["stage"] in ("leaving", "recovering", "stopping") for hook in status["hooks"])
        if not owed or tried or time.monotonic() >= until:
            return {"ok": not owed, "still_owed": owed}
        time.sleep(LOOK_S)


def _sentence(answer: dict[str, Any]) -> str:
    if answer.get("why"):
        return f"cannot recover: {answer['why']}"
    if answer["still_owed"]:
        return f"Still owed: {', '.join(answer['still_owed'])}. tideover show last tells why."
    were = answer.get("were_owed")
    return f"Recovered: {', '.join(were)}." if were else "Nothing is owed."
