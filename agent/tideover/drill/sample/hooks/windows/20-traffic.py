# 20-traffic.py: takes the machine out of the load balancer and waits until open requests are answered.
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
        print("accepting new requests again")
