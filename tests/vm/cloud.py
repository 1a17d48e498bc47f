"""The cloud's side of the lab: the metadata service at its real address, and a real chrony as the source of right time."""
from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tideover.simulator import MetadataService

from .ground import LabError, cache
from .image import locked
from .network import METADATA
from .stage import Stage

# Never touches the machine's clock (-x), answers at once although it has no source of its own.
TIME_SERVER = f"""\
local stratum 2
allow 0.0.0.0/0
bindaddress {METADATA}
cmdport 0
bindcmdaddress /
"""


class Cloud:
    """Serves both on the stage's network until it is closed."""

    def __init__(self, stage: Stage) -> None:
        self._network = stage.network
        with self._network.inside():
            self.service = MetadataService(address=METADATA, port=80)
            self.service.start()
        settings = stage.directory / "chrony.conf"
        settings.write_text(f"{TIME_SERVER}pidfile {stage.directory}/chronyd.pid\n")
        server = stage.run_beside([str(time_server()), "-x", "-n", "-u", "root", "-f", str(settings)], "chronyd.log")
        time.sleep(0.2)
        if server.poll() is not None:
            raise LabError(f"the time server ended: {(stage.directory / 'chronyd.log').read_text()}")

    def announce(self, kind: str = "Freeze", patience_s: float = 30.0) -> str:
        """Announce an event and wait until it is acknowledged; return its id. Raise LabError if it never is."""
        event = self.service.add_event(kind)
        if not self.service.wait_until(lambda: self.is_acknowledged(event), patience_s):
            raise LabError(f"nobody acknowledged the {kind} in {patience_s:.0f} s")
        return event

    def is_acknowledged(self, event: str) -> bool:
        return any(given.event_id == event for given in self.service.acknowledgements)

    def wait_for_polls(self, polls: int, patience_s: float = 30.0) -> None:
        """Wait until the guest's agent has asked so many times more. Raise LabError if it does not."""
        enough = len(self.service.requests) + polls
        if not self.service.wait_until(lambda: len(self.service.requests) >= enough, patience_s):
            raise LabError(f"the agent did not ask the metadata service {polls} times in {patience_s:.0f} s")

    def close(self) -> None:
        with self._network.inside():             # closing it takes a connection
            self.service.close()


def time_server() -> Path:
    """Return chronyd: this machine's, else the one of Debian's package, unpacked and not installed, so that the
    machine's own time daemon stays."""
    installed = shutil.which("chronyd")
    if installed:
        return Path(installed)
    unpacked = cache() / "chrony"
    with locked(cache() / "lock"):
        if not unpacked.exists():
            package = cache() / "package"
            package.mkdir(exist_ok=True)
            subprocess.run(["apt-get", "download", "-qq", "chrony"], cwd=package, check=True, capture_output=True)
            subprocess.run(["dpkg", "-x", str(next(package.glob("chrony_*.deb"))), str(package / "root")], check=True)
            (package / "root").rename(unpacked)
            shutil.rmtree(package)
    return unpacked / "usr/sbin/chronyd"
