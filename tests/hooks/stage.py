"""What the conformance suite needs to know of a hook's world."""
from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .bench import signal_all
from .running import Hook


@dataclass(frozen=True, slots=True)
class Stage:
    """One hook's world."""

    hook: Callable[[Path], Hook]         # given a state directory: the hook, aimed at where it has something to do now
    look: Callable[[], object]           # what recover must bring back, comparable
    frozen: tuple[str, ...]              # the namespaces whose processes the hook talks to
    typical_s: float                     # how long prepare takes: kills fall inside
    under_way: Callable[[], object] = lambda: None       # what a freeze must catch for prepare to wait for it
    needs_them: bool = True              # can prepare do nothing without those that are frozen?

    def freeze(self) -> None:
        """Stop the server the hook talks to, or waits for; its kernel goes on accepting connections."""
        self.under_way()
        for namespace in self.frozen:
            signal_all(namespace, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for namespace in self.frozen:
            signal_all(namespace, signal.SIGCONT)

