"""`tideover status`: what it waits for, in one sentence, then the rest. Works without the agent, from its journal."""
from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, with_json, with_settings
from tideover.cli.words import length_text, moment_text, pause_text, plain_text
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, UnreachableError
from tideover.settings import Settings


@click.command("status")
@with_json
@with_settings
def command(loaded: Loaded, as_json: bool) -> int:
    """What the agent waits for, the next event, the last pause, the clock, the hooks.

    Works without the agent: what is shown then is what the last one wrote down, and the first line says so.
    """
    status = read_status(loaded.settings)
    if as_json:
        print_json(status)
    else:
        for line in status_lines(status, datetime.now(UTC)):
            click.echo(line)
    return EXIT_OK


def read_status(settings: Settings) -> dict[str, Any]:
    """Given the settings, return the agent's own word, or what its journal says when it does not answer."""
    from tideover.api.client import ask
    try:
        answer = ask(Path(settings.paths.socket), {"ask": "status"})
        return dict(answer["status"])
    except (UnreachableError, KeyError) as trouble:
        return _from_journal(settings, trouble)


def _from_journal(settings: Settings, trouble: Exception) -> dict[str, Any]:
    from tideover.journal import holder
    from tideover.pause import MachineClocks
    from tideover.status import status_of
    state, rows = read_memory(settings)
    pid = holder(Path(settings.paths.state))
    status = status_of(state, rows, MachineClocks().moment())
    status["agent"] = {"alive": pid is not None, "pid": pid, "version": None, "started_at": None,
                       "why": str(trouble) if pid is not None else "no agent works on the state directory"}
    status["source"] = None
    return status


def status_lines(status: dict[str, Any], now: datetime) -> list[str]:
    """Given a status, return it as lines for a person; the first says it all."""
    agent = status["agent"]
    waits = plain_text(status["waiting_for"])
    if agent["alive"]:
        lines = [f"The agent runs (process {agent['pid']}) and waits for {waits}."]
    else:
        lines = ["No agent runs. Start it: tideover service start. When it last ran it waited for "
                 f"{waits}."]
    lines += [_source_line(status["source"], now)] if status["source"] else []
    lines += [line for event in status["events"] for line in _event_lines(event, now)]
    pause = status["last_pause"]
    lines.append(f"Last pause: {pause_text(pause)}, {pause['cause']}, {moment_text(pause['resumed_at'], now)}."
                 if pause else "Last pause: none noticed yet.")
    lines.append(_clock_line(status["clock"], now))
    lines += [_hook_line(hook) for hook in status["hooks"]]
    if status["recover_owed"]:
        lines.append(f"Recover is owed by: {', '.join(status['recover_owed'])}.")
    return lines


def _source_line(source: dict[str, Any], now: datetime) -> str:
    if source["kind"] != "azure":
        return f"Source: {source['kind']}; nothing is announced on this machine."
    line = f"Source: {source['kind']}, last answer {moment_text(source['last_answer_at'], now)}"
    if not source["failures"]:
        return f"{line}."
    return f"{line}; {source['failures']} failures since: {plain_text(source['reason'])}."


def _event_lines(event: dict[str, Any], now: datetime) -> list[str]:
    left = event["seconds_left"]
    when = "started" if event["started"] else f"NotBefore {moment_text(event['not_before'], now)}"
    if left is not None:
        when += f", {length_text(max(0.0, left))} left" if left > 0 else ", which has passed"
    lines = [f"Event {plain_text(event['event_id'])}: {event['kind']}, {event['phase']}, {when}"
             f"{', acknowledged' if event['acknowledged'] else ''}."]
    if event["description"]:
        lines.append(f"  {plain_text(event['description'])}")
    return lines


def _clock_line(clock: dict[str, Any] | None, now: datetime) -> str:
    if clock is None:
        return "Clock: not checked yet (it is after each pause; tideover clock checks now)."
    offset, bound = clock["offset_s"], clock["error_bound_s"]
    measured = f", {length_text(offset)} ± {length_text(bound)}" if offset is not None else ""
    reason = f" ({plain_text(clock['reason'])})" if clock["reason"] else ""
    return f"Clock: {clock['verdict']}{measured}, {moment_text(clock['checked_at'], now)}{reason}."


def _hook_line(hook: dict[str, Any]) -> str:
    again = f", tried again in {length_text(hook['again_in_s'])}" if hook["again_in_s"] is not None else ""
    failed = f", failed {hook['failures']} times" if hook["failures"] else ""
    return f"Hook {hook['order']:02d}-{hook['name']}: {hook['stage']}{failed}{again}."
