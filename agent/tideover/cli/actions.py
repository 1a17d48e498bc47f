"""`tideover acknowledge EVENT`: tell the platform to go ahead, by hand."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import confirmed, print_json, refusal, with_json, with_readable_settings, with_yes
from tideover.cli.terminal import harmless
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, UnreachableError

ANSWER_S = 10.0         # the agent's POST has 5 s; a second one may be on its way
LOOK_S = 0.2
ACCEPTED = "the platform has accepted it"


@click.command("acknowledge")
@click.argument("event")
@with_yes
@with_json
@with_readable_settings
def command(loaded: Loaded, event: str, yes: bool, as_json: bool) -> int:
    """Acknowledge EVENT: for held events, and where the owner acknowledges by hand.

    EVENT is an id, the beginning of it, or "last". Where a participant is not prepared, or the event names other
    machines, they are named and this asks first. Works without the agent.
    """
    event_id, said = confirmed(lambda sure: _acknowledge(loaded, event, sure), yes)
    if as_json:
        print_json({"ok": True, "why": said, "event_id": event_id})
    else:
        click.echo(f"{harmless(event_id)}: {said}")
    return EXIT_OK


def _acknowledge(loaded: Loaded, event: str, sure: bool) -> tuple[str, str]:
    """Return the event's id and how the platform was told. Raise TideoverError if it was not, UnconfirmedError."""
    from tideover.api.client import ask
    from tideover.system.file_lock import read_holder
    socket, state = Path(loaded.settings.paths.socket), Path(loaded.settings.paths.state)
    try:
        answer = ask(socket, state, {"ask": "acknowledge", "event": event, "confirmed": sure})
    except UnreachableError:
        if read_holder(state) is not None:
            raise                           # the agent alone decides what is acknowledged
        from tideover.daemon.by_hand import acknowledge_by_hand
        event_id, said = acknowledge_by_hand(loaded, event, confirmed=sure)
        return event_id, said or ACCEPTED
    if answer["ok"] and isinstance(answer.get("sent_before"), int) and isinstance(answer.get("event_id"), str):
        answer = _wait(socket, state, answer)
    if not answer.get("ok"):
        raise refusal("acknowledge", event, answer)
    return str(answer.get("event_id", event)), str(answer["why"])


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
