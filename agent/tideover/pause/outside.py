"""Outside time, remembered: a ring of answers for each source, fed from any thread, compared on the watch's.

It asks nobody. One lock guards the rings; nothing is done under it but arithmetic.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tideover.timekeeping.fusion import Frozen, OutsideSample, folded, frozen_by, mended

# Answers kept of one source, the oldest standing for all before it: enough for the whole seconds of a Date header to
# narrow down on both sides of a stop, few enough to compare in a tenth of a millisecond.
KEPT = 32


@dataclass(slots=True)
class _Ring:
    samples: list[OutsideSample] = field(default_factory=list)
    agreed: OutsideSample | None = None      # what all of them say together; None: they contradict each other

    def add(self, sample: OutsideSample) -> None:
        self.agreed = folded(self.agreed, sample) if self.agreed is not None else None if self.samples else sample
        self.samples.append(sample)
        if len(self.samples) > KEPT:
            self.samples[:2] = [folded(self.samples[0], self.samples[1]) or self.samples[1]]


class OutsideTime:
    """Given samples of outside time by source, says by how much it moved against the raw clock."""

    def __init__(self) -> None:
        self._rings: dict[str, _Ring] = {}
        self._lock = threading.Lock()
        self.is_torn = False         # whether any source contradicts itself

    def add(self, source: str, sample: OutsideSample) -> bool:
        """Given a new sample, keep it and return whether it is the first to contradict what its source said before."""
        with self._lock:
            ring = self._rings.setdefault(source, _Ring())
            was_whole = not ring.samples or ring.agreed is not None
            ring.add(sample)
            self.is_torn = self.is_torn or ring.agreed is None
            return was_whole and ring.agreed is None

    def torn(self) -> dict[str, Frozen | None]:
        """Return, for each source whose answers contradict each other, by how much; None: no stop explains them."""
        with self._lock:
            return {source: frozen_by(ring.samples) for source, ring in self._rings.items() if ring.agreed is None}

    def frozen(self, since_ns: int) -> dict[str, Frozen]:
        """Given when something happened, return what each source that answered before and after it says.

        A stop that one of them proves may have come later than that: who has not spoken since has not denied it."""
        with self._lock:
            found = {source: frozen_by(ring.samples, since_ns) for source, ring in self._rings.items()}
            stopped_ns = min((one.after_ns for one in found.values() if one is not None and one.is_proven),
                             default=since_ns)
            if stopped_ns > since_ns:
                found |= {source: frozen_by(self._rings[source].samples, stopped_ns)
                          for source, one in found.items() if one is None or not one.is_proven}
        return {source: frozen for source, frozen in found.items() if frozen is not None}

    def newest(self) -> dict[str, OutsideSample]:
        """Return each source's newest sample."""
        with self._lock:
            return {source: ring.samples[-1] for source, ring in self._rings.items()}

    def newest_before(self, raw_ns: int) -> dict[str, int]:
        """Given a raw time, return when each source that had spoken by then was asked last before it."""
        with self._lock:
            return {source: before for source, ring in self._rings.items()
                    if (before := max((one.raw_ns for one in ring.samples if one.raw_ns < raw_ns), default=None))}

    def forget_before(self, raw_ns: int, source: str | None = None) -> None:
        """Given a raw time, drop what was said before it, by one source or by all: the raw clock stood still since, or
        the source was set."""
        self._restart(source, lambda samples: [sample for sample in samples if sample.raw_ns >= raw_ns])

    def mend(self, source: str) -> None:
        """Drop what cannot be right of a source that contradicts itself more than once."""
        self._restart(source, mended)

    def _restart(self, source: str | None, kept: Callable[[Sequence[OutsideSample]], list[OutsideSample]]) -> None:
        with self._lock:
            for name in [name for name in self._rings if source in (None, name)]:
                old = self._rings.pop(name)
                for sample in kept(old.samples):
                    self._rings.setdefault(name, _Ring()).add(sample)
            self.is_torn = any(ring.agreed is None for ring in self._rings.values())
