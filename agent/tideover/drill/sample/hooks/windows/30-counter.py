# 30-counter.py: makes a running application save its state and stop, and later continue.
import os
import runpy
import sys
import time
from pathlib import Path

hold, saved = Path(os.environ["COUNTER"], "hold"), Path(os.environ["COUNTER"], "saved")

with runpy.run_path(os.environ["NOTEBOOK"])["noted"](__file__):     # the drill writes down when this begins and ends
    if sys.argv[1] == "prepare":
        hold.touch()                                                # ask it to stop ...
        while not saved.exists():                                   # ... and wait until it does
            time.sleep(0.02)
        print(f"the counter is stopped at {saved.read_text()}")
    if sys.argv[1] == "recover":
        hold.unlink(missing_ok=True)
        while saved.exists():
            time.sleep(0.02)
        print("the counter counts again")
