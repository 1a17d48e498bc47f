"""`tideover acknowledge` and `tideover recover`: their options, questions, waiting and texts."""
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import (
    api_refusal,
    confirmed,
    duration_between,
    example,
    print_json,
    print_sentence,
    with_json,
    with_readable_settings,
    with_yes,
)
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError, UnreachableError, WrongUseError
from tideover.hooks.environment import DIRECTORY_NAME, RUN_NAME
from tideover.text_safety import dot_controls

# --- acknowledge

ANSWER_S = 10.0         # the agent's POST has 5 s; a second one may be on its way
ACKNOWLEDGE_CHECK_S = 0.2
ACCEPTED = "acknowledgement accepted by the platform"


@click.command("acknowledge", epilog=example("sudo tideover acknowledge last"))
@click.argument("event")
@click.option("--alone", "alone", is_flag=True,
              help="In a fleet: send it now, without the other machines that the event names.")
@with_yes
@with_json
@with_readable_settings
def acknowledge_command(loaded: Loaded, event: str, alone: bool, yes: bool, as_json: bool) -> int:
    """Acknowledge EVENT by hand: for a held event, or where [policy] acknowledge is "never".

    EVENT is an id, the beginning of one, or "last". If a participant is not prepared, or if the event names other
    machines, the command lists them and asks for confirmation. In a fleet this machine counts as ready from then on,
    and the event is acknowledged when every machine named is. It works without the agent.
    """
    event_id, answer = confirmed(lambda sure: _acknowledge(loaded, event, sure, alone), yes)
    if as_json:
        print_json({"ok": True, "why": answer, "event_id": event_id})
    else:
        print_sentence(f"{dot_controls(event_id)}: {answer}")
    return EXIT_OK


def _acknowledge(loaded: Loaded, event: str, sure: bool, alone: bool) -> tuple[str, str]:
    """Return the event's id and how the acknowledgement was answered. Raise TideoverError if it was not sent,
    UnconfirmedError."""
    from tideover.api.protocol import ask
    from tideover.system.file_lock import read_holder
    socket, state = Path(loaded.settings.paths.socket), Path(loaded.settings.paths.state)
    try:
        answer = ask(socket, state, {"ask": "acknowledge", "event": event, "confirmed": sure, "alone": alone})
    except UnreachableError:
        if read_holder(state) is not None:
            raise                           # the agent alone decides what is acknowledged
        from tideover.daemon.offline import acknowledge_by_hand
        event_id, note = acknowledge_by_hand(loaded, event, confirmed=sure)
        return event_id, note or ACCEPTED
    is_sent = answer["ok"] and not answer.get("waits")
    if is_sent and isinstance(answer.get("sent_before"), int) and isinstance(answer.get("event_id"), str):
        answer = _wait_until_acknowledged(socket, state, answer)
    if not answer.get("ok"):
        raise api_refusal("acknowledge", event, answer)
    return str(answer.get("event_id", event)), str(answer["why"])


def _wait_until_acknowledged(socket: Path, state: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Wait until the platform has answered the acknowledgement that the agent accepted to send."""
    from tideover.api.protocol import read_status
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        events = read_status(socket, state)["events"]
        known = next((one for one in events if one["event_id"] == answer["event_id"]), None)
        if known is None or known["acknowledged"]:
            return {**answer, "why": ACCEPTED if known else "it is over"}
        tried = known["acknowledgements_sent"] > answer["sent_before"]
        if tried and known["phase"] not in ("acknowledging", "unconfirmed"):
            return {**answer, "ok": False, "why": "the platform refused",
                    "do": f"tideover show {answer['event_id']} tells why."}
        time.sleep(ACKNOWLEDGE_CHECK_S)
    return {**answer, "ok": False, "why": "no answer from the platform yet", "do": "The agent retries."}


# --- recover

RECOVER_CHECK_S = 0.2
LONGEST_WAIT_S = 86400.0
INSIDE = "The agent runs it; a command inside a hook's run does not wait for that, as that run may be one of them"


@click.command("recover", epilog=example("sudo tideover recover --dry-run"))
@click.argument("event", required=False)
@click.option("--dry-run", "dry_run", is_flag=True, help="List what would run, and run nothing.")
@with_yes
@click.option("--forget", "forget", metavar="HOOK", default=None,
              help="Give up the pending recovery of HOOK instead of running it; this is recorded.")
@click.option("--wait", "wait_s", callback=duration_between(0.0, LONGEST_WAIT_S), default="2m", metavar="DURATION",
              show_default=True, help="How long to wait for the agent's hooks.")
@with_json
@with_readable_settings
def recover_command(loaded: Loaded, event: str | None, dry_run: bool, yes: bool, forget: str | None, wait_s: float,
            as_json: bool) -> int:
    """Run the pending recover hooks of EVENT, or of all events. Exit status 1 if one is still pending afterwards.

    EVENT is an id, the beginning of one, or "last". If an event has not started yet, the command asks for confirmation,
    because the event would then find its applications unprepared. It works without the agent.
    """
    if forget is not None:
        return _forget(loaded, forget, event, dry_run, as_json)
    if dry_run:
        return _plan(loaded, event, as_json)
    were_pending, still_pending = confirmed(lambda sure: _recover(loaded, event, wait_s, sure), yes)
    if as_json:
        print_json({"ok": not still_pending, "were_pending": were_pending, "still_pending": still_pending})
    elif still_pending:
        raise TideoverError("recovery is still pending", ", ".join(still_pending), INSIDE if _is_inside_a_run() else
                            "See the reason with tideover show last.")
    else:
        print_sentence(f"Recovered: {', '.join(were_pending)}." if were_pending else "No recovery is pending.")
    return EXIT_NO if still_pending else EXIT_OK


def _recover(loaded: Loaded, event: str | None, wait_s: float, sure: bool) -> tuple[list[str], list[str]]:
    """Return the names of the participants that were pending, and of those that still are. Raise TideoverError if EVENT
    is not open, UnconfirmedError."""
    answer = _ask(loaded, {"ask": "recover", "event": event, "confirmed": sure})
    if answer is None:
        from tideover.daemon.offline import recover_by_hand
        recovered = recover_by_hand(loaded, event, confirmed=sure, drill=_is_drill())
        return list(recovered.were_pending), list(recovered.still_pending)
    if not answer.get("ok"):
        raise api_refusal("recover", event, answer)
    were_pending = list(answer.get("were_pending", ()))
    return were_pending, _wait_until_recovered(loaded, were_pending, 0.0 if _is_inside_a_run() else wait_s)


def _is_inside_a_run() -> bool:
    """Whether a hook's run has started this command: it would wait for the run that waits for it."""
    return bool(os.environ.get(RUN_NAME) and os.environ.get(DIRECTORY_NAME))


def _wait_until_recovered(loaded: Loaded, names: list[str], wait_s: float) -> list[str]:
    """Given the names of hooks, wait until their recovery has succeeded or failed; return which are still pending."""
    from tideover.api.protocol import read_status
    from tideover.lifecycle import Stage
    busy = {stage.value for stage in (Stage.RECOVER_PENDING, Stage.RECOVERING, Stage.STOPPING)}
    paths = loaded.settings.paths
    until = time.monotonic() + wait_s
    while True:
        status = read_status(Path(paths.socket), Path(paths.state))
        pending = [name for name in status["recover_pending"] if name in names]
        tried = not any(hook["stage"] in busy for hook in status["hooks"] if hook["name"] in names)
        if not pending or tried or time.monotonic() >= until:
            return pending
        time.sleep(RECOVER_CHECK_S)


def _plan(loaded: Loaded, event: str | None, as_json: bool) -> int:
    """Say what would be run, in that order."""
    plan = _ask(loaded, {"ask": "recover", "event": event, "dry_run": True})
    if plan is None:
        from dataclasses import asdict

        from tideover.daemon.offline import plan_without_agent
        plan = asdict(plan_without_agent(loaded, event)) | {"ok": True}
    if not plan.get("ok"):
        raise api_refusal("recover", event, plan)
    pending, ahead = list(plan["pending"]), list(plan["ahead"])
    if as_json:
        print_json({"ok": True, "event_id": plan["event_id"], "pending": pending, "ahead": ahead})
        return EXIT_OK
    print_sentence(f"Would recover, in this order: {', '.join(pending)}." if pending else "No recovery is pending.")
    if ahead:
        print_sentence(f"Not started yet: {', '.join(ahead)}. recover asks for confirmation, or needs --yes.")
    return EXIT_OK


def _forget(loaded: Loaded, name: str, event: str | None, dry_run: bool, as_json: bool) -> int:
    """Give one pending recovery up."""
    if event is not None or dry_run:
        raise WrongUseError("cannot forget", "--forget HOOK cannot be combined with an event",
                            "tideover recover --forget HOOK")
    answer = _ask(loaded, {"ask": "forget", "name": name})
    if answer is not None and not answer.get("ok"):
        raise api_refusal("forget", name, answer)
    if answer is None:
        from tideover.daemon.offline import forget_by_hand
        forget_by_hand(loaded, name, drill=_is_drill())
    if as_json:
        print_json({"ok": True, "forgotten": [name]})
    else:
        print_sentence(f"The pending recovery of {dot_controls(name)} was given up.")
    return EXIT_OK


def _ask(loaded: Loaded, question: dict[str, Any]) -> dict[str, Any] | None:
    """Return the agent's answer; None: no agent is running. Raise UnreachableError if one does and
    does not answer: it alone knows what is pending."""
    from tideover.api.protocol import ask
    from tideover.system.file_lock import read_holder
    paths = loaded.settings.paths
    try:
        return ask(Path(paths.socket), Path(paths.state), question)
    except UnreachableError:
        if read_holder(Path(paths.state)) is not None:
            raise
        return None


def _is_drill() -> bool:
    return os.environ.get("TIDEOVER_DRILL") == "1"
