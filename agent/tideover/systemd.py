"""Tells systemd how the service is doing (sd_notify(3)); silent where nobody listens."""
from __future__ import annotations

import os
import socket


def notify(message: str) -> bool:
    """Given a state such as READY=1, send it to the socket NOTIFY_SOCKET names; return whether somebody took it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]        # an abstract socket (unix(7))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(message.encode())
    except OSError:
        return False
    return True
