"""The agent's own health page: one drain signal for every load balancer, without any hook.

`GET /healthz` answers 200, or 503 with the reason while the applications must not get new work. Who connects and asks
nothing over HTTP, as HAProxy's agent-check does, is told the same in its words (HAProxy configuration manual,
agent-check: "drain", "ready"). It knows no state: it is given a question to ask.
"""
from __future__ import annotations

from collections.abc import Callable

from tideover.listening import Limits, Listening, Told, http_answer, is_whole_head, listen_on, tell_nobody

# HAProxy's agent-check says nothing by itself; whoever speaks HTTP has begun within 0.2 s.
LIMITS = Limits(whole_s=1.0, silence_s=0.2)
READY_LINE, DRAIN_LINE = b"ready up\n", b"drain\n"
HTTP = (b"GET ", b"HEAD ")


class HealthPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, draining_because: Callable[[], str | None],
                 told: Told = tell_nobody) -> None:
        """`draining_because`: why no new work is wanted, None if it is. `told`: why nobody can be let in, None when
        that is over. Raise OSError if nobody can listen there."""
        self._draining_because = draining_because
        listener = listen_on(host, port)
        self.port = int(listener.getsockname()[1])
        self._listening = Listening(listener, "health", LIMITS, self._answers, told)

    def close(self) -> None:
        self._listening.close()

    def _answers(self, received: bytes, has_said_all: bool) -> bytes | None:
        is_http = received.startswith(HTTP)
        may_become_http = any(method.startswith(received) for method in HTTP)       # nothing may, too
        if not has_said_all and (may_become_http or (is_http and not is_whole_head(received))):
            return None
        if is_http:
            return http_answer(received, self._page)
        return READY_LINE if self._draining_because() is None else DRAIN_LINE

    def _page(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/healthz":
            return "404 Not Found", "text/plain", b"there is only /healthz\n"
        reason = self._draining_because()
        if reason is None:
            return "200 OK", "text/plain", b"ready\n"
        return "503 Service Unavailable", "text/plain", f"draining: {reason}\n".encode("ascii", "replace")
