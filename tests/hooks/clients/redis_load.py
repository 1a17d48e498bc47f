"""Writes to a Redis behind Sentinel: redis_load.py aware|fixed MASTER HOST:PORT… ; each write is SET of a key of its own.

An aware writer asks the Sentinels (all HOST:PORT given) for the master whenever a write failed; a fixed one keeps to the
first HOST:PORT, which is then a Redis. Closed loop, 10 ms apart; label = key.
"""
from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time

AWARE, MASTER = sys.argv[1] == "aware", sys.argv[2]
PEERS = [(a.split(":")[0], int(a.split(":")[1])) for a in sys.argv[3:]]
TIMEOUT_S = 1.0


class Redis:
    """One connection."""

    def __init__(self, at: tuple[str, int]) -> None:
        self.line = socket.create_connection(at, timeout=TIMEOUT_S)
        self.input = self.line.makefile("rb")

    def call(self, *words: str) -> object:
        """Return the answer. Raise OSError for an error or a closed connection."""
        self.line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        return self.read()

    def read(self) -> object:
        head = self.input.readline()
        if not head or head[:1] == b"-":
            raise OSError(head.decode().strip() or "closed")
        if head[:1] == b"$":
            return self.input.read(int(head[1:]) + 2)[:-2].decode() if head[1:3] != b"-1" else None
        if head[:1] == b"*":
            return [self.read() for _ in range(int(head[1:]))]
        return head[1:].decode().strip()


def connect() -> Redis:
    """Connect to where writes belong. Raise OSError if that is not known."""
    if not AWARE:
        return Redis(PEERS[0])
    for peer in PEERS:
        with contextlib.suppress(OSError):
            where = Redis(peer).call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
            found = Redis((where[0], int(where[1])))
            if found.call("ROLE")[0] == "master":
                return found
    raise OSError("no Sentinel knows a master")


def main() -> None:
    """Write until standard input closes, then print every attempt."""
    rows, redis, number = [], None, 0
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        due, fault, number = time.monotonic(), None, number + 1
        key = f"{os.getpid()}-{number}"
        try:
            redis = redis or connect()
            redis.call("SET", key, "x")
        except OSError as error:
            fault, redis = str(error) or type(error).__name__, None
        rows.append((due, time.monotonic() - due, fault, key))
    json.dump(rows, sys.stdout)


main()
