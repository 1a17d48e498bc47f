"""The fleet: agents that coordinate through a store that already exists, by compare-and-swap and nothing else."""
