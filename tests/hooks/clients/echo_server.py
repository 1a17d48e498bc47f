"""Answers every line with itself: echo_server.py PORT."""
from __future__ import annotations

import asyncio
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main() -> None:
    """For ever."""
    async with await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1])) as server:
        await server.serve_forever()


asyncio.run(main())
