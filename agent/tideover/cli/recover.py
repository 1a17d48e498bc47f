"""`tideover recover [EVENT]`: run what is still owed, by hand; through the agent, or without one."""
from __future__ import annotations

import os
import time
from pathlib import Path

import click

from tideover.cli.options import print_json, refusal, with_json, with_settings
from tideover.configuration import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError, UnreachableError
from tideover.hooks.environment import DIRECTORY_NAME, RUN_NAME

LOOK_S = 0.2
INSIDE = "The agent runs it; a command inside a hook's run does not wait for that, as that run may be one of them"


@click.command("recover")
@click.argument("event", required=False)
@click.option("--wait", "wait_s", default=120.0, show_default=True, help="Seconds to wait for the agent's hooks.")
@with_json
@with_settings
def command(loaded: Loaded, event: str | None, wait_s: float, as_json: bool) -> int:
    """Run the recover hooks that are owed, of EVENT or of all. Exit status 1 if any is owed afterwards."""
    were_owed, still_owed = _recover(loaded, event, wait_s)
    if as_json:
        print_json({"ok": not still_owed, "were_owed": were_owed, "still_owed": still_owed})
    elif still_owed:
        raise TideoverError("recover is still owed", ", ".join(still_owed), INSIDE if _is_inside_a_run() else
                            "tideover show last tells why.")
    else:
        click.echo(f"Recovered: {', '.join(were_owed)}." if were_owed else "Nothing is owed.")
    return EXIT_NO if still_owed else EXIT_OK


def _recover(loaded: Loaded, event: str | None, wait_s: float) -> tuple[list[str], list[str]]:
    """Return the names of the hooks that were owed, and of those that still are. Raise TideoverError if EVENT is not
    open."""
    from tideover.api.client import ask
    socket = Path(loaded.settings.paths.socket)
    try:
        answer = ask(socket, {"ask": "recover", "event": event})
    except UnreachableError:
        from tideover.daemon.by_hand import recover_by_hand
        recovered = recover_by_hand(loaded, event, drill=os.environ.get("TIDEOVER_DRILL") == "1")
        return list(recovered.were_owed), list(recovered.still_owed)
    if not answer.get("ok"):
        raise refusal("recover", event, answer)
    if _is_inside_a_run():
        return list(answer.get("were_owed", ())), list(ask(socket, {"ask": "status"})["status"]["recover_owed"])
    return list(answer.get("were_owed", ())), _wait(socket, wait_s)


def _is_inside_a_run() -> bool:
    """Whether a hook's run has started this command: it would wait for the run that waits for it."""
    return bool(os.environ.get(RUN_NAME) and os.environ.get(DIRECTORY_NAME))


def _wait(socket: Path, wait_s: float) -> list[str]:
    """Given the agent's promise, wait until its hooks have run; return what is owed then."""
    from tideover.api.client import ask
    until = time.monotonic() + wait_s
    while True:
        status = ask(socket, {"ask": "status"})["status"]
        owed = list(status["recover_owed"])
        tried = not any(hook["stage"] in ("leaving", "recovering", "stopping") for hook in status["hooks"])
        if not owed or tried or time.monotonic() >= until:
            return owed
        time.sleep(LOOK_S)
