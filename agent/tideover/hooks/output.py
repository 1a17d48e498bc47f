"""A hook's output: how many bytes and lines are kept and logged, and values that are hidden in it."""
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from tideover.hooks.environment import encoded
from tideover.text_safety import drop_controls
from tideover.threads import start_task

KEPT_BYTES = 64 * 1024      # the contract's
LINES_AT_MOST = 1000        # of one run: a log must not be filled by one hook
LINE_AT_MOST = 4096         # a longer one is handed on in pieces, so that a hook without line ends costs no memory
HIDDEN_FROM = 6             # characters; a shorter value ("1", "eth0") is no secret, and hiding it garbles the output
SILENCED = "… log limit reached; the record keeps the last 64 KiB"


class HookOutput:
    """The output of one run. Values of the environment that its owner sets for the hook are not repeated: the name of
    the variable stands in their place."""

    def __init__(self, log_line: Callable[[str], None], environment: Mapping[str, str] | None = None,
                 lines_at_most: int = LINES_AT_MOST) -> None:
        self._log_line = log_line
        self._hiding = _Hiding(environment or {})
        self._tail = bytearray()
        self._begun = b""               # a line that has not ended yet
        self._lines_left = lines_at_most

    def take(self, data: bytes) -> None:
        """Given what was printed next, keep its end and pass its whole lines on."""
        self._take(self._hiding.pass_on(data))

    def _take(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 2 * KEPT_BYTES:    # cut seldom: each cut moves what is kept
            del self._tail[:-KEPT_BYTES]
        if self._lines_left:
            *whole, self._begun = (self._begun + data).split(b"\n")
            for line in whole:
                self._pass_on(line)
            if len(self._begun) > LINE_AT_MOST:
                self._pass_on(self._begun)
                self._begun = b""

    def finish(self) -> str:
        """Pass on what is left of the last line and return the text that is kept."""
        self._take(self._hiding.rest())
        if self._begun:
            self._pass_on(self._begun)
            self._begun = b""
        return self._tail[-KEPT_BYTES:].decode("utf-8", "replace")

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LINE_AT_MOST):
            if self._lines_left:
                piece = line[start:start + LINE_AT_MOST].decode("utf-8", "replace")
                self._lines_left -= 1
                self._log_line(drop_controls(piece, LINE_AT_MOST))
                if not self._lines_left:
                    self._log_line(SILENCED)


class _Hiding:
    """Puts the names of variables in the place of their values, also where a value comes in two pieces."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {encoded(value): f"${{{name}}}".encode() for name, value in environment.items()
                  if len(value) >= HIDDEN_FROM}
        # The longest first: it may hold a shorter one.
        self._names = dict(sorted(values.items(), key=lambda found: -len(found[0])))
        self._held = b""            # what may be the beginning of a value

    def pass_on(self, data: bytes) -> bytes:
        if not self._names:
            return data
        text = self._hidden(self._held + data)
        held = max((_begun_at_the_end(text, value) for value in self._names), default=0)
        self._held = text[len(text) - held:]
        return text[:len(text) - held]

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest

    def _hidden(self, text: bytes) -> bytes:
        for value, name in self._names.items():
            text = text.replace(value, name)
        return text


def _begun_at_the_end(text: bytes, value: bytes) -> int:
    """Return how many of the value's first bytes the text ends with; not all of them."""
    tail = text[-(len(value) - 1):]
    at = tail.find(value[:1])
    while at >= 0 and not value.startswith(tail[at:]):
        at = tail.find(value[:1], at + 1)
    return len(tail) - at if at >= 0 else 0


MAX_LEFTOVER_PIPES = 32            # one thread and one pipe each
LEFTOVER_PIPE_THREAD = "hook-left-talking"


def drain_leftover_pipe(read_out: Callable[[], None]) -> bool:
    """Given what reads a pipe out and closes it, do that on a thread. Return whether there is room for one."""
    if sum(thread.name == LEFTOVER_PIPE_THREAD for thread in threading.enumerate()) >= MAX_LEFTOVER_PIPES:
        return False
    return start_task(LEFTOVER_PIPE_THREAD, read_out) is not None
