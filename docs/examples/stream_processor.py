"""A small stream processor: counts the events that a TCP source sends, and loses none over a pause of the machine.

The source sends one event a line, its number first, and keeps little for a reader that does not read. Before a pause
this program tells it to hold, takes what is under way, and writes its checkpoint; afterwards it reads on. Usage:

    stream_processor.py HOST:PORT CHECKPOINT [--alone]

`--alone`: without tideover, for a comparison.
"""
from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

from tideover.client import Application

HOLD, GO_ON = b"hold\n", b"go on\n"


class StreamProcessor:
    """Reads events, and keeps their numbers."""

    def __init__(self, address: str, checkpoint: Path) -> None:
        host, _, port = address.rpartition(":")
        self.source = socket.create_connection((host, int(port)))
        self.checkpoint = checkpoint
        self.seen: list[int] = []
        self.is_held = threading.Event()

    def read(self) -> None:
        """Count until the source closes the connection. It answers `hold` with a line `held`."""
        with self.source.makefile("r") as lines:
            for line in lines:
                if line.strip() == "held":
                    self.is_held.set()
                else:
                    self.seen.append(int(line.split()[0]))
        self.save()

    def hold(self) -> None:
        """Nothing is under way any more when this returns, and what was counted is on disk."""
        self.is_held.clear()
        self.source.sendall(HOLD)
        if not self.is_held.wait(5.0):
            raise TimeoutError("the source did not hold")
        self.save()

    def go_on(self) -> None:
        self.source.sendall(GO_ON)

    def save(self) -> None:
        self.checkpoint.write_text(json.dumps({"count": len(self.seen), "seen": self.seen}))


def main() -> None:
    processor = StreamProcessor(sys.argv[1], Path(sys.argv[2]))
    reader = threading.Thread(target=processor.read)
    reader.start()
    if "--alone" not in sys.argv:
        threading.Thread(target=take_part, args=(processor,), daemon=True).start()
    reader.join()


def take_part(processor: StreamProcessor) -> None:
    with Application("stream-processor") as app:
        for run in app.runs():
            with run:
                if run.phase == "prepare":
                    processor.hold()
                else:
                    processor.go_on()


if __name__ == "__main__":
    main()
