"""A server on a raw socket whose every answer a test writes out, byte for byte."""
from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class PlayedRequest:
    method: str
    target: str
    headers: Mapping[str, str]       # names in lower case
    body: bytes


Reply = Callable[[PlayedRequest], bytes]
"""Given a request, return what is sent back; b"" closes the connection."""


class PlayedListener:
    """Listens on loopback from the start to `shut`; each connection is given to `serve`, on a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.connections, self._serve = 0, serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()


class PlayedServer:
    """Answers from the start to `shut`. `reply` may be changed; `requests`: all so far."""

    def __init__(self, reply: Reply | bytes) -> None:
        self.reply: Reply = (lambda _: reply) if isinstance(reply, bytes) else reply
        self.requests: list[PlayedRequest] = []
        self._listener = PlayedListener(self._serve)
        self.address, self.shut = self._listener.address, self._listener.shut
        self.url = f"http://{self.address}"

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, client.makefile("rb") as lines:
            while first := lines.readline().decode():
                headers: dict[str, str] = {}
                while line := lines.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                method, target = first.split()[:2]
                self.requests.append(PlayedRequest(method, target, headers, lines.read(int(headers.get("content-length", 0)))))
                sent = self.reply(self.requests[-1])
                if not sent:
                    return
                client.sendall(sent)


@contextmanager
def played_servers() -> Iterator[Callable[..., PlayedServer]]:
    """Give what starts such a server with its reply; all end with this."""
    playing: list[PlayedServer] = []

    def begin(reply: Reply | bytes) -> PlayedServer:
        playing.append(PlayedServer(reply))
        return playing[-1]

    yield begin
    for one in playing:
        one.shut()
