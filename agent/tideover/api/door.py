"""The way to the agent from another process of this machine: what it is on this system is chosen here, once."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.api.named_pipe import Channel, Listener, connect
else:
    from tideover.api.unix_socket import Channel, Listener, connect

__all__ = ["Channel", "Listener", "connect"]
