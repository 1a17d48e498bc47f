"""The real Azurite, Microsoft's emulator of Azure Blob Storage, on loopback. It comes by npm, which CI does not use:
TIDEOVER_AZURITE names its program `azurite-blob`, or it is on PATH."""
from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from real_etcd import STARTED_S, FleetKeys, answers_at_all, free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's own, which is documented; the program under test never sees it."""
VERSION = "2023-11-03"
CONTAINER = "fleet"


class RealAzurite:
    """Azurite with one empty container, and a SAS for it in `sas_file`."""

    def __init__(self, home: Path) -> None:
        program = os.environ.get("TIDEOVER_AZURITE") or shutil.which("azurite-blob")
        if not program:
            pytest.skip("azurite-blob is not here: npm install azurite, and TIDEOVER_AZURITE=…/node_modules/.bin/azurite-blob")
        self.home, self.port, self._program = home, free_port(), program
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.sas_file = home / "sas"
        self.keys = FleetKeys(f"azblob://{ACCOUNT}/{CONTAINER}", endpoint=self.endpoint, sas_file=str(self.sas_file))

    def __enter__(self) -> RealAzurite:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "log").open("wb") as log:
            self._process = subprocess.Popen([self._program, "--silent", "--disableTelemetry", "--inMemoryPersistence", "--blobHost", "127.0.0.1",
                                              "--blobPort", str(self.port)], stdout=log, stderr=log, cwd=self.home)
        until = time.monotonic() + STARTED_S
        while not answers_at_all(self.endpoint):
            assert time.monotonic() < until, (self.home / "log").read_text()
            time.sleep(0.05)
        self.create(CONTAINER)
        self.sas_file.write_text(self.sas() + "\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def create(self, container: str) -> None:
        url = f"{self.endpoint}/{ACCOUNT}/{container}?restype=container&{self.account_sas()}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers={"x-ms-version": VERSION, "Content-Length": "0"})).close()

    def sas(self, permissions: str = "rwdl", *, ends_in_s: float = 3600.0) -> str:
        """A service SAS of the container."""
        ends = (datetime.now(UTC) + timedelta(seconds=ends_in_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = "\n".join([permissions, "", ends, f"/blob/{ACCOUNT}/{CONTAINER}", "", "", "", VERSION, "c", "", "", "", "", "", "", ""])
        return urlencode({"sp": permissions, "se": ends, "sv": VERSION, "sr": "c", "sig": _sign(signed)})

    def account_sas(self) -> str:
        ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = "\n".join([ACCOUNT, "rwdlac", "b", "sco", "", ends, "", "", VERSION, "", ""])
        return urlencode({"sp": "rwdlac", "ss": "b", "srt": "sco", "se": ends, "sv": VERSION, "sig": _sign(signed)})


def _sign(text: str) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
