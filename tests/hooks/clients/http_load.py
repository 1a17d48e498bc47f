"""GET over HTTP, a connection each: http_load.py HOST PORT PATH RATE TIMEOUT_S."""
from __future__ import annotations

import asyncio
import sys

import open_loop

HOST, PORT, PATH, RATE, TIMEOUT_S = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5])


async def get(_number: int) -> str:
    """Return the status line's number. Raise OSError if it is not 200 or the answer is cut short."""
    reader, writer = await asyncio.open_connection(HOST, PORT)
    try:
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(int(h.split(":")[1]) for h in head.split("\r\n") if h.lower().startswith("content-length:"))
        await reader.readexactly(length)
        status = head.split(" ", 2)[1]
        if status != "200":
            raise OSError(f"status {status}")
        return status
    finally:
        writer.close()


open_loop.run(get, RATE, TIMEOUT_S)
