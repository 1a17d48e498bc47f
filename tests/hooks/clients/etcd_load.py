"""PUTs to etcd over its HTTP gateway: etcd_load.py RATE TIMEOUT_S HOST… ; label = the key that was acknowledged."""
from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

import open_loop

RATE, TIMEOUT_S, HOSTS = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]


async def put(number: int) -> str:
    """Put a key of its own through one of the hosts. Raise OSError if it was not acknowledged."""
    host, key = HOSTS[number % len(HOSTS)], f"{os.getpid()}-{number}"
    reader, writer = await asyncio.open_connection(host, 2379)
    try:
        body = json.dumps({"key": base64.b64encode(key.encode()).decode(), "value": "eA=="})
        writer.write(f"POST /v3/kv/put HTTP/1.0\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = (await reader.read()).decode()
        if " 200 " not in answer.split("\r\n", 1)[0]:
            raise OSError(answer[:80])
        return key
    finally:
        writer.close()


open_loop.run(put, RATE, TIMEOUT_S)
