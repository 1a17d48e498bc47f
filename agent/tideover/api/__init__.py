"""The agent's own door on this machine: a Unix socket; one JSON line asks, one JSON line answers."""
