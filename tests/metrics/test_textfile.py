"""A real node_exporter, which is not root, reads the file that an agent under the service's umask writes."""
from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from real_prometheus import EXPORTER, RULES, exporter

from running_agent import world

SERVICES_UMASK = 0o077
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which(EXPORTER) is None,
                                                   reason=f"not installed: {EXPORTER} (tests/metrics/packages.txt)")]


def read(url: str) -> str:
    end = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, "the exporter never answered"
            time.sleep(0.05)


def test_node_exporter_exposes_our_metrics_and_the_rule_about_the_files_age_finds_it(tmp_path):
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        before = os.umask(SERVICES_UMASK)
        try:
            with world(tmp_path) as here:
                here.configure(f'[metrics]\ntextfile = "{shared}/tideover.prom"')
                here.start()
                here.until(lambda: (Path(shared) / "tideover.prom").exists())
                with exporter(Path(shared)) as target:
                    text = read(f"http://{target}/metrics")
        finally:
            os.umask(before)
    assert 'tideover_state{tideover_state="idle"} 1' in text and "node_textfile_scrape_error 0" in text
    named = re.search(r'^node_textfile_mtime_seconds\{file="([^"]+)"\}', text, re.MULTILINE)
    wanted = re.search(r'node_textfile_mtime_seconds\{file=~"([^"]+)"\}', RULES.read_text())
    assert named and wanted and re.fullmatch(wanted[1], named[1]), (named, wanted)
