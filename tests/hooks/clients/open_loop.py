"""An open-loop load: request i is due at i/rate whatever became of the others; latency counts from the due time.

Run until standard input closes; then print one JSON list of [due, took, fault or null, label] and end. Due times are
CLOCK_MONOTONIC, so that several clients can be laid side by side.
"""
from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

Attempt = Callable[[int], Awaitable[str]]     # answers a label; raises OSError or TimeoutError when it failed


async def drive(attempt: Attempt, rate: float, timeout_s: float) -> list[tuple[float, float, str | None, str]]:
    """Given one attempt, a rate and the client's patience, run until standard input closes; return every result."""
    results: list[tuple[float, float, str | None, str]] = []
    running: set[asyncio.Task[None]] = set()
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    async def one(number: int, due: float) -> None:
        fault, label = None, ""
        try:
            label = await asyncio.wait_for(attempt(number), timeout_s)
        except (OSError, TimeoutError, EOFError) as error:
            fault = type(error).__name__ + (f": {error}" if str(error) else "")
        results.append((due, time.monotonic() - due, fault, label))

    begun, number = time.monotonic(), 0
    while not over.done():
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.ensure_future(one(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)
    return results


def run(attempt: Attempt, rate: float, timeout_s: float) -> None:
    """Given one attempt, drive it and print the results."""
    json.dump(asyncio.run(drive(attempt, rate, timeout_s)), sys.stdout)
