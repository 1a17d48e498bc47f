"""The drill's sample hooks for Windows, as text."""
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTES = '''\
# 10-notes.py: keeps what is known of the event, from prepare to recover.
import os
import runpy
import sys
from pathlib import Path

event = Path(os.environ["TIDEOVER_STATE_DIR"], "event.json")

with runpy.run_path(os.environ["NOTEBOOK"])["noted"](__file__):     # the drill writes down when this begins and ends
    if sys.argv[1] == "prepare":
        event.write_bytes(sys.stdin.buffer.read())                  # the event's record comes on standard input
        length = os.environ["TIDEOVER_EXPECTED_PAUSE_S"] or "?"
        print(f"this is coming: {os.environ['TIDEOVER_KIND']}, {length} s long")
    if sys.argv[1] == "recover":
        event.unlink(missing_ok=True)
        length = os.environ.get("TIDEOVER_PAUSE_S") or "?"
        reason, clock = os.environ["TIDEOVER_REASON"], os.environ["TIDEOVER_CLOCK"]
        print(f"it is over: {reason} after {length} s, the clock is {clock}")
'''

TRAFFIC = '''\
# 20-traffic.py: tells the load balancer to send no new requests, and waits until the old ones are answered.
import os
import runpy
import sys
import time
from pathlib import Path

flag = Path(os.environ["COUNTER"], "no-new-requests")

with runpy.run_path(os.environ["NOTEBOOK"])["noted"](__file__):     # the drill writes down when this begins and ends
    if sys.argv[1] == "prepare":
        flag.touch()                                                # a real one would talk to the balancer here
        time.sleep(float(os.environ["DRAIN_S"]))
        print("no new requests; the old ones are answered")
    if sys.argv[1] == "recover":
        flag.unlink(missing_ok=True)        # it may be run twice, and also when prepare was cut short
        print("requests are welcome again")
'''

COUNTER = '''\
# 30-counter.py: lets a running application save its work and stand still, and later carry on.
import os
import runpy
import sys
import time
from pathlib import Path

hold, saved = Path(os.environ["COUNTER"], "hold"), Path(os.environ["COUNTER"], "saved")

with runpy.run_path(os.environ["NOTEBOOK"])["noted"](__file__):     # the drill writes down when this begins and ends
    if sys.argv[1] == "prepare":
        hold.touch()                                                # ask it to stand still ...
        while not saved.exists():                                   # ... and wait until it does
            time.sleep(0.02)
        print(f"the counter stands still at {saved.read_text()}")
    if sys.argv[1] == "recover":
        hold.unlink(missing_ok=True)
        while saved.exists():
            time.sleep(0.02)
        print("the counter counts again")
'''

NOTEBOOK = '''\
# Read by each sample hook: one line when it begins, one when it ends by itself.
import os
import time
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def noted(file):
    note(Path(file).stem, "begun")
    yield
    note(Path(file).stem, "done")


def note(hook, what):
    words = [f"{time.time():.6f}", hook, os.environ["TIDEOVER_PHASE"], what, os.environ.get("TIDEOVER_CLOCK") or "-"]
    with open(os.environ["NOTEBOOK"] + ".log", "a", newline="") as notes:
        notes.write(" ".join(words) + "\\n")
'''

HOOKS: Mapping[str, str] = MappingProxyType({"10-notes.py": NOTES, "20-traffic.py": TRAFFIC, "30-counter.py": COUNTER})
