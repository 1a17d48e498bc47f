"""`tideover acknowledge EVENT`: tell the platform to go ahead, by hand."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import print_json, with_json, with_settings
from tideover.configuration import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, UnreachableError

ANSWER_S = 10.0         # the agent's POST has 5 s; a second one may be on its way
LOOK_S = 0.2


@click.command("acknowledge")
@click.argument("event")
@with_json
@with_settings
def command(loaded: Loaded, event: str, as_json: bool) -> int:
    """Tell the platform to go ahead with EVENT: for held events, and where the owner acknowledges by hand."""
    from tideover.api.client import ask
    socket = Path(loaded.settings.paths.socket)
    try:
        answer = ask(socket, {"ask": "acknowledge", "event": event})
    except UnreachableError:
        from tideover.daemon.by_hand import acknowledge_by_hand
        answer = {"ok": True, "why": acknowledge_by_hand(loaded, event) or "the platform has accepted it"}
    else:
        answer = _wait(socket, answer) if answer.get("ok") else answer
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{event}: {answer['why']}", err=not answer["ok"])
    return EXIT_OK if answer["ok"] else EXIT_NO


def _wait(socket: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Given the agent's promise, wait until the platform has answered."""
    from tideover.api.client import ask
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        events = ask(socket, {"ask": "status"})["status"]["events"]
        known = next((one for one in events if one["event_id"] == answer["event_id"]), None)
        if known is None or known["acknowledged"]:
            return {**answer, "why": "the platform has accepted it" if known else "it is over"}
        tried = known["acknowledgements_sent"] > answer.get("sent_before", 0)
        if tried and known["phase"] not in ("asking", "doubting"):
            return {**answer, "ok": False, "why": "the platform refused; tideover show tells why"}
        time.sleep(LOOK_S)
    return {**answer, "ok": False, "why": "no answer from the platform yet; the agent goes on trying"}
