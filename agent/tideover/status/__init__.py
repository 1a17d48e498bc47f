"""What the agent waits for and how all is, from the state and the rows of the record alone. Pure.

The same words serve the running agent, load balancers, and a command that reads the journal of an agent that is down.
"""
from tideover.status.document import (
    draining_because,
    finding_of,
    is_checking,
    recover_owed,
    status_of,
    without_raw_times,
)

__all__ = ["draining_because", "finding_of", "is_checking", "recover_owed", "status_of", "without_raw_times"]
