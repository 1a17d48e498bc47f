"""The clock check: asks outside time whether this machine's clock is right, and says what is known with its bound.

Never sets the clock. `checker` serves the engine; `on_demand` serves a person. Nothing is imported here: a command that
only reads what clocks are needs none of it.
"""
