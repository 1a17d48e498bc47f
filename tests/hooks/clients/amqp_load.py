"""Publishes to or consumes from a quorum queue: amqp_load.py publish|consume QUEUE HOST… (Debian's python3-pika).

A publisher waits for each confirm (10 ms apart) and goes to the next host when it fails; label = the message. A consumer's
row is one delivery. The first host is used until it fails.
"""
from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time

import pika

ROLE, QUEUE, HOSTS = sys.argv[1], sys.argv[2], sys.argv[3:]
LOST = (pika.exceptions.AMQPError, OSError)
rows = []


def over() -> bool:
    """Did the one who started us close our input?"""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def channel(host: str) -> pika.adapters.blocking_connection.BlockingChannel:
    """Connect to one host."""
    wish = pika.ConnectionParameters(host, heartbeat=60, socket_timeout=2, blocked_connection_timeout=60,
                                     stack_timeout=3, connection_attempts=1)
    opened = pika.BlockingConnection(wish).channel()
    opened.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    return opened


def publish(opened: pika.adapters.blocking_connection.BlockingChannel, number: int) -> None:
    """Publish one message and wait for its confirm."""
    text = f"{os.getpid()}-{number}"
    opened.basic_publish("", QUEUE, text.encode(), pika.BasicProperties(delivery_mode=2))
    rows[-1][3] = text


def consume(opened: pika.adapters.blocking_connection.BlockingChannel) -> None:
    """Take deliveries until the connection breaks or we shall end."""
    for method, _, body in opened.consume(QUEUE, inactivity_timeout=0.2):
        if method is not None:
            rows.append([time.monotonic(), 0.0, None, body.decode()])
            opened.basic_ack(method.delivery_tag)
        elif over():
            return


def main() -> None:
    """Go on until it is ended; print every row."""
    numbers, hosts, opened = itertools.count(), itertools.cycle(HOSTS), None
    while not over():
        due = time.monotonic()
        if ROLE == "publish":
            rows.append([due, 0.0, "did not end", ""])
        try:
            if opened is None:
                opened = channel(next(hosts))
                if ROLE == "publish":
                    opened.confirm_delivery()
            if ROLE == "consume":
                consume(opened)
                break
            publish(opened, next(numbers))
            fault = None
        except LOST as error:
            fault, opened = type(error).__name__, None
        if ROLE == "publish":
            rows[-1][1:3] = [time.monotonic() - due, fault]
        time.sleep(0.01 if fault is None else 0.05)
    json.dump(rows, sys.stdout)


main()
