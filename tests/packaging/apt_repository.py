"""A signed apt repository as packaging/deb/repository makes it, with a key of its own."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deb_build import TOP

SCRIPT = TOP / "packaging/deb/repository"
SOURCE = """Types: deb
URIs: {address}
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/tideover.gpg
"""


class Repository:
    """`directory` is what a web server would serve."""

    def __init__(self, directory: Path, keys: Path) -> None:
        self.directory, self._keys = directory, keys
        self._gpg("--passphrase", "", "--quick-generate-key", "packages@example.com", "ed25519", "sign", "never")

    def add(self, *packages: Path) -> None:
        subprocess.run([SCRIPT, self.directory, "packages@example.com", *packages], check=True, timeout=60, capture_output=True,
                       env={"PATH": "/usr/bin:/bin", "GNUPGHOME": str(self._keys)})

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(self._keys)}, check=False)

    def _gpg(self, *words: str) -> None:
        subprocess.run(["gpg", "--batch", "--quiet", *words], env={**os.environ, "GNUPGHOME": str(self._keys)}, check=True, timeout=60)


@contextmanager
def repository(home: Path, *packages: Path) -> Iterator[Repository]:
    """`home`: an empty directory for keys and repository."""
    keys = home / "keys"
    keys.mkdir(mode=0o700, parents=True)
    made = Repository(home / "repository", keys)
    try:
        made.add(*packages)
        yield made
    finally:
        made.close()
