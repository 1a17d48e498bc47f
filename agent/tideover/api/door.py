"""The way to the agent from another process of this machine: what it is on this system is chosen here, once. What goes
through it are lines."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.api.named_pipe import Channel, Listener, connect
else:
    from tideover.api.unix_socket import Channel, Listener, connect

__all__ = ["API", "Channel", "Listener", "connect", "read_line"]

API = 1         # stands in each answer; another number where an earlier command would misunderstand the answers


def read_line(channel: Channel, longest: int) -> bytes:
    """Given a channel, return what comes up to the end of the line; or of the channel, or about `longest` bytes.

    Raise OSError.
    """
    received = bytearray()
    while len(received) < longest and (part := channel.receive()):
        received += part
        if b"\n" in part:
            break
    return bytes(received)
