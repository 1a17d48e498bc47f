"""An agent in a process of its own, to be stopped or killed: runs one hook and prints its outcome.

Wants the state directory, the hook's file, the limit in seconds, and the run's number.
"""
from __future__ import annotations

import queue
import sys
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.runner import HookRunner
from tideover.model import HookPhase, HookSpec, Kind
from tideover.observations import HookSettled, Observation


def main(state: str, file: str, limit_s: str, number: str) -> None:
    answers: queue.SimpleQueue[Observation] = queue.SimpleQueue()
    runner = HookRunner(answers.put, Path(state))
    spec = HookSpec(Path(file).name[3:], 10, file)
    runner.start(RunHook(spec, HookPhase.PREPARE, int(number), 1, float(limit_s), "e", Kind.FREEZE), b"{}", "trace-1")
    answer = answers.get()
    assert isinstance(answer, HookSettled)
    print(answer.report.outcome.value, flush=True)
    runner.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
