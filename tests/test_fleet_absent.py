"""Without [fleet] store nothing of a fleet is loaded, started or decided."""
import json
import subprocess
import sys

import pytest

from running_agent import environment

SHOWN = """
import json, sys, threading, time
from pathlib import Path
from tideover.config_file import load_settings
from tideover.daemon.agent import Agent
agent = Agent(load_settings(Path(sys.argv[1]), {}))
agent.start()
time.sleep(0.1)
print(json.dumps([sorted(name for name in sys.modules if "fleet" in name), sorted(one.name for one in threading.enumerate()),
                  agent.choices.current.fleet is None]))
agent.close()
"""


@pytest.mark.slow
def test_an_agent_without_a_store_loads_no_module_of_the_fleet_and_begins_no_thread_of_it(tmp_path):
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "tideover.toml").write_text(
        f'[source]\nkind = "none"\n[paths]\nhooks = "{tmp_path}/hooks.d"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    ended = subprocess.run([sys.executable, "-c", SHOWN, str(tmp_path / "tideover.toml")], env=environment(),
                           capture_output=True, text=True, timeout=60)
    modules, threads, is_off = json.loads(ended.stdout or ended.stderr)
    assert modules == [] and "fleet" not in threads and is_off
