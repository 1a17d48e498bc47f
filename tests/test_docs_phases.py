"""The phase diagram in docs/ is drawn from the table. (That it shows every way an event can go is a law: test_laws.py.)"""
import importlib.util
from pathlib import Path

from tideover.lifecycle.case import TABLE

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
