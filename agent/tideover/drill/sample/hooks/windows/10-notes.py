# 10-notes.py: keeps what is known of the event, from prepare to recover.
import os
import runpy
import sys
from pathlib import Path

event = Path(os.environ["TIDEOVER_STATE_DIR"], "event.json")

with runpy.run_path(os.environ["NOTEBOOK"])["noted"](__file__):     # the drill writes down when this begins and ends
    if sys.argv[1] == "prepare":
        event.write_bytes(sys.stdin.buffer.read())                  # the event's record comes on standard input
        length_s = os.environ["TIDEOVER_EXPECTED_PAUSE_S"]
        print(f"announced: {os.environ['TIDEOVER_KIND']}{f', {length_s} s long' if length_s else ''}")
    if sys.argv[1] == "recover":
        event.unlink(missing_ok=True)
        length_s = os.environ.get("TIDEOVER_PAUSE_S", "")
        reason, clock = os.environ["TIDEOVER_REASON"], os.environ["TIDEOVER_CLOCK"]
        print(f"it is over: {reason}{f' after {length_s} s' if length_s else ''}, the clock is {clock}")
