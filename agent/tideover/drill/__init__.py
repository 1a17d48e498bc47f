"""The drill: the whole life of one event, on this machine, before the eyes of whoever asked for it.

It plays the platform (a metadata service and a time server on loopback), starts a real agent with real hooks, stops it
for real, and judges the contract's promises by what it measured itself, not by what the agent says of itself. It never
touches the platform, nor anything outside its own temporary folder (but for what the owner's own hooks do).
"""
from tideover.drill.course import Outcome, play
from tideover.drill.own import own_hooks
from tideover.drill.plan import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, OwnHooks, Plan, hooks_that_run
from tideover.drill.stage import Stage
from tideover.drill.telling import Line
from tideover.drill.verdict import Finding

__all__ = ["LONGEST_PAUSE_S", "SHORTEST_PAUSE_S", "Finding", "Line", "Outcome", "OwnHooks", "Plan", "Stage",
           "hooks_that_run", "own_hooks", "play"]
