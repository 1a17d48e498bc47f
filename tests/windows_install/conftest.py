"""The installer, built once; one fresh Windows machine for all proofs; and for each proof a world of its own on it."""
import shutil
import subprocess
from pathlib import Path

import pytest
from windows_world import World
from wine_machine import WineMachine, why_not

from tideover.simulator import MetadataService, TimeServer

TOP = Path(__file__).parents[2]
BUILDERS = ("makensis", "osslsigncode", "unzip", "x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-windmc")


@pytest.fixture(scope="session")
def installer(tmp_path_factory):
    """tideover-VERSION-amd64.exe, by the one command."""
    missing = [tool for tool in BUILDERS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"cannot build the installer here: {', '.join(missing)} (tests/windows_install/packages.txt)")
    done = subprocess.run([TOP / "packaging/windows/build", tmp_path_factory.mktemp("installer")], capture_output=True,
                          text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made = WineMachine(tmp_path_factory.mktemp("wine"))
    yield made
    made.close()


@pytest.fixture
def world(machine, installer):
    """What the last proof left is no event of this one's platform; the programs may be there already."""
    with MetadataService("vm-1") as metadata, TimeServer() as clock:
        yield World(machine, installer, metadata, clock)
