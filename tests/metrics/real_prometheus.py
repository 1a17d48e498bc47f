"""A real Prometheus server on loopback, with a short interval, and promtool."""
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
RULES = TOP / "packaging" / "prometheus" / "tideover.rules.yml"
EXPORTER = "prometheus-node-exporter"
TOOLS = ("prometheus", "promtool")
PATIENCE_S = 30.0
CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: tideover
    static_configs: [{{targets: ["{target}"]}}]
{more}"""
NODE_EXPORTER = """  - job_name: node
    static_configs: [{{targets: ["{target}"]}}]
    metric_relabel_configs: [{{source_labels: [__name__], regex: "node_.*", action: keep}}]
"""


def missing() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def promtool(*words: str, text: str | None = None) -> str:
    """Run it; return its output. Its own checks fail the test."""
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """Scrapes one target four times a second and evaluates one file of rules as often."""

    def __init__(self, home: Path, target: str, rules: Path, node_exporter: str) -> None:
        home.mkdir()
        self._log = home / "prometheus.log"
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/api/v1/"
        (home / "prometheus.yml").write_text(CONFIGURATION.format(
            rules=rules, target=target, more=NODE_EXPORTER.format(target=node_exporter) if node_exporter else ""))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}",
                 f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], stdout=log, stderr=log)
        self.until(lambda: self.query("up"))

    def query(self, expression: str) -> dict[str, float]:
        """Given PromQL, return the values found, by their labels as one text without instance and job."""
        answer = self._ask("query?" + urllib.parse.urlencode({"query": expression}))
        return {_labels(one["metric"]): float(one["value"][1]) for one in answer.get("result", ())}

    def values_between(self, expression: str, start: float, end: float) -> list[float]:
        """Given PromQL and times since the epoch, return all values of all series in steps of half a second."""
        answer = self._ask("query_range?" + urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": "500ms"}))
        return [float(value) for one in answer.get("result", ()) for _, value in one["values"]]

    def value(self, expression: str) -> float | None:
        """The one value there is, None if there is none."""
        found = list(self.query(expression).values())
        assert len(found) < 2, (expression, found)
        return found[0] if found else None

    def rules(self) -> dict[str, str]:
        """The alerts' expressions as Prometheus has read them, by the alerts' names."""
        groups = self._ask("rules")["groups"]
        return {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self._ask("alerts").get("alerts", ())
                if alert["state"] == "firing"}

    def summary(self, alert: str) -> str:
        return next(one["annotations"]["summary"] for one in self._ask("alerts")["alerts"]
                    if one["labels"]["alertname"] == alert)

    def until(self, question: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        end = time.monotonic() + patience_s
        while not (answer := question()):
            assert time.monotonic() < end, f"it never came; Prometheus said:\n{self._log.read_text()[-2000:]}"
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.05)
        return answer

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, what: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(self._url + what, timeout=5) as answer:
                told = json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):
            return {}                   # it has just been started
        return told if isinstance(told, dict) else {}


@contextmanager
def exporter(directory: Path) -> Iterator[str]:
    """A node_exporter, not as root, that exposes the files of a directory; gives its HOST:PORT."""
    port = free_port()
    process = subprocess.Popen(
        [EXPORTER, "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={directory}",
         f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL,
        **({"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def prometheus(home: Path, target: str, rules: Path = RULES, node_exporter: str = "") -> Iterator[Prometheus]:
    """`target` and `node_exporter`: HOST:PORT that are scraped."""
    server = Prometheus(home, target, rules, node_exporter)
    try:
        yield server
    finally:
        server.close()


def _labels(metric: dict[str, str]) -> str:
    return " ".join(value for name, value in sorted(metric.items()) if name not in ("__name__", "instance", "job"))
