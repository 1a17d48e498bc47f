"""A strict receiver of webhooks: receiver.py HOST PORT LOG [CERTIFICATE KEY] ; what it takes is appended to LOG, a line each.

It takes only POSTs of JSON with an honest Content-Length. /ok takes; /error answers 500; /moved redirects; /drip answers a
byte five times a second.
"""
from __future__ import annotations

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Take or refuse."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] != "application/json" or not isinstance(json.loads(body), dict):
            return self.answer(415)
        if self.path == "/moved":
            return self.answer(302, Location="/ok")
        if self.path == "/drip":
            return self.drip()
        if self.path != "/ok":
            return self.answer(500)
        with Path(sys.argv[3]).open("ab") as log:
            log.write(body + b"\n")
        return self.answer(200)

    def do_GET(self) -> None:
        """A redirected POST arrives like this: no receiver may take it."""
        Path(sys.argv[3]).write_text("a GET came\n")
        self.answer(405)

    def answer(self, status: int, **headers: str) -> None:
        """Given a status, answer without a body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def drip(self) -> None:
        """Answer so slowly that each read is in time and the whole never is."""
        for letter in b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 20:
            try:
                self.wfile.write(bytes([letter]))
            except OSError:
                return
            time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Receiver)
if len(sys.argv) > 4:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[4], sys.argv[5])
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
