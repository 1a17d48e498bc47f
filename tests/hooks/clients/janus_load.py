"""New Janus sessions: janus_load.py RATE TIMEOUT_S HOST… ; label = the host that took it.

All begin at the first host. One that refuses (472) or does not answer is left for the next, by this and every later client, as
a signalling server does.
"""
from __future__ import annotations

import asyncio
import json
import sys

import open_loop

RATE, TIMEOUT_S, HOSTS = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
left: set[str] = set()


async def create(host: str) -> bool:
    """Ask a host for a session. Raise OSError if the answer is neither yes nor "no new sessions"."""
    reader, writer = await asyncio.open_connection(host, 8088)
    try:
        body = json.dumps({"janus": "create", "transaction": "t"})
        writer.write(f"POST /janus HTTP/1.0\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        said = json.loads((await reader.read()).split(b"\r\n\r\n", 1)[1])
        if said["janus"] == "success":
            return True
        if said["error"]["code"] != 472:
            raise OSError(str(said["error"]))
        return False
    finally:
        writer.close()


async def begin(_number: int) -> str:
    """Begin a session on the first host that is not left. Raise OSError if none takes it."""
    for host in [host for host in HOSTS if host not in left]:
        try:
            if await create(host):
                return host
        except (OSError, asyncio.CancelledError):
            left.add(host)
            raise
        left.add(host)
    raise OSError("nobody takes new sessions")


open_loop.run(begin, RATE, TIMEOUT_S)
