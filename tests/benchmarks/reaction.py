"""How fast the agent reacts: an answer shows an event → the first hook runs; the last prepare ends → the POST is here.

    python -m benchmarks.reaction [--rounds 100]        (in tests/, with the package importable)

Prints median, 95th percentile and worst of the rounds. Asserts nothing: the machine's other work is in the figures.
"""
from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from running_agent import World, world
from tideover.simulator import MetadataService


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=100)
    rounds = options.parse_args().rounds
    noticed_ms: list[float] = []
    posted_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), start_after_s=60.0) as here:
        here.hook("10-only")
        here.configure()
        here.start()
        time.sleep(1.0)
        for _ in range(rounds):
            _one_round(here, noticed_ms, posted_ms)
    _print("answer shows the event -> first hook started", noticed_ms)
    _print("last prepare ended -> POST received", posted_ms)


def _one_round(here: World, noticed_ms: list[float], posted_ms: list[float]) -> None:
    asked, lines, added = len(here.metadata.acknowledgements), len(here.lines()), time.time()
    event = here.freeze()
    here.until(lambda: len(here.metadata.acknowledgements) > asked)
    begun, ended = (float(line[0]) for line in here.lines()[lines:lines + 2])
    noticed_ms.append((begun - _shown_at(here.metadata, added)) * 1000)
    posted_ms.append((here.metadata.acknowledgements[-1].at - ended) * 1000)
    here.metadata.remove_event(event)
    here.until(lambda: len(here.lines()) >= lines + 4 and here.record()["status"] == "closed")


def _shown_at(metadata: MetadataService, added: float) -> float:
    """When the request that was answered with the event came in: the answer leaves within the same millisecond."""
    return next(request.at for request in metadata.requests if request.method == "GET" and request.at >= added)


def _print(what: str, values: list[float]) -> None:
    ranked = sorted(values)
    print(f"{what}: median {statistics.median(ranked):.1f} ms, 95 % {ranked[int(len(ranked) * 0.95)]:.1f} ms, "
          f"worst of {len(ranked)} {ranked[-1]:.1f} ms")


if __name__ == "__main__":
    main()
