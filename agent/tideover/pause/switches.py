"""What Windows counts: who ran in a gap, by changes of the processors from thread to thread. Nothing is judged here.

Windows tells neither how long we were ready to run nor what the hypervisor took, so that this is all the evidence.
"""
from __future__ import annotations

import sys

if sys.platform == "win32":
    import time

    from tideover.pause.affordable import affordable_every_ns
    from tideover.timekeeping.stalls import Counters
    from tideover.winapi.clocks import read_context_switches

    class SwitchCounters:
        """The counters of `CounterSource` that there are here."""

        def __init__(self) -> None:
            self._price_ns = 0

        def read(self) -> Counters:
            """Return the counters as of now. Our own switches are among the machine's: a few dozen a second."""
            began = time.perf_counter_ns()
            counters = Counters(switches=read_context_switches())
            self._price_ns = max(1000, time.perf_counter_ns() - began)
            return counters

        def traced_by(self) -> int:
            return 0

        def clocksource(self) -> str:
            return ""

        def affordable_every_ns(self) -> int:
            """Return how far apart readings must be to cost no more than their share."""
            return affordable_every_ns(self._price_ns)

        def close(self) -> None:
            """It holds nothing."""
