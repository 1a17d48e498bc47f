"""An encoder or a viewer that always goes to the first origin that is well: rtmp_client.py publish|view STREAM HOST…

Well = GET :8080/healthz answers 200. Both drive ffmpeg and start it again when it ends; a viewer's row is one packet.
"""
from __future__ import annotations

import json
import select
import subprocess
import sys
import time
import urllib.request

ROLE, STREAM, HOSTS = sys.argv[1], sys.argv[2], sys.argv[3:]
QUICK = ["-probesize", "32", "-analyzeduration", "0", "-fflags", "nobuffer"]
rows = []


def origin() -> str | None:
    """The first host that is well."""
    for host in HOSTS:
        try:
            with urllib.request.urlopen(f"http://{host}:8080/healthz", timeout=1):
                return host
        except OSError:
            continue
    return None


def ffmpeg(host: str) -> subprocess.Popen[str]:
    """Start ffmpeg towards one host; it gives up by itself after 5 s of silence."""
    url = f"rtmp://{host}/live/{STREAM}"
    if ROLE == "publish":
        words = ["-re", "-f", "lavfi", "-i", "testsrc=size=128x96:rate=10", "-c:v", "flv1", "-g", "10",
                 "-f", "flv", "-rw_timeout", "5000000", url]
    else:
        words = ["-rw_timeout", "5000000", *QUICK, "-i", url, "-c", "copy", "-flush_packets", "1", "-f", "framecrc", "-"]
    return subprocess.Popen(["ffmpeg", "-nostdin", "-loglevel", "error", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)


def main() -> None:
    """Until standard input closes."""
    over = False
    while not over:
        host = origin()
        if host is None:
            time.sleep(0.2)
            over = bool(select.select([sys.stdin], [], [], 0)[0])
            continue
        running = ffmpeg(host)
        while running.poll() is None and not over:
            ready = select.select([sys.stdin, running.stdout], [], [], 0.5)[0]
            over = sys.stdin in ready
            if running.stdout in ready and running.stdout.readline().startswith("0,"):
                rows.append([time.monotonic(), 0.0, None, host])
        running.kill()
        running.wait()
        time.sleep(0.2)
    json.dump(rows, sys.stdout)


main()
