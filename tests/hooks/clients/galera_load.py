"""Inserts into MariaDB at a steady rate: galera_load.py RATE TIMEOUT_S HOST… (Debian's python3-pymysql); label = the id.

Each host has its own connection; a request that is not answered in time has failed, as for an application's own limit.
"""
from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time

import pymysql

RATE, TIMEOUT_S, HOSTS = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
rows: list[tuple[float, float, str | None, str]] = []
due_now: queue.Queue[tuple[float, int] | None] = queue.Queue()


def work(number: int) -> None:
    """One connection of a pool, to one host."""
    line = None
    while (task := due_now.get()) is not None:
        due, key = task
        fault = None
        try:
            if line is None:
                line = pymysql.connect(host=HOSTS[number % len(HOSTS)], user="writer", database="bench", autocommit=True,
                                       connect_timeout=2, read_timeout=TIMEOUT_S, write_timeout=TIMEOUT_S)
            line.cursor().execute("insert into kept values (%s)", (key,))
        except (pymysql.Error, OSError) as error:
            fault, line = type(error).__name__, None
        rows.append((due, time.monotonic() - due, fault, str(key)))


def main() -> None:
    """Until standard input closes."""
    pool = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in pool:
        thread.start()
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    begun, number = time.monotonic(), 0
    while not over.wait(max(0.0, begun + number / RATE - time.monotonic())):
        due_now.put((begun + number / RATE, os.getpid() % 10_000 * 100_000 + number))
        number += 1
    for _ in pool:
        due_now.put(None)
    for thread in pool:
        thread.join()
    json.dump(rows, sys.stdout)


main()
