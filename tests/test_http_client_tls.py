"""The HTTP client over TLS keeps the bounds that it has without: time, bytes, and an end from another thread."""
from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from http_faults import answer
from played_http import PlayedListener
from real_etcd import need
from tideover.http_client import HttpClient, RequestFailed
from tideover.http_tls import Tls

pytestmark = pytest.mark.slow

TIMEOUT_S = 0.6
WITHIN_S = 1.5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("openssl", hint="apt-get install openssl")
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out",
                    "cert.pem", "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1"],
                   cwd=home, check=True, capture_output=True)
    return home


class TlsServer:
    """Each connection is given to `serve`, after the handshake or before it."""

    def __init__(self, certificate: Path, serve: Callable[[socket.socket], None], *, handshake: bool = True) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        self._serve, self._handshake = serve, handshake
        self._listener = PlayedListener(self._take)
        self.url, self.close = f"https://{self._listener.address}/", self._listener.shut

    @property
    def connections(self) -> int:
        return self._listener.connections

    def _take(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self._handshake:
                client = self._context.wrap_socket(client, server_side=True)
            with client:
                self._serve(client)


@pytest.fixture
def run(certificate: Path) -> Iterator[Callable[..., tuple[HttpClient, TlsServer]]]:
    running: list[tuple[HttpClient, TlsServer]] = []

    def begin(serve: Callable[[socket.socket], None], **options: bool) -> tuple[HttpClient, TlsServer]:
        client = HttpClient({"X-Ours": "1"}, tls=Tls(str(certificate / "cert.pem")))
        running.append((client, TlsServer(certificate, serve, **options)))
        return running[-1]

    yield begin
    for client, server in running:
        client.close()
        server.close()


def drip(data: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.recv(1 << 16)
        for byte in data * 100:
            client.sendall(bytes([byte]))
            time.sleep(0.05)
    return serve


def wait(client: socket.socket) -> None:
    time.sleep(20)


def refuse_twice(client: socket.socket) -> None:
    while client.recv(1 << 16):
        client.sendall(answer(b'{"message": "no"}', status=b"403 Forbidden"))


def test_one_connection_serves_several_exchanges_and_the_body_of_an_error_is_read(run):
    client, server = run(refuse_twice)
    for _ in range(3):
        found = client.exchange("DELETE", server.url + "x", 2.0, headers={"If-Match": "1"})
        assert (found.status, found.body) == (403, b'{"message": "no"}')
    assert server.connections == 1


@pytest.mark.parametrize("serve", [wait, drip(b"\x16\x03\x03\x00\x7a\x02")], ids=["silent", "dripping"])
def test_a_handshake_that_does_not_end_does_not_outlast_the_exchange(run, serve):
    client, server = run(serve, handshake=False)
    began = time.monotonic()
    with pytest.raises(RequestFailed):
        client.exchange("GET", server.url, TIMEOUT_S)
    assert time.monotonic() - began < WITHIN_S


@pytest.mark.parametrize("serve", [wait, drip(b"HTTP/1.1 200 OK\r\n"), drip(answer(b"x" * 1000))], ids=["silent", "status line", "body"])
def test_an_answer_that_drips_does_not_outlast_the_exchange(run, serve):
    client, server = run(serve)
    began = time.monotonic()
    with pytest.raises(RequestFailed, match="in time") as found:
        client.exchange("GET", server.url, TIMEOUT_S)
    assert time.monotonic() - began < WITHIN_S and found.value.timed_out and found.value.may_be_received and not found.value.is_tls


@pytest.mark.parametrize(("sent", "words"), [
    (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), "larger than 1 MiB"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (1 << 14), "larger than 64 KiB|not a valid HTTP answer"),
    (b"HTTP/1.1 200 OK\r\n\r\nhalf a docu", "the connection was closed without an answer"),
    (b"HTTP/1.1 201 Created\r\nETa", "the connection was closed without an answer"),
], ids=["body", "headers", "cut in the body", "cut in the headers"])
def test_an_answer_without_end_is_cut_off_and_one_that_is_cut_is_none(run, sent, words):
    """TLS says where a connection ends; where it does not, somebody may have cut it."""
    def serve(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(sent)

    client, server = run(serve)
    with pytest.raises(RequestFailed, match=words):
        client.exchange("GET", server.url, 5.0)


def read_slowly(client: socket.socket) -> None:
    while client.recv(1 << 16):
        time.sleep(0.2)


@pytest.mark.parametrize("serve", [wait, read_slowly])
def test_a_server_that_reads_nothing_or_slowly_does_not_hold_a_large_request_longer(run, serve):
    client, server = run(serve)
    began = time.monotonic()
    with pytest.raises(RequestFailed):
        client.exchange("PUT", server.url, TIMEOUT_S, b"x" * (64 << 20))
    assert time.monotonic() - began < WITHIN_S + 1


@pytest.mark.parametrize("handshake", [True, False], ids=["waiting for the answer", "in the handshake"])
def test_close_from_another_thread_ends_the_exchange(run, handshake):
    client, server = run(wait, handshake=handshake)
    threading.Timer(0.3, client.close).start()
    began = time.monotonic()
    with pytest.raises(RequestFailed, match="ended by this agent"):
        client.exchange("GET", server.url, 15.0)
    assert time.monotonic() - began < 5


def test_a_connection_that_was_idle_for_long_is_not_used_again(certificate):
    server = TlsServer(certificate, refuse_twice)
    now = [0.0]
    client = HttpClient({}, lambda: now[0], tls=Tls(str(certificate / "cert.pem")), longest_idle_s=60.0)
    for later_s, connections in ((0, 1), (59, 1), (61, 2)):
        now[0] += later_s
        client.exchange("GET", server.url, 2.0)
        assert server.connections == connections
    client.close()
    server.close()


def test_a_client_without_tls_takes_no_https_and_one_with_it_no_http(run):
    client, server = run(wait)
    with pytest.raises(RequestFailed, match="not an https:// address"):
        client.exchange("GET", server.url.replace("https", "http"), 1.0)
    with pytest.raises(RequestFailed, match="not an http:// address"):
        HttpClient({}).get(server.url, 1.0)


def test_the_environment_changes_neither_way_nor_trust(run, monkeypatch):
    """requests would take proxies, a bundle of authorities and .netrc from it."""
    client, server = run(refuse_twice)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nonexistent")
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", "/nonexistent")     # Debian's, without ca-certificates
    assert client.exchange("GET", server.url, 2.0).status == 403
    strange = HttpClient({}, tls=Tls())
    with pytest.raises(RequestFailed, match="its certificate is refused") as found:
        strange.exchange("GET", server.url, 2.0)
    assert found.value.is_tls
