"""What several hands need of the operating system: its clocks, and directories that are the agent's own.

Each file is one concern and chooses, once, between the systems. What only one hand needs of its system lies in that
hand, behind a choice of its own.
"""
