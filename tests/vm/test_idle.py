"""What the agent costs in a guest while nothing happens: the figures of an ordinary machine, the processor's emulation
taken out."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from .play import Play
from .table import Row

pytestmark = pytest.mark.slow

WATCHED_S = 30
MOST_MIB, MOST_WAKES_A_S, MOST_SHARE = 29.0, 12.0, 0.004        # MiB: what the README says

# Work of the kind the agent does, none of it in a library: how much slower the emulated processor does it.
YARDSTICK = """
import json, time
text = json.dumps([{"EventId": str(n), "Resources": ["vm-%d" % n]} for n in range(40)])
began = time.process_time()
for _ in range(60):
    sum(len(one["EventId"]) for one in json.JSONDecoder(object_hook=dict).decode(text))
print(time.process_time() - began)
"""
COUNT = """
import glob, json, subprocess, time
pid = subprocess.run(["systemctl", "show", "-P", "MainPID", "tideover"], capture_output=True, text=True).stdout.strip()
def field(path, name):
    return int(next(line.split()[1] for line in open(path) if line.startswith(name)))
def counted():
    tasks = glob.glob(f"/proc/{pid}/task/*")
    return (sum(int(open(f"{task}/schedstat").read().split()[0]) for task in tasks) / 1e9,
            sum(field(f"{task}/status", "voluntary_ctxt_switches") for task in tasks))
(cpu, wakes), began = counted(), time.monotonic()
time.sleep(%d)
(more, after), lasted = counted(), time.monotonic() - began
print(json.dumps([(more - cpu) / lasted, (after - wakes) / lasted, field(f"/proc/{pid}/status", "VmRSS") / 1024]))
"""


def test_what_it_costs_while_nothing_happens(play: Play, tell: Callable[[Row], None]) -> None:
    """Memory and wake-ups as they are; of the processor, what the same work takes on the machine beneath."""
    play.machine.write("/tmp/yardstick.py", YARDSTICK)
    play.machine.write("/tmp/count.py", COUNT % WATCHED_S)
    share, wakes_a_s, resident_mib = json.loads(play.machine.run("python3 /tmp/count.py", WATCHED_S + 60.0))
    there_s = min(float(play.machine.run("python3 /tmp/yardstick.py")) for _ in range(3))
    here_s = min(float(subprocess.run([sys.executable, "-c", YARDSTICK], capture_output=True, text=True,
                                      check=True).stdout) for _ in range(3))
    slower = there_s / here_s
    tell(Row("idle", None, cause="-", remarks=f"{resident_mib:.1f} MiB, {wakes_a_s:.1f} wake-ups/s, {share:.2%} of an emulated "
             f"processor, {slower:.0f} times slower than the one beneath: {share / slower:.2%} of that"))
    assert resident_mib < MOST_MIB
    assert wakes_a_s <= MOST_WAKES_A_S
    assert share / slower < MOST_SHARE
