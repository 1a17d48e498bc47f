"""What the agent costs while nothing happens, at one poll a second.

    python -m benchmarks.idle [--seconds 60] [--metrics] [--platform azure]     (in tests/, with the package importable)

On vsphere, at its poll every 2 s, the share of one core is with that of the stand-in for vmtoolsd, a program each time. With --metrics it serves figures, asked for every 15 s as Prometheus would, and writes them to a file. Prints resident memory, share of one core, and wake-ups a second over all threads (voluntary context switches: each is
a thread that slept and was woken). Asserts nothing.
"""
from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running_agent import World, world
from tideover.platforms import SIMULATED_KINDS, platform_named
from tideover.simulator import load_simulator

SCRAPE_S = 15.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--metrics", action="store_true")
    options.add_argument("--platform", default="azure", choices=SIMULATED_KINDS)
    chosen = options.parse_args()
    seconds = chosen.seconds
    with tempfile.TemporaryDirectory() as folder, _world(Path(folder), chosen.platform) as here:
        here.hook("10-only")
        here.configure()
        url = _with_metrics(here) if chosen.metrics else None
        configuration = Path(folder) / "tideover.toml"
        text = configuration.read_text().replace('poll = "100ms"', 'poll = "1s"')
        for key, value in load_simulator(platform_named(chosen.platform)).source_settings(here.metadata).items():
            text = text if f"{key} =" in text else text.replace("[source]", f'[source]\n{key} = "{value}"')
        configuration.write_text(text)
        agent = here.start()
        time.sleep(5.0)
        _scrape(url)
        cpu_s, wakes = _cpu_s(agent.pid), _wakes(agent.pid)
        begin = time.monotonic()
        while (left_s := begin + seconds - time.monotonic()) > 0:
            time.sleep(min(SCRAPE_S, left_s))
            _scrape(url)
        lasted_s = time.monotonic() - begin
        print(f"resident memory: {_resident_mib(agent.pid):.1f} MiB")
        print(f"share of one core: {(_cpu_s(agent.pid) - cpu_s) / lasted_s:.2%}")
        print(f"wake-ups a second: {(_wakes(agent.pid) - wakes) / lasted_s:.1f} over {_threads(agent.pid)} threads")


@contextmanager
def _world(home: Path, kind: str) -> Iterator[World]:
    if kind == "azure":
        with world(home) as here:
            yield here
        return
    with load_simulator(platform_named(kind)).open_service("vm-1") as service:
        here = World(home, service, None, kind)         # type: ignore[arg-type]
        try:
            yield here
        finally:
            here.close()


def _with_metrics(here: World) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    here.configure(f'[metrics]\nlisten = "{address}"\ntextfile = "{here.home}/tideover.prom"')
    return f"http://{address}/metrics"


def _scrape(url: str | None) -> None:
    if url is not None:
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()


def _resident_mib(pid: int) -> float:
    return int(_field(Path(f"/proc/{pid}/status"), "VmRSS").split()[0]) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * TICK_S       # its own, and of programs that it has run


def _wakes(pid: int) -> int:
    return sum(int(_field(task / "status", "voluntary_ctxt_switches")) for task in Path(f"/proc/{pid}/task").iterdir())


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _field(path: Path, name: str) -> str:
    return next(line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith(name + ":"))


if __name__ == "__main__":
    main()
