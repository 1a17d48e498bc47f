"""A metadata service that can do everything wrong, on raw sockets: what it sends is written out here, byte for byte.

`Service(fault)` runs on loopback and says who the VM is as the platform does; `fault` is given each connection that
asks for the events and does with it what it likes. None: the honest answer. The faults are the functions and rows at
the end. Shares no code with the agent and none with its simulator.
"""
from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from played_http import PlayedListener

Fault = Callable[[socket.socket], None]

EVENT = {"EventId": "A1B2C3D4-0000-4000-8000-000000000001", "EventStatus": "Scheduled", "EventType": "Freeze",
         "ResourceType": "VirtualMachine", "Resources": ["vm-1"], "NotBefore": "Fri, 20 Nov 2026 10:15:00 GMT",
         "EventSource": "Platform", "DurationInSeconds": 5}
DOCUMENT = json.dumps({"DocumentIncarnation": 1, "Events": [EVENT]}).encode()
IDENTITY = json.dumps({"name": "vm-1", "vmId": "13f56399-bd52-4150-9748-7190aae1ff21"}).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def answer(body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


class Service:
    """One listener; a thread a connection. `asked`: how often for the events, `heads`: those requests without
    their bodies, `connections`: taken so far."""

    def __init__(self, fault: Fault | None = None, *, times: int | None = None) -> None:
        """`times`: so many questions meet the fault, and each later one the honest answer; None: all."""
        self._fault, self._left = fault, times
        self._open: set[socket.socket] = set()
        self.asked = 0
        self.heads: list[bytes] = []
        self._faulty: list[threading.Thread] = []
        self._listener = PlayedListener(self._serve)
        self.endpoint = f"http://{self._listener.address}"

    @property
    def connections(self) -> int:
        return self._listener.connections

    def inject_fault(self, fault: Fault | None, *, times: int | None = None) -> None:
        self._fault, self._left = fault, times

    def rest(self) -> None:
        """Wait until the connection that met a fault is closed: what is sent into it meanwhile is lost."""
        while self._faulty:
            self._faulty.pop().join(5.0)

    def close(self) -> None:
        self._listener.shut()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with suppress(OSError), client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while question := _read_question(client):
                if b"/metadata/instance" in question:
                    client.sendall(answer(IDENTITY))
                    continue
                self.asked += 1
                self.heads.append(question)
                fault, self._left = self._fault, None if self._left is None else self._left - 1
                if fault is None or (self._left is not None and self._left < 0):
                    client.sendall(answer(DOCUMENT))
                    continue
                self._faulty.append(threading.current_thread())
                fault(client)
                return


def _read_question(client: socket.socket) -> bytes:
    """The head of the next request, and its body; b"": the client has gone."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = client.recv(65536)
        if not part:
            return b""
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += client.recv(65536)
    return head


@contextmanager
def service(fault: Fault | None = None, *, times: int | None = None) -> Iterator[Service]:
    running = Service(fault, times=times)
    try:
        yield running
    finally:
        running.close()


# --- faults ------------------------------------------------------------------------------------------------------

def says(data: bytes) -> Fault:
    """Just these bytes, then the end of the connection."""
    return lambda client: client.sendall(data)


def floods(head: bytes, block: bytes, at_most: int = 700 << 20) -> Fault:
    """These bytes, then a block again and again, as long as it is read; 700 MiB at most."""
    def flood(client: socket.socket) -> None:
        client.sendall(head)
        for _ in range(at_most // len(block)):
            client.sendall(block)

    return flood


def drips(head: bytes, part: bytes, pause_s: float) -> Fault:
    """These bytes, then a part after each pause, for a minute."""
    def drip(client: socket.socket) -> None:
        client.sendall(head)
        for _ in range(int(60 / pause_s)):
            client.sendall(part)
            time.sleep(pause_s)

    return drip


def swallows(client: socket.socket) -> None:
    """Taken, and never answered: until the client has enough."""
    while client.recv(65536):
        pass


def resets(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def resets_within(client: socket.socket) -> None:
    """In the middle of the body."""
    client.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
    time.sleep(0.02)
    resets(client)


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


# what the service sends · how · what is said of it
MALFORMED: list[tuple[str, Fault, str]] = [
    ("nothing", says(b""), "closed without an answer"),
    ("a reset", resets, "connection reset"),
    ("a reset within the body", resets_within, "connection reset"),
    ("no HTTP", says(b"SSH-2.0-OpenSSH\r\n"), "not a valid HTTP answer"),
    ("HTTP/0.9", says(DOCUMENT), "not a valid HTTP answer"),
    ("half a status line", says(b"HTTP/1.1 2"), "not a valid HTTP answer"),
    ("a status that is no number", says(b"HTTP/1.1 abc x\r\n\r\n"), "not a valid HTTP answer"),
    ("a status of four digits", says(b"HTTP/1.1 9999 \xff\r\n\r\n"), "not a valid HTTP answer"),
    ("status 999", says(b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n"), "999"),
    ("an empty answer with a NUL in its reason", says(b"HTTP/1.1 200 \0\xff\r\nContent-Length: 0\r\n\r\n"), "empty"),
    ("a redirect to itself", says(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), "redirect"),
    ("500 headers", says(HEAD + b"a: b\r\n" * 500 + b"\r\n{}"), "not a valid HTTP answer"),
    ("a header of 70 kB", says(HEAD + b"a" * 90_000), "larger than 64 KiB"),
    ("no end of headers", says(HEAD + b"a: b\r\n"), "no document"),
    ("less than its length", says(HEAD + b"Content-Length: 99\r\n\r\n{\"Events\":[]}"), "cut short"),
    ("more than its length", says(HEAD + b"Content-Length: 2\r\n\r\n{}{\"Events\":[]}"), "no list of events"),
    ("two lengths, the first too short", says(HEAD + b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(DOCUMENT)
                                              + DOCUMENT), "not a valid HTTP answer"),
    ("two lengths, the first too long", says(HEAD + b"Content-Length: %d\r\nContent-Length: 5\r\n\r\n" % len(DOCUMENT)
                                             + DOCUMENT), "not a valid HTTP answer"),
    ("two lengths in one header", says(HEAD + b"Content-Length: 5, %d\r\n\r\n" % len(DOCUMENT) + DOCUMENT),
     "not a valid HTTP answer"),
    ("a negative length", says(HEAD + b"Content-Length: -1\r\n\r\n" + DOCUMENT), "not a valid HTTP answer"),
    ("a length that is no number", says(HEAD + b"Content-Length: x\r\n\r\n" + DOCUMENT), "not a valid HTTP answer"),
    ("a length with a sign", says(HEAD + b"Content-Length: +2\r\n\r\n{}"), "not a valid HTTP answer"),
    ("a length of 5000 digits", says(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + DOCUMENT), "no document"),
    ("a length beside chunks", says(HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(DOCUMENT)
                                    + b"0\r\n\r\n"), "not a valid HTTP answer"),
    ("a length of 2 MiB", says(answer(b" " * (2 << 20))), "larger than 1 MiB"),
    ("one byte too many", says(answer(b" " * ((1 << 20) + 1))), "larger than 1 MiB"),
    ("one byte too many, in chunks", says(CHUNKED + chunks(b" " * (1 << 20), b" ") + b"0\r\n\r\n"), "larger than 1 MiB"),
    ("a chunk cut short", says(CHUNKED + b"ffff\r\n{}"), "cut short"),
    ("no last chunk", says(CHUNKED + chunks(DOCUMENT)), "cut short"),
    ("a chunk's size that is no number", says(CHUNKED + b"zz\r\n{}"), "gave no document"),
    ("a chunk's size of -5", says(CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n"), "gave no document"),
    ("a chunk's size of 5000 digits", says(CHUNKED + b"f" * 5000 + b"\r\n"), "gave no document"),
    ("a chunk's extension of 70 kB", says(CHUNKED + b"2;x=%s\r\n{}\r\n0\r\n\r\n" % (b"a" * 70_000)), "gave no document"),
    ("gzip that nobody asked for", says(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(DOCUMENT)), "not JSON"),
    ("plain text that is called gzip", says(answer(b"{}", b"Content-Encoding: gzip\r\n")), "no list of events"),
    ("Latin-1", says(answer(b"\xff\xfe{}\0")), "not JSON"),
    ("100 000 brackets", says(answer(b"[" * 100_000)), "nested too deeply"),
    ("500 000 brackets", says(answer(b"[" * 500_000)), "nested too deeply"),
]

# what the service sends without an end · how
ENDLESS: list[tuple[str, Fault]] = [
    ("a chunk of size -1", floods(CHUNKED + b"-1\r\n", b" " * (1 << 20))),
    ("a body without a length", floods(HEAD + b"\r\n", b" " * (1 << 20))),
    ("a body of many GiB", floods(HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * (1 << 20))),
    ("100 Continue", floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500)),
    ("100 Continue with headers", floods(b"", b"HTTP/1.1 100 Continue\r\na: b\r\n\r\n" * 500)),
    ("headers", floods(HEAD, b"X-A: " + b"a" * 60_000 + b"\r\n")),
    ("one header", floods(HEAD + b"X: ", b"a" * 60_000)),
    ("the status line", floods(b"HTTP/1.1 200 ", b"a" * 60_000)),
    ("trailers", floods(CHUNKED + chunks(DOCUMENT) + b"0\r\n", b"T: a\r\n" * 1000)),
    ("one trailer", floods(CHUNKED + chunks(DOCUMENT) + b"0\r\nT: ", b"a" * 60_000)),
    ("chunks of a byte", floods(CHUNKED, b"1\r\n \r\n" * 2000)),
    ("a chunk's extension", floods(CHUNKED + b"2;x=", b"a" * 60_000)),
    ("a chunk's size", floods(CHUNKED, b"0" * 60_000)),
]

# what the service sends, slowly · how
SLOW: list[tuple[str, Fault]] = [
    ("nothing", swallows),
    ("a status line by the byte", drips(b"", b"H", 0.02)),
    ("headers by the byte", drips(HEAD, b"a", 0.02)),
    ("a header at a time", drips(HEAD, b"a: b\r\n", 0.02)),
    ("a body by the byte", drips(HEAD + b"Content-Length: 90000\r\n\r\n", b" ", 0.02)),
    ("a chunk at a time", drips(CHUNKED, b"1\r\n \r\n", 0.02)),
    ("a trailer at a time", drips(CHUNKED + chunks(DOCUMENT) + b"0\r\n", b"T: a\r\n", 0.02)),
    ("100 Continue", drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02)),
]

# what is odd about an answer that is good all the same · how
ODD_BUT_GOOD: list[tuple[str, Fault]] = [
    ("HTTP/1.0 without a length", says(b"HTTP/1.0 200 OK\r\n\r\n" + DOCUMENT)),
    ("no length", says(HEAD + b"\r\n" + DOCUMENT)),
    ("the same length twice", says(HEAD + b"Content-Length: %d\r\n" % len(DOCUMENT) * 2 + b"\r\n" + DOCUMENT)),
    ("100 Continue before it", says(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(DOCUMENT))),
    ("chunks", says(CHUNKED + chunks(DOCUMENT[:9], DOCUMENT[9:]) + b"0\r\n\r\n")),
    ("chunks with extensions and a trailer", says(CHUNKED + b"%x;a=b\r\n%s\r\n0\r\nT: a\r\n\r\n" % (len(DOCUMENT), DOCUMENT))),
    ("no blank after a header's name", says(answer(DOCUMENT, b"a:b\r\n"))),
    ("a Date that is none", says(answer(DOCUMENT, b"Date: yesterday\r\n"))),
    ("the year 1", says(answer(DOCUMENT, b"Date: Mon, 01 Jan 0001 00:00:00 GMT\r\n"))),
    ("the year 9999", says(answer(DOCUMENT, b"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"))),
    ("two Dates", says(answer(DOCUMENT, b"Date: Fri, 31 Dec 1999 23:59:59 GMT\r\nDate: x\r\n"))),
    ("UTF-16", says(answer(DOCUMENT.decode().encode("utf-16")))),
    ("just 1 MiB", says(answer(DOCUMENT + b" " * ((1 << 20) - len(DOCUMENT))))),
    ("an integer of 6000 digits", says(answer(DOCUMENT.replace(b": 1,", b": " + b"9" * 6000 + b",", 1)))),
    ("NaN", says(answer(DOCUMENT.replace(b": 1,", b": NaN,", 1)))),
    ("a field nested deeply", says(answer(DOCUMENT.replace(b'"EventId"', b'"Odd": ' + b"[" * 800 + b"]" * 800 + b', "EventId"')))),
]
