"""How seldom systemd-timesyncd may measure, by its configuration (timesyncd.conf(5))."""
from __future__ import annotations

import re

from tideover.clock.daemons.files import first_of_each_name
from tideover.doctor.machine import Machine

FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
DEFAULT_POLL_S = 2048.0
LONG_POLL_S = 64.0           # of a wrong clock, about as long as the default [clock] deadline
KEY = re.compile(r"^\s*PollIntervalMaxSec\s*=\s*(.*?)\s*$", re.MULTILINE)
# systemd.time(7): without a unit it is seconds
SPAN = re.compile(r"([0-9.]+)\s*([a-z]*)")
UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0}


def longest_poll_s(machine: Machine) -> float:
    """Given the machine, return the longest interval between two measurements."""
    surroundings = machine.surroundings
    main = next((f"{folder}/timesyncd.conf" for folder in FOLDERS if machine.has_file(f"{folder}/timesyncd.conf")), "")
    drop_ins = first_of_each_name([surroundings.path(f"{folder}/timesyncd.conf.d") for folder in FOLDERS], ".conf")
    texts = [machine.text(main)] if main else []
    texts += [machine.text(f"/{file.relative_to(machine.root)}") for file in drop_ins]
    set_last = [value for text in texts for value in KEY.findall(text)][-1:]
    return (_seconds(set_last[0]) if set_last else 0.0) or DEFAULT_POLL_S


def _seconds(span: str) -> float:
    try:
        return sum(float(number) * UNITS_S[unit] for number, unit in SPAN.findall(span))
    except (KeyError, ValueError):
        return 0.0
