"""The agent's own health page: one drain signal for every load balancer, without any hook.

`GET /healthz` answers 200, or 503 with the reason while the applications must not get new work. Who connects and asks
nothing over HTTP, as HAProxy's agent-check does, is told the same in its words (HAProxy configuration manual,
agent-check: "drain", "ready"). It knows no state: it is given a question to ask.
"""
from __future__ import annotations

from collections.abc import Callable

from tideover.listening import Conversation, Listening, http_answer

SILENCE_S = 0.2             # HAProxy's agent-check says nothing by itself; whoever speaks HTTP has begun by then
PATIENCE_S = 1.0            # of one conversation: a client that drips does not keep the others out
READY_LINE, DRAIN_LINE = b"ready up\n", b"drain\n"


class HealthPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, draining_because: Callable[[], str | None]) -> None:
        """`draining_because`: why no new work is wanted, None if it is. Raise OSError if nobody can listen there."""
        self._draining_because = draining_because
        self._listening = Listening(host, port, "health", PATIENCE_S, self._talk)
        self.port = self._listening.port

    def close(self) -> None:
        self._listening.close()

    def _talk(self, asker: Conversation) -> None:
        try:
            begun = asker.hear(SILENCE_S)
        except TimeoutError:
            begun = b""
        if begun.startswith((b"GET ", b"HEAD ")):
            asker.say(http_answer(asker.hear_head(begun), self._answer))
        else:
            asker.say(READY_LINE if self._draining_because() is None else DRAIN_LINE)

    def _answer(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/healthz":
            return "404 Not Found", "text/plain", b"there is only /healthz\n"
        reason = self._draining_because()
        if reason is None:
            return "200 OK", "text/plain", b"ready\n"
        return "503 Service Unavailable", "text/plain", f"draining: {reason}\n".encode("ascii", "replace")
