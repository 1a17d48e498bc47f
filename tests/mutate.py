"""Changes every cell of the case table to every other answer, and says which changes no test notices.

    python tests/mutate.py [--every N]

The stories are tried first, the laws on what survives them. A survivor is a cell that no reachable life depends on, or a
test that is missing: `EXPLAINED` holds those that were looked at, with the reason.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

sys.path[:0] = [str(Path(__file__).parents[1] / "agent"), str(Path(__file__).parent)]

import test_laws  # noqa: E402  (found by the line above)
import test_lifecycle  # noqa: E402
import walk  # noqa: E402
from tideover.lifecycle import case as cases  # noqa: E402
from tideover.lifecycle.case import COLUMNS  # noqa: E402
from tideover.lifecycle.state import Phase  # noqa: E402

ASKS_ANEW = {Phase.ACKNOWLEDGING, Phase.UNCONFIRMED, Phase.CHECKING_CLOCK}
"""Entering any other phase once more is the same as staying."""

NEVER_ASKED = "the signal is never made for a case in this phase"
EXPLAINED: Mapping[tuple[str, str], str] = MappingProxyType({
    **{(phase.name, "Released"): NEVER_ASKED for phase in Phase if phase is not Phase.RECOVERING},
    **{(phase.name, "Prepared"): NEVER_ASKED for phase in Phase if phase is not Phase.PREPARING},
    **{(phase.name, "ClockChecked"): NEVER_ASKED for phase in Phase if phase is not Phase.CHECKING_CLOCK},
    **{(phase.name, "TimerElapsed"): NEVER_ASKED for phase in Phase if phase not in (Phase.SCHEDULED, Phase.SETTLING, Phase.UNCONFIRMED)},
    **{("CLOSED", column.__name__): "a closed case is no longer in the state" for column in COLUMNS},
    **{(phase.name, "ManualRecover"): "only cases that claim the applications are told"
       for phase in (Phase.OBSERVED, Phase.SCHEDULED, Phase.RECOVERING, Phase.RECOVERED)},
    ("OBSERVED", "AckAnswered"): "it was never asked for", ("SCHEDULED", "AckAnswered"): "it was never asked for",
    ("OBSERVED", "Paused"): "a case that is only watched takes no pause",
    ("SCHEDULED", "Paused"): "what is not prepared cannot have caused a pause",
    ("ACKNOWLEDGED", "AckAnswered"): "a 200 settles it for good",
    ("ACKNOWLEDGED", "ManualAcknowledge"): "what is acknowledged is not sent again",
    ("STARTED", "Began"): "it has begun already: told once",
    ("CHECKING_CLOCK", "Began"): "a case that is checked while it is listed has begun",
    ("SETTLING", "Began"): "a case that is checked while it is listed has begun",
    ("CHECKING_CLOCK", "Scheduled"): "a listed event does not go back from Started",
    ("SETTLING", "Scheduled"): "a listed event does not go back from Started",
    ("STARTED", "Scheduled"): "a listed event does not go back from Started",
})


def mutants(every: int) -> Iterator[tuple[Phase, int, Phase | None]]:
    number = 0
    for phase, row in cases.TABLE.items():
        for column, cell in enumerate(row):
            for other in (None, *Phase):
                number += 1
                same = other is cell or (other is phase and cell is None and phase not in ASKS_ANEW)
                if not same and number % every == 0:
                    yield phase, column, other


def holds(module: object) -> bool:
    """Whether all tests of a module pass; parametrised ones are tried with each of their sets."""
    for name, test in vars(module).items():
        if name.startswith("test_") and not all(_passes(test, values) for values in _parameters(test)):
            return False
    return True


def _parameters(test: object) -> list[dict[str, object]]:
    sets: list[dict[str, object]] = [{}]
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            given = mark.args[0]
            names = [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]
            sets = [{**known, **dict(zip(names, value if len(names) > 1 else (value,), strict=True))}
                    for known in sets for value in mark.args[1]]
    return sets


def _passes(test: object, values: dict[str, object]) -> bool:
    try:
        test(**values)  # type: ignore[operator]
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return False
    return True


def survives(phase: Phase, column: int, other: Phase | None) -> bool:
    row = cases.TABLE[phase]
    cases.TABLE[phase] = (*row[:column], other, *row[column + 1:])  # type: ignore[index]
    walk.reachable.cache_clear()
    walk.every_change.cache_clear()
    walk.forget()
    try:
        return holds(test_lifecycle) and holds(test_laws)
    finally:
        cases.TABLE[phase] = row  # type: ignore[index]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--every", type=int, default=1, help="try only every N-th change")
    tried = explained = 0
    unexplained: list[str] = []
    for phase, column, other in mutants(options.parse_args().every):
        tried += 1
        if survives(phase, column, other):
            name = COLUMNS[column].__name__
            if (phase.name, name) in EXPLAINED:
                explained += 1
            else:
                unexplained.append(f"{phase.name:<11} {name:<17} -> {other.name if other else 'stay'}")
    print(f"{tried} changes, {tried - explained - len(unexplained)} noticed, {explained} survive for a known reason, "
          f"{len(unexplained)} survive unexplained")
    print("\n".join(unexplained))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
