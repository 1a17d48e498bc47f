"""The messages of applications and listeners: hello, prepare, recover, cancel, answers; bounds of a line. Pure.

A client begins with hello. An application is then sent prepare, recover and cancel, and answers each run once; a
listener is sent events. Members that are not known are ignored. A violation is answered with one line `{"error": …}`,
and ends the connection.
"""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.effects import RunHook
from tideover.model import HookOutcome, HookPhase, utc_text
from tideover.text_safety import drop_controls

PROTOCOL = 1
LINE_BYTES = 64 * 1024           # at most, with its end
NAME = re.compile(r"[a-z0-9-]{1,64}")
TEXT_AT_MOST = 4096              # of a `why`
INSTANCE_AT_MOST = 128

ANSWERS: Mapping[str, tuple[HookOutcome, int]] = MappingProxyType({
    "done": (HookOutcome.DONE, 0), "nothing": (HookOutcome.NOTHING, 3), "not_yet": (HookOutcome.NOT_YET, 75),
    "refuse": (HookOutcome.REFUSED, 4), "failed": (HookOutcome.FAILED, 1),
})
"""The answers to a run: what they mean, and the exit status of a hook that says the same."""


class ViolationError(ValueError):
    """What a client sent is not of this protocol; one sentence for its author."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line. `listens`: it takes part in nothing and wants to be sent events. `protocol`: None: it names
    none."""

    name: str
    instance: str
    listens: bool = False
    protocol: int | None = PROTOCOL


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """The answer to the run of a number."""

    run: int
    outcome: HookOutcome
    exit_status: int
    why: str = ""


def read_line(line: bytes) -> Hello | RunAnswer:
    """Given a line without its end, return what it says. Raise ViolationError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ViolationError("a line that is not JSON") from None
    if not isinstance(found, dict):
        raise ViolationError("a line that is JSON, but no object")
    if "hello" in found:
        return _read_hello(found)
    words = [word for word in ANSWERS if word in found]
    if len(words) != 1:
        raise ViolationError(f"a line without exactly one of hello, {', '.join(ANSWERS)}")
    run, why = found[words[0]], found.get("why", "")
    if not isinstance(run, int) or isinstance(run, bool):
        raise ViolationError(f"{words[0]} without the number of its run")
    outcome, exit_status = ANSWERS[words[0]]
    return RunAnswer(run, outcome, exit_status, drop_controls(why, TEXT_AT_MOST) if isinstance(why, str) else "")


def _read_hello(found: dict[str, object]) -> Hello:
    listens = found.get("listen") is True
    name, instance = found["hello"], found.get("instance", "")
    protocol = found.get("protocol", PROTOCOL if listens else None)      # a listener may leave it out: it only reads
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ViolationError("hello with a name that is not of small letters, digits and hyphens")
    if not isinstance(instance, str) or len(instance) > INSTANCE_AT_MOST or not (instance or listens):
        raise ViolationError("hello without an instance, a random text for each process")
    if not instance.isprintable():          # halves of surrogate pairs among them, which no database can hold
        raise ViolationError("hello with an instance that has characters that are not printable")
    number = protocol if isinstance(protocol, int) and not isinstance(protocol, bool) else None
    return Hello(name, instance, listens, number)


# --- What the agent sends

def encode(message: Mapping[str, object]) -> bytes:
    """Given a message, return its line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def welcome(name: str, phase: str) -> bytes:
    """`phase`: of the event that is nearest to its end by now; closed: there is none."""
    return encode({"welcome": name, "phase": phase})


def refused(why: str) -> bytes:
    return encode({"refused": why, "protocols": [PROTOCOL]})


def error(why: str) -> bytes:
    return encode({"error": why})


def cancel(run: int) -> bytes:
    return encode({"cancel": {"run": run}})


def event(fields: Mapping[str, object]) -> bytes:
    return encode({"event": dict(fields)})


def run_message(run: RunHook, trace_id: str) -> bytes:
    """Given a run and its trace, return the line that asks for it. What is not known is null."""
    facts = run.facts
    message: dict[str, object] = {
        "run": run.run, "event_id": run.event_id, "kind": run.kind.value, "not_before": utc_text(facts.not_before),
        "seconds_left": facts.seconds_left, "expected_pause_s": facts.expected_pause_s, "attempt": run.attempt,
        "trace_id": trace_id}
    if run.phase is HookPhase.RECOVER:
        message |= {"reason": run.reason, "pause_s": facts.pause_s, "pause_uncertainty_s": facts.pause_uncertainty_s,
                    "clock": facts.clock.value, "clock_offset_s": facts.clock_offset_s}
    return encode({run.phase.value: message})


# --- Lines out of bytes

class LineReader:
    """Takes bytes as they come and gives the lines in them. Holds one line at most."""

    def __init__(self) -> None:
        self._part = bytearray()

    def lines(self, data: bytes) -> list[bytes]:
        """Given what has arrived, return the lines that are complete by now. Raise ViolationError for one that is too
        long."""
        self._part += data
        *lines, rest = bytes(self._part).split(b"\n")
        self._part = bytearray(rest)
        if len(rest) >= LINE_BYTES or any(len(line) >= LINE_BYTES for line in lines):
            raise ViolationError(f"a line of more than {LINE_BYTES // 1024} KiB")
        return lines
