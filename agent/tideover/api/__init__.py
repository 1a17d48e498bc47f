"""The agent's API on this machine: a Unix socket or a named pipe; one JSON line asks, one JSON line answers."""
