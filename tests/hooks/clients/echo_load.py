"""Twenty long-lived connections that ask every 100 ms and connect again when reset: echo_load.py HOST PORT.

Like a database's or a broker's client without a timeout of its own: how long it waits is TCP's doing.
"""
from __future__ import annotations

import asyncio
import json
import sys
import time

HOST, PORT, COUNT = sys.argv[1], int(sys.argv[2]), 20
rows: list[list[object]] = []


async def talk(number: int) -> None:
    """One client, for ever."""
    writer = None
    while True:
        due, fault = time.monotonic(), None
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(b"ping\n")
            if await reader.readline() != b"ping\n":
                raise ConnectionResetError("closed")
        except OSError as error:
            fault, writer = type(error).__name__, None
        rows.append([due, time.monotonic() - due, fault, str(number)])
        await asyncio.sleep(0.1 if fault is None else 0.05)


async def main() -> None:
    """Until standard input closes; what is still unanswered then counts as answered then."""
    begun = [asyncio.ensure_future(talk(number)) for number in range(COUNT)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in begun:
        task.cancel()
    json.dump(rows, sys.stdout)


asyncio.run(main())
