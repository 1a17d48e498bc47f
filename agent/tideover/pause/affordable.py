"""What keeping the evidence of a gap fresh may cost while no event is near."""
from __future__ import annotations

# Of one processor's time. /proc/stat costs 5 µs here and 1 ms on a machine with hundreds of processors; at this share
# the first is read on every beat and the second every 2 s.
AFFORDABLE_SHARE = 5e-4


def affordable_every_ns(price_ns: int) -> int:
    """Given what one reading costs in ns, return how far apart readings must be to cost no more than their share."""
    return int(price_ns / AFFORDABLE_SHARE)
