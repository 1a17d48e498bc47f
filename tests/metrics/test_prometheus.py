"""A real Prometheus looks at a real agent: through a whole event, and when something needs a person."""
from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from real_prometheus import EXPORTER, RULES, TOP, Prometheus, exporter, free_port, missing, prometheus, promtool

from running_agent import World, world
from tideover.simulator import InjectedFault
from tideover.simulator.etcd_gateway import SimulatedEtcd

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()} (tests/metrics/packages.txt)")]


FLEET = '\n[fleet]\nstore = "{store}"\nslots = 1\n'


def with_metrics(here: World, deadline: str = "60s", more: str = "") -> str:
    """Configure both ways out; return the address of the page."""
    address = f"127.0.0.1:{free_port()}"
    here.configure(f'[metrics]\nlisten = "{address}"\ntextfile = "{here.home}/tideover.prom"\n'
                   '[policy]\nrecover_after = "pause"' + more, deadline=deadline)
    return address


def shown_in_grafana() -> dict[str, str]:
    """The queries of the dashboard's panels and annotations as Grafana sends them, by panel and letter."""
    board = json.loads((TOP / "packaging/grafana/tideover.json").read_text())
    asked = {f"{panel['title']} {target['refId']}": target["expr"] for panel in board["panels"] for target in panel.get("targets", ())}
    asked |= {f"annotation {one['name']}": one["expr"] for one in board["annotations"]["list"]}
    filled = {"$instance": ".*", "$__range": "5m", "$__rate_interval": "5s"}
    return {where: re.sub("|".join(map(re.escape, filled)), lambda found: filled[found[0]], text) for where, text in asked.items()}


def without_a_figure(server: Prometheus, asked: dict[str, str], begun: float) -> list[str]:
    """Given queries, return where those stand that gave no figure at any time since `begun`."""
    return [where for where, text in asked.items()
            if not any(value == value for value in server.values_between(text, begun, time.time()))]


def page(here: World, address: str) -> str:
    """Once the newest agent has reported that it is up."""
    here.until(lambda: here.said().count("agent.started") == len(here.agents))
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_the_rules_are_sound_and_fire_when_they_should():
    assert "SUCCESS: 16 rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(Path(__file__).with_name("alerts.test.yml")))


def test_every_metric_that_the_rules_ask_for_is_one_of_ours(tmp_path):
    """A rule about a name that does not exist never fires; a text that speaks of one sends its reader nowhere."""
    with world(tmp_path) as here, SimulatedEtcd() as store:
        here.hook("10-only")
        address = with_metrics(here, more=FLEET.format(store=store.setting))
        here.start()
        ours = {line.split("{")[0].split(" ")[0] for line in page(here, address).splitlines() if not line.startswith("#")}
    asked = set(re.findall(r"\btideover_[a-z_]+", RULES.read_text()))
    assert len(asked) >= 10 and asked <= ours, asked - ours


def test_a_whole_event_is_seen_and_nothing_fires(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-drain", "sleep 1")
        address = with_metrics(here)
        here.start()
        with prometheus(tmp_path / "prometheus", address) as server:
            server.until(lambda: server.value("up") == 1 and server.value('tideover_state{tideover_state="idle"}') == 1)
            assert server.query("tideover_next_not_before_timestamp_seconds > 0") == {}, "NaN compares with nothing"
            freeze = here.freeze(not_before_in_s=600)
            server.until(lambda: server.value('tideover_state{tideover_state="preparing"}') == 1)
            left_s = server.value("tideover_next_not_before_timestamp_seconds - time()")
            assert left_s is not None and 570 < left_s <= 601
            here.until(lambda: here.record()["status"] == "started")
            with here.stopped():
                time.sleep(1.3)
            here.until(lambda: here.record()["status"] == "recovered")
            here.metadata.remove_event(freeze)
            server.until(lambda: server.value('tideover_events_total{kind="freeze", outcome="resumed"}') == 1)
            record = here.record()
            assert server.query('tideover_hook_runs_total > 0') == {"drain hook done prepare": 1, "drain hook done recover": 1}
            assert server.query("tideover_acknowledgements_total > 0") == {"accepted": 1}
            assert server.query("tideover_pauses_total > 0") == Counter(f"true {one['cause']}" for one in record["pauses"])
            assert server.value("tideover_pause_seconds_sum") == pytest.approx(
                sum(pause["length_s"] for pause in record["pauses"] if pause["length_s"] >= 1), abs=0.002)
            assert 590 < (server.value("tideover_notice_seconds_sum") or 0) <= 601
            assert 1.0 <= (server.value("tideover_preparation_seconds_sum") or 0) < 10
            assert server.value("tideover_time_to_good_clock_seconds_sum") == pytest.approx(record["clock"]["good_after_s"], abs=0.002)
            assert server.query("tideover_clock_verdict == 1") == {"good": 1}
            assert abs(server.value("tideover_clock_offset_seconds") or 9) < 0.25
            assert server.query("tideover_recoveries_pending > 0") == {}
            assert (server.value("time() - tideover_poll_last_success_timestamp_seconds") or 9) < 5
            assert server.firing() == set()
        whole = page(here, address)
        assert freeze.lower() not in whole.lower(), "no event's id is a label"
        promtool("check", "metrics", text=whole)
        here.agents[-1].terminate()
        here.agents[-1].wait(10)
        written = (here.home / "tideover.prom").read_text()
        promtool("check", "metrics", text=written)
        assert 'tideover_events_total{kind="freeze",outcome="resumed"} 1.0' in written, "the last word is written at the end"


def test_each_query_of_the_dashboard_and_of_the_alerts_gives_a_figure_through_one_event(tmp_path):
    """The alerts' without their last comparison: what is compared must be there while all is well."""
    if shutil.which(EXPORTER) is None:
        pytest.skip(f"not installed: {EXPORTER} (tests/metrics/packages.txt)")
    begun = time.time()
    with tempfile.TemporaryDirectory() as shared, world(tmp_path) as here, exporter(Path(shared)) as node, SimulatedEtcd() as store:
        Path(shared).chmod(0o755)
        here.hook("10-drain", "sleep 1")
        address = f"127.0.0.1:{free_port()}"
        here.configure(f'[metrics]\nlisten = "{address}"\ntextfile = "{shared}/tideover.prom"\n[policy]\nrecover_after = "pause"'
                       + FLEET.format(store=store.setting))
        here.start()
        with prometheus(tmp_path / "prometheus", address, node_exporter=node) as server:
            server.until(lambda: server.value("up{job='tideover'}") == 1)
            freeze = here.freeze(not_before_in_s=600)
            here.until(lambda: here.record()["status"] == "started")
            with here.stopped():
                time.sleep(1.3)
            here.until(lambda: here.record()["status"] == "recovered")
            here.metadata.remove_event(freeze)
            server.until(lambda: server.query("increase(tideover_events_total[5m]) > 0"))
            server.until(lambda: server.query("node_textfile_mtime_seconds"))
            time.sleep(1)                   # two steps of a query over time
            asked = shown_in_grafana()
            assert len(asked) > 25 and without_a_figure(server, asked, begun) == []
            compared = {name: re.sub(r" (==|>) \d+$", "", text) for name, text in server.rules().items()}
            assert len(compared) == 16 and without_a_figure(server, compared, begun) == []
            assert without_a_figure(server, {"renamed": "tideover_journal_is_writable"}, begun) == ["renamed"]


def test_no_alert_fires_on_reloads_of_the_configuration(tmp_path):
    """Though the platform takes a second for its first answer after each. An agent that has polled for longer than the rule
    about polls allows is played by one that allows 3 s."""
    rules = tmp_path / "short.rules.yml"
    rules.write_text(RULES.read_text().replace("> 300", "> 3"))
    with world(tmp_path) as here:
        here.hook("10-drain")
        address = with_metrics(here)
        agent = here.start()
        with prometheus(tmp_path / "prometheus", address, rules) as server:
            server.until(lambda: (server.value("time() - tideover_start_time_seconds") or 0) > 4)
            for number in range(1, 5):
                here.metadata.inject_fault(InjectedFault(delay_s=1.0), times=None)
                agent.send_signal(signal.SIGHUP)
                here.until(lambda number=number: here.said().count("configuration.read") == number)
                time.sleep(1.0)
                here.metadata.clear_faults()
            time.sleep(1)
            assert server.query('count_over_time(ALERTS{alertstate="firing"}[5m])') == {}
            assert server.value("changes(tideover_start_time_seconds[5m])") == 0, "a reload is no start"


def test_alerts_fire_on_a_bad_clock_and_on_a_recovery_still_pending_and_end_when_both_are_corrected(tmp_path):
    """The product's rules, but that their `for:` of 2, 5 and 15 minutes is 2 s here."""
    rules = tmp_path / "short.rules.yml"
    shorter, changed = re.subn(r"^( +for: )(2m|5m|15m)$", r"\g<1>2s", RULES.read_text(), flags=re.MULTILINE)
    assert changed == 5
    rules.write_text(shorter)
    with world(tmp_path, time_offset_s=30.0) as here:
        assert here.time_server is not None
        here.hook("10-drain", f'[ "$1" = prepare ] || [ -e {tmp_path}/mended ] || exit 1')
        address = with_metrics(here, deadline="1s")
        here.start()
        with prometheus(tmp_path / "prometheus", address, rules) as server:
            freeze = here.freeze()
            here.until(lambda: here.record()["status"] == "started")
            with here.stopped():
                time.sleep(1.2)
            server.until(lambda: server.firing() >= {"TideoverClockBad", "TideoverRecoveryPending", "TideoverHookFailed"})
            assert server.value("tideover_clock_offset_seconds") == pytest.approx(-30, abs=0.5)
            assert "tideover status" in server.summary("TideoverRecoveryPending")
            here.kill()
            server.until(lambda: "TideoverDown" in server.firing())
            here.start()
            assert 'tideover_recoveries_pending{stage="due"} 1.0' in page(here, address), "right at once after a restart"
            server.until(lambda: "TideoverDown" not in server.firing() and "TideoverRecoveryPending" in server.firing())
            (tmp_path / "mended").touch()
            here.time_server.offset_s = 0.0
            assert here.command("recover", "--yes").returncode == 0
            here.metadata.remove_event(freeze)
            server.until(lambda: not server.firing() & {"TideoverClockBad", "TideoverRecoveryPending"}, 90.0)    # asked each minute
            assert server.query("tideover_recoveries_pending > 0") == {}
