"""Nothing lost: everything around the agent breaks, and its promises hold. `pytest -m slow tests/faults -q` prints the
table: each fault, how it is made, how often it was tried, what held."""
