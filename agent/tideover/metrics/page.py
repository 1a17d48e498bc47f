"""The figures over HTTP: GET /metrics on one address. Knows no figure; it is given a text to show."""
from __future__ import annotations

from collections.abc import Callable

from tideover.listening import Limits, Listening, Told, http_answer, is_whole_head, listen_on, tell_nobody

LIMITS = Limits(whole_s=2.0)        # asking, and then answering; a scrape waits 10 s before it gives up


class MetricsPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, text: Callable[[], bytes], content_type: str,
                 told: Told = tell_nobody) -> None:
        """`text`: what to show. `told`: why nobody can be let in, None when that is over. Raise OSError if nobody can
        listen there."""
        self._text, self._content_type = text, content_type
        listener = listen_on(host, port)
        self.port = int(listener.getsockname()[1])
        self._listening = Listening(listener, "metrics", LIMITS, self._answers, told)

    def close(self) -> None:
        self._listening.close()

    def _answers(self, received: bytes, has_said_all: bool) -> bytes | None:
        return http_answer(received, self._page) if has_said_all or is_whole_head(received) else None

    def _page(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/metrics":
            return "404 Not Found", "text/plain", b"there is only /metrics\n"
        return "200 OK", self._content_type, self._text()
