"""The agent's own door on this machine: a Unix socket or a named pipe; one JSON line asks, one JSON line answers."""
