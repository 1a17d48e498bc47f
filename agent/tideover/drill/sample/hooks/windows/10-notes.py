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
        print(f"announced: {os.environ['TIDEOVER_KIND']}, {length} s long")
    if sys.argv[1] == "recover":
        event.unlink(missing_ok=True)
        length = os.environ.get("TIDEOVER_PAUSE_S") or "?"
        reason, clock = os.environ["TIDEOVER_REASON"], os.environ["TIDEOVER_CLOCK"]
        print(f"it is over: {reason} after {length} s, the clock is {clock}")
