"""The decision: what we know, and where the next observation leads.

Pure; the table of a case is in `case`, that of the hooks in `hook_stages`.

`step(state, observation, policy, now)` is the only way the state changes; `desired_effects(state, now)` is all that is
asked of the world. Crash recovery is asking again for what the state wants.
"""
from tideover.lifecycle.desired import desired_effects
from tideover.lifecycle.state import Case, Entry, HookState, Phase, Stage, State
from tideover.lifecycle.step import Step, step

__all__ = ["Case", "Entry", "HookState", "Phase", "Stage", "State", "Step", "desired_effects", "step"]
