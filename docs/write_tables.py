#!/usr/bin/env python3
"""Writes the tables of docs/*.md that are made from the code: hook variables, metrics, alerts, platforms, modules.

    python docs/write_tables.py          updates them
    python docs/write_tables.py --check  exits 1 if one is not current

Each stands between a line `<!-- NAME: begin, written by docs/write_tables.py -->` and one `<!-- NAME: end -->`. The
table of metrics needs prometheus_client. `tests/test_docs_tables.py` checks that all are current."""
from __future__ import annotations

import ast
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

PACKAGE = TOP / "agent" / "tideover"
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


FLOORS = (      # of docs/architecture.md: packages and modules, in the order in which a reader looks for them
    ("Commands, and what puts the parts together", ("cli", "daemon", "service", "doctor", "drill", "__main__.py")),
    ("The loop, and each subject of the world outside", (
        "engine.py", "sources", "hooks", "applications", "pause", "clock", "fleet", "journal", "api", "metrics",
        "simulator", "logs.py", "config_file.py", "sd_notify.py")),
    ("What several of them need of the system", (
        "http_client.py", "http_tls.py", "http_server.py", "lean_imports.py", "threads.py",
        "system", "winapi", "client.py", "client_windows.py")),
    ("Decision, documents and values: no I/O", (
        "lifecycle", "timekeeping", "settings", "html", "status.py", "record.py", "documents.py", "findings.py",
        "fleet_documents.py", "fleet_status.py", "policy.py", "effects.py", "observations.py", "model.py",
        "platforms.py", "stores.py", "service_manager.py", "errors.py", "humanize.py", "text_safety.py",
        "__init__.py")),
)
DOCSTRING = re.compile(r'(?:#.*\n|\s)*(r?""".*?""")', re.DOTALL)
PURE = re.compile(r"(?<=\.) Pure\b[^.]*\.$|(?<=\.) Values only\.$")


def modules() -> Iterator[str]:
    """Every module with the first paragraph of its docstring, package by package."""
    listed = [name for _, names in FLOORS for name in names]
    files = sorted(file for file in PACKAGE.rglob("*.py") if "sample" not in file.relative_to(PACKAGE).parts)
    missing = {file.relative_to(PACKAGE).parts[0] for file in files} ^ set(listed)
    if missing:
        raise ValueError(f"FLOORS lists other names than there are: {', '.join(sorted(missing))}")
    for title, names in FLOORS:
        yield from ("", f"### {title}", "", "| file | what lives there |", "|---|---|")
        for name in names:
            place = PACKAGE / name
            for file in [place] if place.is_file() else [one for one in files if place in one.parents]:
                yield from _module_rows(file)


def _module_rows(file: Path) -> Iterator[str]:
    name, text = file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")
    docstring = DOCSTRING.match(text)
    first = " ".join((ast.literal_eval(docstring[1]) if docstring else "").partition("\n\n")[0].split())
    about = _cell(PURE.sub("", first))
    if file.name == "__init__.py" and file.parent != PACKAGE:
        has_code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(text).body)
        yield f"| **`{name if has_code else name.removesuffix('__init__.py')}`** | **{about}** |"
    else:
        yield f"| `{name}` | {about} |"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "hook-variables": hook_variables, "metrics": metrics, "alerts": alerts, "platforms": platforms,
    "modules": modules,
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
