"""The drill: one event from announcement to recovery, on this machine, shown step by step.

It plays the platform (a metadata service and a time server on loopback), starts a real agent with real hooks, stops it
for real, and checks the guarantees by its own measurements, not by what the agent reports. It never
touches the platform, nor anything outside its own temporary folder (but for what the owner's own hooks do).
"""
from tideover.drill.checks import CheckResult
from tideover.drill.environment import DrillEnvironment
from tideover.drill.fleet import FleetDrill, FleetOutcome
from tideover.drill.observer import TimelineLine
from tideover.drill.plan import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, DrillPlan, OwnHooks, hooks_that_run, user_hooks
from tideover.drill.run import DrillOutcome, run_drill

__all__ = [
           "LONGEST_PAUSE_S",
           "SHORTEST_PAUSE_S",
           "CheckResult",
           "DrillEnvironment",
           "DrillOutcome",
           "DrillPlan",
           "FleetDrill",
           "FleetOutcome",
           "OwnHooks",
           "TimelineLine",
           "hooks_that_run",
           "run_drill",
           "user_hooks",
]
