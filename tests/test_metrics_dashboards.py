"""The dashboard and the alert rules ask for metrics and labels that the agent has."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from lives import Life, at
from tideover.metrics.collector import FleetPresent, MetricsCollector, Present

PACKAGING = Path(__file__).parents[1] / "packaging"
DASHBOARD = PACKAGING / "grafana" / "tideover.json"
RULES = PACKAGING / "prometheus" / "tideover.rules.yml"
TARGETS = {"instance", "job"}       # labels that Prometheus adds


def written() -> dict[str, dict[str, set[str]]]:
    """What an agent with one hook writes: by the name of a metric its labels with their values."""
    present = Present(Life().state, None, True, at(0).utc, ("drain",), ("media",), at(0).utc, FleetPresent(1, True, at(0).utc))
    text = MetricsCollector(lambda: present, lambda: at(0)).text().decode()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    """The queries of the panels and annotations."""
    board = dashboard()
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())] + [
        annotation["expr"] for annotation in board["annotations"]["list"]]


def unknown_in(text: str) -> set[str]:
    """Given a text with queries, return the metrics and labels' values in it that no agent writes."""
    ours = written()
    wrong = set(re.findall(r"\btideover_[a-z_]+", text)) - set(ours)
    for name, selector in re.findall(r"\b(tideover_[a-z_]+)\{([^}]*)\}", text):
        for label, sign, value in re.findall(r'([a-z_]+)(=~|!=|=)"([^"]*)"', selector):
            if label in TARGETS:
                continue
            values = ours.get(name, {}).get(label, set())
            if not all(word in values for word in (value.split("|") if sign == "=~" else [value])):
                wrong.add(f"{name}{{{label}{sign}{value}}}")
    return wrong


@pytest.mark.parametrize("file", [DASHBOARD, RULES], ids=lambda file: file.name)
def test_no_query_asks_for_a_metric_or_a_label_that_no_agent_has(file):
    """A rule about a name that does not exist never fires, and its panel stays empty."""
    text = "\n".join(expressions()) if file is DASHBOARD else file.read_text(encoding="utf-8")
    assert len(set(re.findall(r"\btideover_[a-z_]+", text))) >= 10
    assert unknown_in(text) == set()


def test_a_renamed_metric_and_a_renamed_label_would_be_noticed():
    assert unknown_in('tideover_journal_is_writable == 0') == {"tideover_journal_is_writable"}
    assert unknown_in('tideover_recoveries_pending{stage="lost", instance=~"$instance"}') == {"tideover_recoveries_pending{stage=lost}"}
    assert unknown_in('tideover_pauses_total{reason="vm-pause"}') == {"tideover_pauses_total{reason=vm-pause}"}


def test_every_legend_and_grouping_is_by_a_label_of_its_query():
    ours = written()
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            names = re.findall(r"\btideover_[a-z_]+(?=\{)", target["expr"])
            labels = TARGETS.union(*(ours[name] for name in names))
            grouped = {label for words in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in words.split(", ")}
            legend = set(re.findall(r"\{\{ ?([a-z_]+) ?\}\}", target["legendFormat"]))
            assert grouped | legend <= labels, (panel["title"], grouped | legend)


def test_every_metric_is_in_a_panel_and_no_two_panels_overlap():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [(x, y) for panel in panels for place in [panel["gridPos"]]
             for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) == 23
    shown = " ".join(expressions())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in written()}
    assert {name for name in families if name not in shown} == set()
