#!/usr/bin/env python3
"""Draws the phases of an event as a Mermaid state diagram, from the table in `agent/tideover/lifecycle/case.py`.

    python docs/draw_phases.py          updates the diagram in every docs/*.md that has one
    python docs/draw_phases.py --print  prints it

A cell of the table is a phase or a function that decides between phases: its targets are the phases that the function's
`return` statements name. `tests/test_docs_phases.py` checks that the diagrams are current."""
from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "agent"))

from tideover.lifecycle import Phase, case as cases  # noqa: E402

BEGIN, END = "<!-- phases: begin, drawn by docs/draw_phases.py -->", "<!-- phases: end -->"
FIRST = {
    Phase.OBSERVED: "detected, other machines' or not acted on", Phase.SCHEDULED: "detected, preparation starts later",
    Phase.WAITING_FOR_SLOT: "detected, no slot is free yet", Phase.PREPARING: "detected",
    Phase.STARTED: "detected as started",
    Phase.CHECKING_CLOCK: "a pause without an event",
}
"""The phases in which an event begins (`lifecycle/polls.py`, not in the table)."""
WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def targets(cell: Any) -> set[Phase]:
    """The phases to which a cell of the table can lead."""
    if cell is None:
        return set()
    return {cell} if isinstance(cell, Phase) else set(_returned(cell))


def _returned(function: Callable[..., Any]) -> Iterator[Phase]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            for result in _results(node.value):
                value = eval(compile(ast.Expression(result), "<cell>", "eval"), vars(cases))
                if value is not None:
                    yield value


def _results(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _results(value.body)
        yield from _results(value.orelse)
    else:
        yield value


def arrows() -> dict[tuple[Phase, Phase], list[str]]:
    """For each pair of phases the inputs that lead from one to the other."""
    found: dict[tuple[Phase, Phase], list[str]] = {}
    for phase, row in cases.TABLE.items():
        for column, cell in zip(cases.COLUMNS, row, strict=True):
            for target in targets(cell):
                found.setdefault((phase, target), []).append(WORDS.sub(" ", column.__name__).lower())
    return found


def diagram() -> str:
    """The diagram, as Mermaid text."""
    order = list(Phase)
    lines = ["stateDiagram-v2"]
    lines += [f"    state \"{phase.value}\" as {phase.name.lower()}" for phase in order]
    lines += [f"    [*] --> {phase.name.lower()}: {why}" for phase, why in FIRST.items()]
    lines += [f"    {one.name.lower()} --> {other.name.lower()}: {', '.join(inputs)}"
              for (one, other), inputs in sorted(arrows().items(), key=lambda arrow: tuple(map(order.index, arrow[0])))]
    lines.append(f"    {Phase.CLOSED.name.lower()} --> [*]")
    return "\n".join(lines)


def updated(page: str) -> str:
    """A page with its diagram as the table has it now; the same page if it has none."""
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END),
                  lambda _: f"{BEGIN}\n```mermaid\n{diagram()}\n```\n{END}", page, flags=re.DOTALL)


def main() -> None:
    if "--print" in sys.argv:
        print(diagram())
        return
    for file in sorted(DOCS.glob("*.md")):
        page = file.read_text()
        if updated(page) != page:
            file.write_text(updated(page))
            print(f"{file.name}: updated")


if __name__ == "__main__":
    main()
