"""The agent's own health page without the rest of the agent: health_page.py HOST PORT FILE ; it drains while FILE is there."""
from __future__ import annotations

import signal
import sys
from pathlib import Path

from tideover.http_server import HealthPage

HealthPage(sys.argv[1], int(sys.argv[2]), lambda: "freeze" if Path(sys.argv[3]).exists() else None)
signal.pause()
