"""What the installer and the uninstaller do beside copying files, run by the Python that they brought.

    python.exe -I -m tideover_setup make-way            before an upgrade replaces the files
    python.exe -I -m tideover_setup install [--stopped]  after the files are there
    python.exe -I -m tideover_setup remove [--purge]     before the files go

What it says goes to standard output, which the installer shows. Exit status: 0 done, 1 not done, 10 (make-way): nothing
ran, so nothing is to be started afterwards.
"""
from __future__ import annotations

import ctypes
import os
import shutil
import sys
import winreg
from pathlib import Path

from tideover.config_file import load_tolerantly, platform_paths
from tideover.daemon.offline import PENDING, recover_by_hand
from tideover.errors import TideoverError, WrongUseError
from tideover.service.windows.scm import (
    ADMINISTRATORS_ONLY,
    EVERYBODY_READS,
    ServiceProgram,
    make_folder,
    read_report,
    register,
    start,
    stop,
    stop_for_upgrade,
    unregister,
)
from tideover.winapi.security import own_sid, read_file_security, trusted_sids

NOTHING_RAN = 10
ENVIRONMENT = "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment"
BROADCAST, SETTING_CHANGE, ABORT_IF_HUNG = 0xFFFF, 0x1A, 0x2       # SendMessageTimeoutW


def main(words: list[str]) -> int:
    try:
        match words:
            case ["make-way"]:
                return 0 if read_report().is_installed and stop_for_upgrade() else NOTHING_RAN
            case ["install", *rest]:
                _install(must_start="--stopped" not in rest)
            case ["remove", *rest]:
                _remove(must_purge="--purge" in rest)
            case _:
                raise WrongUseError("cannot set up", f"unknown words: {' '.join(words)}", "It is the installer's.")
    except TideoverError as trouble:
        print(f"tideover: {trouble}")
        return 1
    return 0


def _bin() -> Path:
    """Where this installation's programs are: bin beside the folder that Python lies in."""
    return Path(sys.prefix).parent / "bin"


def _install(must_start: bool) -> None:
    paths = platform_paths()
    home = Path(paths.configuration).parent
    _set_aside_if_not_ours(home)
    make_folder(home, EVERYBODY_READS)
    make_folder(Path(paths.hooks), EVERYBODY_READS)
    make_folder(Path(paths.state), ADMINISTRATORS_ONLY)
    program = _bin() / "tideover-service.exe"
    for warning in register(ServiceProgram((str(program),), text_file=str(program))):
        print(f"tideover: {warning}")
    _change_path(add=True)
    if must_start:
        start()


def _set_aside_if_not_ours(home: Path) -> None:
    """Every user may make folders in %ProgramData%: a configuration that one has left there is nothing to obey."""
    if not home.exists() or read_file_security(str(home)).owner in trusted_sids(own_sid()):
        return
    aside = next(place for number in range(1, 1000)
                 if not (place := home.with_name(f"{home.name}.not-ours-{number}")).exists())
    home.rename(aside)
    print(f"tideover: {home} was another user's; it is now {aside}.")


def _remove(must_purge: bool) -> None:
    """With the program goes what could recover the applications, so it is done now. What could not be recovered is
    named in a file, and while that is there a purge keeps what can still recover it: the journal and the hooks."""
    paths = platform_paths()
    pending = Path(paths.state) / PENDING
    if read_report().is_installed:
        stop()
        if not _recover() and pending.parent.is_dir() and not pending.exists():
            pending.write_text("# Not known: tideover recover could not be run. The journal beside this file tells.\n",
                               encoding="utf-8")
        unregister()
    _change_path(add=False)
    if must_purge and pending.exists():
        print(f"tideover: {pending.parent} and {paths.hooks} are kept: {pending} names what has not recovered.")
        Path(paths.configuration).unlink(missing_ok=True)
    elif must_purge:
        shutil.rmtree(Path(paths.configuration).parent, ignore_errors=True)


def _recover() -> bool:
    """Return whether nothing is pending. Whatever the state of the configuration."""
    try:
        recovered = recover_by_hand(load_tolerantly(None, os.environ), None, confirmed=True)
    except TideoverError as trouble:
        print(f"tideover: {trouble}")
        return False
    if recovered.still_pending:
        pending = ", ".join(recovered.still_pending)
        print(f"tideover: recover is still pending: {pending}. Installing tideover again goes on with that.")
    return not recovered.still_pending


def _change_path(add: bool) -> None:
    """Let people type `tideover`. NSIS itself would cut a long PATH off."""
    ours = str(_bin())
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, ENVIRONMENT, access=winreg.KEY_READ | winreg.KEY_WRITE) as key:
        try:
            value, kind = winreg.QueryValueEx(key, "Path")
        except FileNotFoundError:
            value, kind = "", winreg.REG_EXPAND_SZ
        others = [place for place in value.split(";") if place and place.lower() != ours.lower()]
        changed = ";".join([*others, ours] if add else others)
        if changed != value:
            winreg.SetValueEx(key, "Path", 0, kind, changed)
    result = ctypes.c_size_t()
    ctypes.windll.user32.SendMessageTimeoutW(BROADCAST, SETTING_CHANGE, 0, "Environment", ABORT_IF_HUNG, 1000,
                                             ctypes.byref(result))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
