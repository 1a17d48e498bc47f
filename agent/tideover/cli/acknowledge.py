"""`tideover acknowledge EVENT`: tell the platform to go ahead, by hand."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import print_json, refusal, with_json, with_settings
from tideover.cli.terminal import harmless
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, UnreachableError

ANSWER_S = 10.0         # the agent's POST has 5 s; a second one may be on its way
LOOK_S = 0.2
ACCEPTED = "the platform has accepted it"


@click.command("acknowledge")
@click.argument("event")
@with_json
@with_settings
def command(loaded: Loaded, event: str, as_json: bool) -> int:
    """Tell the platform to go ahead with EVENT: for held events, and where the owner acknowledges by hand."""
    said = _acknowledge(loaded, event)
    if as_json:
        print_json({"ok": True, "why": said, "event_id": event})
    else:
        click.echo(f"{harmless(event)}: {said}")
    return EXIT_OK


def _acknowledge(loaded: Loaded, event: str) -> str:
    """Return how the platform was told. Raise TideoverError if it was not."""
    from tideover.api.client import ask
    from tideover.system.file_lock import read_holder
    socket, state = Path(loaded.settings.paths.socket), Path(loaded.settings.paths.state)
    try:
        answer = ask(socket, state, {"ask": "acknowledge", "event": event})
    except UnreachableError:
        if read_holder(state) is not None:
            raise                           # the agent alone decides what is acknowledged
        from tideover.daemon.by_hand import acknowledge_by_hand
        return acknowledge_by_hand(loaded, event) or ACCEPTED
    if answer["ok"] and isinstance(answer.get("sent_before"), int) and isinstance(answer.get("event_id"), str):
        answer = _wait(socket, state, answer)
    if not answer.get("ok"):
        raise refusal("acknowledge", event, answer)
    return str(answer["why"])


def _wait(socket: Path, state: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Given the agent's promise, wait until the platform has answered."""
    from tideover.api.client import read_status
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        events = read_status(socket, state)["events"]
        known = next((one for one in events if one["event_id"] == answer["event_id"]), None)
        if known is None or known["acknowledged"]:
            return {**answer, "why": ACCEPTED if known else "it is over"}
        tried = known["acknowledgements_sent"] > answer["sent_before"]
        if tried and known["phase"] not in ("asking", "doubting"):
            return {**answer, "ok": False, "why": "the platform refused",
                    "do": f"tideover show {answer['event_id']} tells why."}
        time.sleep(LOOK_S)
    return {**answer, "ok": False, "why": "no answer from the platform yet", "do": "The agent goes on trying."}
