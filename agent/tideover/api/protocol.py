"""The API's wire format, client and server: questions, the checks of answers, bounds of their length and time."""
from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tideover import __version__
from tideover.errors import UnreachableError, system_reason
from tideover.http_server import OnProblem, ignore_problem
from tideover.system.file_lock import LockHolder, read_holder

if TYPE_CHECKING:
    from tideover.documents import AgentStatusDocument

__all__ = ["API", "ApiListener", "Channel", "connect", "read_line"]


# --- The transport of this system

if sys.platform == "win32":
    from tideover.api.named_pipe import ApiListener, Channel, connect
else:
    from tideover.api.unix_socket import ApiListener, Channel, connect


API = 1         # stands in each answer; another number where an earlier command would misunderstand the answers


def read_line(channel: Channel, longest: int) -> bytes:
    """Given a channel, return what comes up to the end of the line; or of the channel, or about `longest` bytes.

    Raise OSError.
    """
    received = bytearray()
    while len(received) < longest and (part := channel.receive()):
        received += part
        if b"\n" in part:
            break
    return bytes(received)


# --- Client

ANSWER_TIMEOUT_S = 10.0
RELOAD_WAIT_S, LOOK_S = 1.0, 0.02  # an agent that takes a new configuration listens nowhere for some milliseconds
TIME_QUERIES_TIMEOUT_S = 1.0      # an agent that does not answer does not delay a clock check for long
LONGEST_ANSWER = 16 * 1024 * 1024
CANNOT = "cannot ask the agent"
RUNNING = "Is it running? tideover service status"
RESTART = "Restart the agent: tideover service stop, then tideover service start."

_NUMBER, _TEXT, _FLAG = (int, float, type(None)), (str, type(None)), (bool, type(None))
# What a status must hold for those who show it or wait for it: names and types, of lists those of each item.
_PAUSE = {"length_s": _NUMBER, "uncertainty_s": _NUMBER, "cause": str, "resumed_at": _TEXT}
_CLOCK = {"verdict": str, "reason": str, "offset_s": _NUMBER, "error_bound_s": _NUMBER, "checked_at": _TEXT}
_EVENT = {"event_id": str, "kind": str, "phase": str, "waiting_for": str, "description": str, "not_before": _TEXT,
          "seconds_left": _NUMBER, "expected_pause_s": _NUMBER, "acknowledged": bool, "acknowledgements_sent": int,
          "started": bool, "ours": bool, "wakes_in_s": _NUMBER, "why": str, "resources": [str]}
_HOOK = {"name": str, "order": int, "file": str, "stage": str, "phase": _TEXT, "running_s": _NUMBER,
         "limit_s": _NUMBER, "timeout_s": (int, float), "again_in_s": _NUMBER, "failures": int, "required": bool,
         "worked": _FLAG, "refused": _FLAG}
_SOURCE = {"kind": str, "platform": str, "silence": _TEXT, "takes_acknowledgement": bool, "last_answer_at": _TEXT,
           "silent_s": (int, float), "failures": int, "reason": str}
_STATUS: Mapping[str, Any] = {
    "waiting_for": str, "events": [_EVENT], "hooks": [_HOOK], "recover_pending": [str], "last_pause": (_PAUSE, None),
    "clock": (_CLOCK, None), "source": (_SOURCE, None),
    "journal": ({"writable": bool, "reason": _TEXT}, None),
    "agent": {"alive": bool, "pid": int, "version": _TEXT, "started_at": _TEXT, "why": str},
    "mode": str, "events_left_out": int, "next_event": (_EVENT, None),
}
_ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "status": {"status": _STATUS}, "recover": {"were_pending": [str]}, "plan": {"pending": [str], "ahead": [str]},
    "acknowledge": {"why": str}, "time-queries": {"queries": [{"address": list, "ago_s": (int, float)}]},
}


def ask(path: Path, state_directory: Path, question: dict[str, Any],
        timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
    """Given the socket, the agent's state directory and a question, return the answer.

    Raise UnreachableError if no agent answers, another process than the one that holds the state directory's lock does,
    or the answer is not one of this version.
    """
    try:
        with contextlib.closing(_connect(path, state_directory, timeout_s)) as channel:
            _require_agent(channel, path, state_directory)
            channel.send(json.dumps(question).encode() + b"\n")
            received = read_line(channel, LONGEST_ANSWER)
    except OSError as trouble:
        held = read_holder(state_directory)
        why = f"Process {held.pid or 'unknown'} uses {state_directory}; see its log." if held else RUNNING
        raise UnreachableError(CANNOT, f"{path}: {system_reason(trouble)}", why) from trouble
    try:
        answer = json.loads(received)
    except (ValueError, RecursionError) as trouble:
        raise UnreachableError(CANNOT, "its answer is not a JSON document", RESTART) from trouble
    return _checked(answer, "plan" if question.get("dry_run") else str(question["ask"]))


def read_status(path: Path, state_directory: Path) -> AgentStatusDocument:
    """Given the socket and the agent's state directory, return the agent's status. Raise UnreachableError as `ask`."""
    return cast("AgentStatusDocument", ask(path, state_directory, {"ask": "status"})["status"])


def read_time_queries(path: Path, state_directory: Path,
                      announced: Sequence[str] = ()) -> dict[tuple[str | int, ...], float]:
    """Given the socket and the agent's state directory, return how many seconds ago the agent asked each address of a
    time server, of those asked within about 2 s; nothing where no agent answers within a second. `announced`: the
    servers that this process asks next; the agent leaves them alone meanwhile."""
    question = {"ask": "time-queries", "announced": list(announced)}
    try:
        answer = ask(path, state_directory, question, TIME_QUERIES_TIMEOUT_S)
    except UnreachableError:
        return {}
    return {tuple(one["address"]): one["ago_s"] for one in answer.get("queries", [])}


def _connect(path: Path, state_directory: Path, timeout_s: float) -> Channel:
    """Where an agent runs that does not listen, it may soon. Raise OSError."""
    until_s = time.monotonic() + min(RELOAD_WAIT_S, timeout_s)
    while True:
        try:
            return connect(path, timeout_s)
        except (FileNotFoundError, ConnectionRefusedError):
            if read_holder(state_directory) is None or time.monotonic() >= until_s:
                raise
        time.sleep(LOOK_S)


def _require_agent(channel: Channel, path: Path, state_directory: Path) -> None:
    """Any process that may write to the runtime directory can listen there, also the agent of another state
    directory."""
    process, user = channel.peer()
    held = read_holder(state_directory)
    if held is not None and _is_holder(held, process, user):
        return
    who = f"process {process}" if user is None else f"process {process} of user id {user}"
    agent = "no agent is running" if held is None else f"process {held.pid or 'unknown'} works"
    raise UnreachableError(CANNOT, f"{who} answers at {path}, but {agent} on {state_directory}",
                           "Give each agent its own [paths] runtime directory, writable only by its user.")


def _is_holder(held: LockHolder, process: int, user: int | None) -> bool:
    if held.pid == process:
        return True
    if held.pid is not None and process:
        return held.pid in _numbers_inside(process)
    return user in (0, os.geteuid()) if hasattr(os, "geteuid") else False


def _numbers_inside(process: int) -> list[int]:
    """The process ids of a process in the namespaces below ours (a container): what it wrote down is one of them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return []


def _checked(answer: object, asked: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise UnreachableError(CANNOT, "its answer is not a JSON document", RESTART)
    if answer.get("api") != API:
        version = answer.get("version")
        agent = f"version {version}" if isinstance(version, str) else "an earlier version"
        raise UnreachableError(CANNOT, f"it is {agent} and this command is version {__version__}", RESTART)
    if not isinstance(answer.get("ok"), bool):
        raise UnreachableError(CANNOT, "its answer does not identify it as an agent", RESTART)
    lacking = _find_lacking(answer, _ANSWERS.get(asked, {})) if answer["ok"] else ""
    if lacking:
        raise UnreachableError(CANNOT, f"its answer has no {lacking} that is valid", RESTART)
    return answer


def _find_lacking(value: object, wanted: Any, name: str = "") -> str:
    """Given a JSON value and what it must be, return the name of the first part that is not so; "" if all is."""
    if isinstance(wanted, Mapping):
        if not isinstance(value, dict):
            return name
        return next((lacking for key, inner in wanted.items()
                     if (lacking := _find_lacking(value.get(key, _MISSING), inner, f"{name}.{key}".lstrip(".")))), "")
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return name
        return next((lacking for one in value if (lacking := _find_lacking(one, wanted[0], f"{name}[]"))), "")
    if isinstance(wanted, tuple) and isinstance(wanted[0], Mapping):
        return "" if value is None else _find_lacking(value, wanted[0], name)
    return "" if isinstance(value, wanted) else name


_MISSING = object()


# --- Server

LONGEST_QUESTION = 64 * 1024
REQUEST_TIMEOUT_S = 5.0            # for a question to be asked, and then for its answer to be taken
RequestHandler = Callable[[Mapping[str, Any]], dict[str, Any]]


class ApiServer:
    """Each client is answered on its own: a slow answer delays no other client."""

    def __init__(self, path: Path, answers: Mapping[str, RequestHandler],
                 on_problem: OnProblem = ignore_problem) -> None:
        """Given the socket's path and the handler of each `ask`, listen. `on_problem` gets the reason why no client can
        connect, and None when that is over. Raise OSError if the socket cannot be opened."""
        self._answers = answers
        self._listener = ApiListener(path, self._reply, REQUEST_TIMEOUT_S, LONGEST_QUESTION, on_problem)

    def is_replaced(self) -> bool:
        """Return whether another process removed the socket or put something else in its place."""
        return self._listener.is_replaced()

    def close(self) -> None:
        self._listener.close()

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            answer = self._answers[question["ask"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _line({"ok": False, "why": "unknown request"})
        return _line(answer(question))


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps({"api": API, "version": __version__} | answer).encode() + b"\n"
