"""Inserts into PostgreSQL, following the primary: postgres_load.py HOST… (Debian's python3-psycopg2); label = the row's id."""
from __future__ import annotations

import itertools
import json
import select
import sys
import time

import psycopg2

DSN = (f"host={','.join(sys.argv[1:])} port=5432 user=postgres password=bench dbname=postgres connect_timeout=2 "
       "target_session_attrs=read-write tcp_user_timeout=3000")


def main() -> None:
    """Until standard input closes."""
    rows, line = [], None
    for number in itertools.count(1):
        if select.select([sys.stdin], [], [], 0.02)[0]:
            break
        due, fault = time.monotonic(), None
        try:
            if line is None:
                line = psycopg2.connect(DSN)
                line.autocommit = True
            line.cursor().execute("insert into kept values (%s)", (number,))
        except psycopg2.Error as error:
            fault, line = type(error).__name__, None
        rows.append((due, time.monotonic() - due, fault, str(number)))
    json.dump(rows, sys.stdout)


main()
