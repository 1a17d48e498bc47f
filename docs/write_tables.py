#!/usr/bin/env python3
"""Writes the tables of docs/*.md that are made from the code: hook variables, metrics, alerts, platforms.

    python docs/write_tables.py          updates them
    python docs/write_tables.py --check  exits 1 if one is not current

Each stands between a line `<!-- NAME: begin, written by docs/write_tables.py -->` and one `<!-- NAME: end -->`. The
table of metrics needs prometheus_client. `tests/test_docs_tables.py` checks that all are current."""
from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).parent
TOP = DOCS.parent
sys.path.insert(0, str(TOP / "agent"))

from tideover.hooks.environment import RUNNER_VARIABLES, VARIABLES  # noqa: E402
from tideover.platforms import PLATFORMS, Support  # noqa: E402

RULES = TOP / "packaging" / "prometheus" / "tideover.rules.yml"
ALERT = re.compile(r"- alert: (\w+)\n(.*?)severity: (\w+)\n.*?summary: '(.*?)'\n", re.DOTALL)
FOR = re.compile(r"^ +for: (\w+)$", re.MULTILINE)
BLOCK = re.compile(r"<!-- ([\w-]+): begin, written by docs/write_tables.py -->\n(.*?)<!-- \1: end -->", re.DOTALL)


def hook_variables() -> Iterator[str]:
    yield "| variable | phase | value |"
    yield "|---|---|---|"
    for one in VARIABLES:
        yield f"| `{one.name}` | {'recover' if one.is_recover_only else 'both'} | {one.about} |"
    for name, about in RUNNER_VARIABLES:
        yield f"| `{name}` | both | {about} |"


def metrics() -> Iterator[str]:
    """Every metric of a fresh agent of a fleet, with the labels of its samples."""
    from tideover.lifecycle import State
    from tideover.metrics.collector import FleetPresent, MetricsCollector, Present
    from tideover.model import Moment
    now = datetime.now(UTC)
    present = Present(State(), None, True, None, ("example",), ("example-application",), now,
                      FleetPresent(1, True, now))
    yield "| metric | type | labels | says |"
    yield "|---|---|---|---|"
    for family in MetricsCollector(lambda: present, lambda: Moment(now, 0.0)).collect():
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        names = ", ".join(f"`{one}`" for one in labels)
        yield f"| `{name}` | {family.type} | {names} | {_cell(family.documentation)} |"


def alerts() -> Iterator[str]:
    yield "| alert | severity | after | says |"
    yield "|---|---|---|---|"
    for name, body, severity, summary in ALERT.findall(RULES.read_text()):
        after = FOR.search(body)
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: label[1].upper(), summary)
        text = re.sub(r"\{\{.*?\}\}", "N", text)
        yield f"| `{name}` | {severity} | {after[1] if after else 'at once'} | {_cell(text)} |"


def platforms() -> Iterator[str]:
    """Platforms with the same texts share a row."""
    yield "| `[source] kind` | platform | events | acknowledgement |"
    yield "|---|---|---|---|"
    rows: dict[tuple[str, str, str], list[str]] = {}
    for one in PLATFORMS:
        kind = f"`{one.kind}`" if one.source_kind == one.kind else ""
        events = {Support.SERVED: "yes", Support.SILENT: f"none: {one.why}"}[one.support]
        taken = ("yes" if one.takes_acknowledgement else "takes none") if one.is_served else ""
        rows.setdefault((kind, events, taken), []).append(one.name)
    for (kind, events, taken), names in rows.items():
        yield f"| {kind} | {', '.join(names)} | {events} | {taken} |"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "hook-variables": hook_variables, "metrics": metrics, "alerts": alerts, "platforms": platforms,
}


def updated(page: str) -> str:
    """A page with its tables as the code has them now."""
    def block(found: re.Match[str]) -> str:
        name = found[1]
        table = "\n".join(TABLES[name]())
        return f"<!-- {name}: begin, written by docs/write_tables.py -->\n{table}\n<!-- {name}: end -->"
    return BLOCK.sub(block, page)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    stale = [file for file in sorted(DOCS.glob("*.md")) if updated(file.read_text()) != file.read_text()]
    for file in stale:
        print(f"{file.name}: {'not current' if '--check' in sys.argv else 'updated'}")
        if "--check" not in sys.argv:
            file.write_text(updated(file.read_text()))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
