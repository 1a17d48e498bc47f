"""The decision: what we know, and where the next observation leads.

Pure; the table of a case is in `case`, that of the hooks in `readiness`.

`step(state, observation, policy, now)` is the only way the state changes; `wants(state, now)` is all that is asked of
the world. Crash recovery is asking again for what the state wants.
"""
from tideover.lifecycle.state import Case, Entry, HookState, Phase, Stage, State
from tideover.lifecycle.step import Step, step
from tideover.lifecycle.wants import wants

__all__ = ["Case", "Entry", "HookState", "Phase", "Stage", "State", "Step", "step", "wants"]
