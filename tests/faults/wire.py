"""A door in front of the metadata service that can be shut, hang, and cut answers off at the worst moment."""
from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from urllib.parse import urlsplit

RESET = struct.pack("ii", 1, 0)


class Gate:
    """Forwards connections to a service. `shut`: refused. `swallow`: taken and never answered; `swallow_next`: so many
    connections are. `reset_posts`: so many
    answers to a POST become a reset although the service has carried it out."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._service = (url.hostname, url.port)
        self._listener: socket.socket | None = None
        self.swallow, self.reset_posts, self.resets = False, 0, 0
        self.swallow_next = self.taken = 0
        self._open: set[socket.socket] = set()
        self.port = 0
        self.open()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """No server listens any more, and what was open is cut."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.add(client)
            self.taken += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._service) as service:
            self._open.add(service)
            swallowed = self.swallow_next > 0
            self.swallow_next -= swallowed
            while question := client.recv(65536):
                if self.swallow or swallowed:
                    continue
                service.sendall(question)
                answer = service.recv(65536)
                if question.startswith(b"POST") and self.resets < self.reset_posts:
                    self.resets += 1
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                client.sendall(answer)
