"""Certificates, made by the openssl command: two authorities, "ours" and "strange", and what ours has signed."""
from __future__ import annotations

import subprocess
from pathlib import Path

from .basics import need

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """A directory of certificates: NAME.crt with NAME.key."""

    def __init__(self, home: Path) -> None:
        """Make the two authorities in `home`. Skip the proof where openssl is missing."""
        need("openssl")
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        for name in ("ours", "strange"):
            self._openssl("req", "-x509", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2", "-subj", f"/CN={name}")

    def signs(self, name: str, holders: str, days: int = 2) -> None:
        """Given a file's name, whom it is for (IP:…, DNS:…, commas between) and for how long from now, make a certificate."""
        self._openssl("req", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O={name}")
        (self.home / "holders").write_text(f"subjectAltName={holders}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-days", str(days),
                      "-extfile", "holders", "-out", f"{name}.crt")

    def file(self, name: str) -> str:
        """Given a file's name, return its path."""
        return str(self.home / name)

    def _openssl(self, *argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=self.home, check=True, capture_output=True)
