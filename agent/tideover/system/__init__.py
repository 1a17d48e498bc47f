"""What several packages need of the operating system: its clocks, and directories that are the agent's own.

Each file is one concern and chooses, once, between the systems. What only one package needs of its system lies in
that package, behind a choice of its own.
"""
