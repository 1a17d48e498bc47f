"""The wiring: puts the parts together into a running agent, and takes them apart again. It decides nothing.

Nothing is imported here: commands use parts of it (`policy_source`, `offline`) and need no agent.
"""
