"""The figures over HTTP: GET /metrics on one address. Knows no figure; it is given a text to show."""
from __future__ import annotations

from collections.abc import Callable

from tideover.listening import Conversation, Listening, http_answer

CONVERSATION_S = 2.0        # asking and answering together; a scrape waits 10 s before it gives up


class MetricsPage:
    """Listens on one address, on one thread that sleeps until somebody asks."""

    def __init__(self, host: str, port: int, text: Callable[[], bytes], content_type: str) -> None:
        """`text`: what to show. Raise OSError if nobody can listen there."""
        self._text, self._content_type = text, content_type
        self._listening = Listening(host, port, "metrics", CONVERSATION_S, self._talk)
        self.port = self._listening.port

    def close(self) -> None:
        self._listening.close()

    def _talk(self, asker: Conversation) -> None:
        asker.say(http_answer(asker.hear_head(), self._answer))

    def _answer(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/metrics":
            return "404 Not Found", "text/plain", b"there is only /metrics\n"
        return "200 OK", self._content_type, self._text()
