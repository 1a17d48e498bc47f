"""Windows, from Linux: the tests that belong there run on a real Windows CPython under Wine. See windows/README.md."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "windows" / "run"
TOOLS = ("wine", "wineserver", "osslsigncode", "unzip")
LIMIT_S = 1500


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="it is what starts the others there")
def test_the_agent_on_windows() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install the packages of tests/windows/packages.txt")
    ran = subprocess.run([str(RUN)], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                         timeout=LIMIT_S)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout.splitlines()[-1]
