"""The phase diagram in docs/ is drawn from the table, and shows every way that an event can go."""
import importlib.util
from pathlib import Path

from test_laws import CORE
from tideover.lifecycle import Phase
from tideover.lifecycle.case import TABLE
from walk import WORLDS, every_step, look_at

DOCS = Path(__file__).parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("draw_phases", DOCS / "draw_phases.py")
draw_phases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(draw_phases)


def test_the_diagram_in_the_documents_is_current():
    pages = {file.name: file.read_text() for file in DOCS.glob("*.md")}
    assert draw_phases.BEGIN in pages["architecture.md"]
    stale = [name for name, page in pages.items() if draw_phases.updated(page) != page]
    assert not stale, f"{', '.join(stale)}: run `python docs/draw_phases.py`"


def test_every_cell_that_decides_has_its_targets_in_the_diagram():
    for phase, row in TABLE.items():
        for cell in row:
            assert cell is None or draw_phases.targets(cell), (phase, cell)


def test_no_event_goes_a_way_that_the_diagram_does_not_show():
    """Of one step an event may go through several phases: each pair that a walk sees is joined by arrows."""
    arrows, beyond = set(draw_phases.arrows()), {}
    for one in Phase:
        ways, new = set(), {one}
        while new:
            ways |= new
            new = {other for here, other in arrows if here in new} - ways
        beyond[one] = ways
    look_at(CORE)
    for _, state, seen, move in every_step():
        for event_id, case in move.state.cases.items():
            before = state.cases.get(event_id)
            if before is None:
                assert any(case.phase in beyond[first] for first in draw_phases.FIRST), (seen, case.phase)
            elif before.listed or not case.listed:         # not one that is listed again (`listed_again`)
                assert case.phase in beyond[before.phase], (seen, before.phase, case.phase)
    look_at(WORLDS)
