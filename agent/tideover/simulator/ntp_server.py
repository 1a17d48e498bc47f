"""A simulated NTP server whose clock can be offset.

Packet: RFC 5905, section 7.3. It answers client packets (mode 3) only, one datagram for each.
"""
from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tideover.threads import Loop

PACKET = struct.Struct("!BBbbII4sQQQQ")    # leap/version/mode … reference, origin, receive, transmit
SINCE_1900_S = 2_208_988_800               # from the epoch of NTP to that of Unix
CLIENT, SERVER = 3, 4                      # modes
PRECISION = -20                            # log2 s: about a microsecond
REST_S, CLOSE_S = 0.05, 5.0
SHORT_TIME_OF_1_MS = 66                    # 16.16 fixed point: root delay and dispersion


class TimeServer:
    """Serves this machine's time plus `offset_s`, which may be changed at any moment.

    `offset_s` > 0: the server is ahead, so this machine seems to be behind by as much. `stratum`, `leap` and
    `reference_id` go into the packet as they are (stratum 0 with b"RATE" is a kiss of death, leap 3 says that the
    server itself knows no time). `silent`: it hears and does not answer. `now`: seconds since the epoch.
    """

    def __init__(self, offset_s: float = 0.0, *, stratum: int = 2, host: str = "127.0.0.1", port: int = 0,
                 now: Callable[[], float] = time.time) -> None:
        self.offset_s, self.stratum, self.leap, self.reference_id = offset_s, stratum, 0, b"SIMU"
        self.silent, self.delay_s = False, 0.0
        self.asked = 0                     # datagrams received
        self._now = now
        self._closing = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()
        self.address = f"{self.host}:{self.port}"
        self._is_started = False
        self._loop = Loop("time-server", self._serve)

    def start(self) -> None:
        self._is_started = True
        self._loop.start()

    def close(self) -> None:
        self._closing.set()
        if self._is_started:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", (self.host, self.port))
            self._loop.end(CLOSE_S)
        self._socket.close()

    def __enter__(self) -> TimeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(1024)
            except OSError:                # on Windows, an answer that could not be delivered comes back here
                if self._closing.wait(REST_S):
                    return
                continue
            received = self._now() + self.offset_s
            if self._closing.is_set():
                return
            self.asked += 1
            if self.silent or len(question) < PACKET.size or question[0] & 7 != CLIENT:
                continue
            self._closing.wait(self.delay_s)
            with suppress(OSError):        # no memory for it now, or the client cannot be reached
                self._socket.sendto(self._answer(question, received), client)

    def _answer(self, question: bytes, received: float) -> bytes:
        version = question[0] >> 3 & 7
        asked_at = PACKET.unpack_from(question)[-1]
        return PACKET.pack(
            self.leap << 6 | version << 3 | SERVER, self.stratum, question[2], PRECISION, SHORT_TIME_OF_1_MS,
            SHORT_TIME_OF_1_MS, self.reference_id.ljust(4, b"\0")[:4], _timestamp(received - 1.0), asked_at,
            _timestamp(received), _timestamp(self._now() + self.offset_s))


def _timestamp(seconds: float) -> int:
    """Given seconds since 1970, return NTP's 64 bits: whole seconds since 1900 modulo 2**32, and the fraction."""
    whole, fraction = divmod(seconds + SINCE_1900_S, 1.0)
    return int(whole) % 2**32 << 32 | int(fraction * 2**32)
