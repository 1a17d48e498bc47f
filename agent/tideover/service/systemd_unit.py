"""The systemd service of a pip installation: its unit's text, install, remove, start, stop."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import tideover
from tideover.errors import TideoverError, UnreachableError, WrongUseError
from tideover.hooks.posix_trust import trusted_users, why_untrusted
from tideover.service_manager import ServiceReport

# --- The unit's text, with the command of this installation

NAME = "tideover.service"
FILE = Path(__file__).with_name(NAME)
PACKAGED_COMMAND = "/usr/bin/tideover"
WRITTEN_BY = "# Written by tideover service install; put changes into a drop-in (systemctl edit tideover)."


def own_command() -> tuple[str, ...]:
    """Return the words that start this installation's `tideover`."""
    script = Path(sys.executable).with_name("tideover")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "tideover")


def unit_text(command: Sequence[str], config: str | None) -> str:
    """Given the words of the command and the configuration file (None: the usual one), return the unit."""
    words = " ".join(quoted(word) for word in command)
    named = f" --config {quoted(config)}" if config else ""
    lines = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if value.startswith(f"{PACKAGED_COMMAND} "):
            line = f"{key}{equals}{words}{value.removeprefix(PACKAGED_COMMAND)}{named}"
        lines.append(line)
    return "\n".join([WRITTEN_BY, *lines, ""])


def quoted(word: str) -> str:
    """Given a word of a command line, return it as a unit writes it (systemd.service(5), command lines)."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if set(plain) & set(" \t\"'\\;") else plain


# --- systemctl

UNIT = Path("/etc/systemd/system") / NAME
PACKAGED = (Path("/usr/lib/systemd/system") / NAME, Path("/lib/systemd/system") / NAME)
RUNS_HERE = Path("/run/systemd/system")      # sd_booted(3)
CALL_LIMIT_S = 120.0                         # a stop that recovers first takes up to the unit's 90 s
PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "MainPID", "NRestarts", "StatusText",
              "FragmentPath")


def install(config: str | None, hooks: Path) -> Path:
    """Given the configuration file (None: the usual one) and the hooks directory, write and enable the unit.

    Return its file. Raise WrongUseError if that cannot be, TideoverError if systemd refuses.
    """
    _check_rights("install")
    command = own_command()
    for file in (command[0], tideover.__file__):
        refusal = why_untrusted(str(Path(file).absolute()), trusted_users(), set())
        if refusal is not None:
            raise WrongUseError("cannot install the service", str(refusal),
                                "Everything that root runs must belong to root; put the virtual environment into "
                                "/opt/tideover, for example.")
    hooks.mkdir(mode=0o755, parents=True, exist_ok=True)
    UNIT.write_text(unit_text(command, config), encoding="utf-8")
    _call("daemon-reload")
    _call("enable", NAME)
    return UNIT


def check_ours() -> None:
    """Raise WrongUseError if there is no unit of ours that may be removed. Changes nothing."""
    _check_rights("remove")
    if not UNIT.exists():
        raise WrongUseError("cannot remove the service", f"there is no {UNIT}", "The service is not installed.")


def remove() -> None:
    """Disable and delete the unit. Raise WrongUseError if it is not ours, TideoverError if systemd refuses."""
    check_ours()
    _call("disable", "--now", NAME)
    UNIT.unlink()
    _call("daemon-reload")


def start() -> None:
    """Start the service; return once it is ready. Raise TideoverError if it does not start."""
    _call("start", NAME)


def stop() -> None:
    """Stop the service, whatever that takes by [policy] on_stop. Raise TideoverError if systemd refuses."""
    _call("stop", NAME)


def read_report() -> ServiceReport:
    """Return how the service is. Raise UnreachableError if systemd does not say."""
    output = _call("show", *(f"--property={key}" for key in PROPERTIES), NAME)
    properties = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    pid = int(properties.get("MainPID") or 0)
    return ServiceReport(
        is_installed=properties.get("LoadState") == "loaded", is_enabled=properties.get("UnitFileState") == "enabled",
        state=properties.get("ActiveState", ""), detail=properties.get("SubState", ""), pid=pid or None,
        restarts=int(properties.get("NRestarts") or 0), status_text=properties.get("StatusText", ""),
        unit=properties.get("FragmentPath", ""))


def _check_rights(doing: str) -> None:
    if os.geteuid() != 0:
        raise WrongUseError(f"cannot {doing} the service", "root privileges are required", "Run it with sudo.")
    if not RUNS_HERE.is_dir():
        raise WrongUseError(f"cannot {doing} the service", "this machine does not run systemd",
                            "Configure your service manager to run: tideover run")
    for other in PACKAGED:
        if other.exists():
            raise WrongUseError(f"cannot {doing} the service", f"{other} belongs to a package", "Use apt and "
                                                                                                "systemctl instead.")
    if UNIT.exists() and not UNIT.read_text(encoding="utf-8").startswith(WRITTEN_BY):
        raise WrongUseError(f"cannot {doing} the service", f"{UNIT} was not written by this command",
                            "Move it away first.")


def _call(*words: str) -> str:
    try:
        called = subprocess.run(["systemctl", "--no-ask-password", *words], text=True, capture_output=True,
                                timeout=CALL_LIMIT_S, check=False)
    except OSError as trouble:
        raise UnreachableError("cannot reach systemd", f"systemctl does not run: {trouble.strerror}",
                               "This command needs systemd.") from trouble
    except subprocess.TimeoutExpired as trouble:
        raise UnreachableError(f"cannot {words[0]} the service", f"systemd did not finish within {CALL_LIMIT_S:.0f} s",
                               "See systemctl status tideover.") from trouble
    if called.returncode and not RUNS_HERE.is_dir():
        raise UnreachableError("cannot reach systemd", "this machine does not run systemd",
                               "Configure your service manager to run: tideover run")
    if called.returncode:
        cause = (called.stderr.strip().splitlines() or ["systemctl gave no reason"])[0].rstrip(".")
        raise TideoverError(f"cannot {words[0]} the service", cause, "See journalctl -u tideover.")
    return called.stdout
