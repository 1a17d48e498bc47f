"""The drill's temporary directory: its layout, configuration and sample hooks; made and removed."""
from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tideover.applications.transport import address_of
from tideover.drill.plan import DrillPlan
from tideover.drill.process_group import why_no_place
from tideover.errors import WrongUseError, system_reason
from tideover.platforms import SIMULATED_KINDS, Platform, platform_named
from tideover.settings.types import dotted, inline_table, listed, quoted
from tideover.settings.values import PathsSettings
from tideover.settings.warnings import LONGEST_SOCKET_PATH

SAMPLE_HOOKS = Path(__file__).with_name("sample") / "hooks" / ("windows" if sys.platform == "win32" else "posix")
SAMPLE_APPLICATION = "feed"          # takes part over the socket, between the first hook and the second
NOTEBOOK = "notebook"       # in the same folder: what each of them reads
SETTLE = "500ms"            # of quiet after the stop: enough to be seen, short enough to be waited for
POLL = "200ms"              # five a second is what the platform's own service would allow
CLOCK_DEADLINE_S = 10.0     # a loopback server answers in a millisecond; a machine under load may need some tries
DRAIN_S = 0.8               # how long the sample hook takes to drain the traffic
LONG_DRAIN_S = 30.0         # … where it is to be interrupted
FOLDER_MODE = 0o711         # the owner's hooks may run as other users and must reach their state directories
FILE_MODE, HOOK_MODE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class DrillDirectory:
    """Where a drill's things lie."""

    path: Path

    @property
    def configuration(self) -> Path:
        return self.path / "tideover.toml"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def socket(self) -> Path:
        return self.path / "run" / "tideover.sock"

    @property
    def applications(self) -> str:
        """Where applications connect."""
        return address_of(PathsSettings(str(self.hooks), str(self.state), str(self.socket.parent)))

    @property
    def has_application(self) -> bool:
        """Whether the sample application can connect: not where its socket's name would be too long."""
        return sys.platform == "win32" or len(self.applications.encode()) <= LONGEST_SOCKET_PATH

    @property
    def hooks(self) -> Path:
        return self.path / "hooks.d"

    @property
    def counter(self) -> Path:
        return self.path / "counter"

    @property
    def notebook(self) -> Path:
        return self.path / "notebook"

    @property
    def notes(self) -> Path:
        return self.path / "notebook.log"

    @property
    def log(self) -> Path:
        return self.path / "agent.log"

    def remove(self) -> None:
        """What cannot be removed is left; the temporary directory's own cleaning takes it."""
        shutil.rmtree(self.path, ignore_errors=True)


def make_folder() -> DrillDirectory:
    """Return a new folder in the temporary directory. Raise WrongUseError if no drill can be held there."""
    try:
        path = Path(tempfile.mkdtemp(prefix="tideover-drill-"))
    except OSError as trouble:
        raise _unusable(trouble) from trouble
    folder = DrillDirectory(path)
    why = _why_unusable(folder)
    if why is not None:
        folder.remove()
        raise WrongUseError("cannot run a drill", why, "Use another directory: TMPDIR=/var/tmp tideover drill")
    path.chmod(FOLDER_MODE)
    return folder


def sample_hook_names() -> list[str]:
    """Return the file names of the sample hooks, in the order in which they prepare."""
    return sorted(path.name for path in SAMPLE_HOOKS.glob("[0-9]*"))


def fill_folder(folder: DrillDirectory, plan: DrillPlan, source: Mapping[str, str], time_server: str) -> None:
    """Write the configuration, and the sample hooks where the owner's are not used. Raise WrongUseError."""
    try:
        folder.counter.mkdir()
        if plan.own is None:
            folder.hooks.mkdir(HOOK_MODE)
            folder.hooks.chmod(HOOK_MODE)       # whatever the umask: one that others may write would be refused
            _copy(SAMPLE_HOOKS / NOTEBOOK, folder.notebook, FILE_MODE)
            for name in sample_hook_names():
                _copy(SAMPLE_HOOKS / name, folder.hooks / name, HOOK_MODE)
        lines = [*_own_lines(folder, plan.platform, source, time_server), *_hook_lines(folder, plan)]
        folder.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        folder.configuration.chmod(FILE_MODE)
    except OSError as trouble:
        raise _unusable(trouble) from trouble


MEMBER_TIMEOUT_S = 5.0      # the notice must be longer than all timeouts, and a slot is asked for each hundredth of it
MEMBER_HOOKS = 2            # of the sample hooks: those that need no sample application


def fill_member_folder(folder: DrillDirectory, endpoint: str, time_server: str, fleet: Iterable[str]) -> None:
    """Write the configuration and the hooks of one machine of a fleet. Raise WrongUseError."""
    environment = {"NOTEBOOK": str(folder.notebook), "COUNTER": str(folder.counter), "DRAIN_S": f"{DRAIN_S:g}"}
    names = sample_hook_names()[:MEMBER_HOOKS]
    lines = [*_own_lines(folder, platform_named(SIMULATED_KINDS[0]), {"endpoint": endpoint}, time_server),
             f'hooks.timeout = "{MEMBER_TIMEOUT_S:g}s"', f"paths.hooks = {quoted(str(folder.hooks))}", *fleet,
             *(f"{dotted(('hook', Path(name).stem[3:], 'environment'))} = {inline_table(environment)}"
               for name in names)]
    try:
        folder.counter.mkdir()
        folder.hooks.mkdir(HOOK_MODE)
        folder.hooks.chmod(HOOK_MODE)
        _copy(SAMPLE_HOOKS / NOTEBOOK, folder.notebook, FILE_MODE)
        for name in names:
            _copy(SAMPLE_HOOKS / name, folder.hooks / name, HOOK_MODE)
        folder.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        folder.configuration.chmod(FILE_MODE)
    except OSError as trouble:
        raise _unusable(trouble) from trouble


def fill_for_trial(folder: DrillDirectory, applications: Iterable[str], platform: Platform, source: Mapping[str, str],
                   time_server: str) -> None:
    """Write the configuration of an agent without hooks, in which these applications take part, in this order. Raise
    WrongUseError."""
    lines = [*_own_lines(folder, platform, source, time_server), 'log.format = "json"',
             f"paths.hooks = {quoted(str(folder.hooks))}",
             *(f"{dotted(('application', name, 'order'))} = {order}" for order, name in enumerate(applications, 1))]
    try:
        folder.hooks.mkdir(HOOK_MODE)
        folder.hooks.chmod(HOOK_MODE)
        folder.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        folder.configuration.chmod(FILE_MODE)
    except OSError as trouble:
        raise _unusable(trouble) from trouble


def _own_lines(folder: DrillDirectory, platform: Platform, source: Mapping[str, str],
               time_server: str) -> Iterable[str]:
    """Beside these, the defaults: what is shown is what a new installation does."""
    yield "# Made by `tideover drill`."
    yield f"source.kind = {quoted(platform.kind)}"
    yield from (f"source.{key} = {quoted(text)}" for key, text in source.items())
    yield f"source.poll = {quoted(POLL)}"
    if platform.prepares_just_in_time:
        yield 'policy.prepare = "at-once"'      # a drill does not wait for its own notice
    yield f"clock.servers = {listed([time_server])}"
    yield f'clock.deadline = "{CLOCK_DEADLINE_S:g}s"'
    yield f"pause.settle = {quoted(SETTLE)}"
    yield f"paths.state = {quoted(str(folder.state))}"
    yield f"paths.runtime = {quoted(str(folder.socket.parent))}"


def _hook_lines(folder: DrillDirectory, plan: DrillPlan) -> Iterable[str]:
    if plan.own is not None:
        yield f"paths.hooks = {quoted(plan.own.directory)}"
        yield from plan.own.configuration
        return
    yield f"paths.hooks = {quoted(str(folder.hooks))}"
    drain_s = LONG_DRAIN_S if plan.cancel else DRAIN_S
    environment = {"NOTEBOOK": str(folder.notebook), "COUNTER": str(folder.counter), "DRAIN_S": f"{drain_s:g}"}
    if folder.has_application:
        yield f"application.{SAMPLE_APPLICATION}.order = 15"
    for name in sample_hook_names():
        yield f"{dotted(('hook', Path(name).stem[3:], 'environment'))} = {inline_table(environment)}"


def _why_unusable(folder: DrillDirectory) -> str | None:
    why = why_no_place(folder.path)
    if why is not None:
        return why
    if len(str(folder.socket).encode()) > LONGEST_SOCKET_PATH:
        return f"{folder.path.parent} is too long for the name of a socket"
    return None


def _copy(source: Path, target: Path, mode: int) -> None:
    """Given a file of the package, copy it with the mode it needs, whatever mode it was installed with."""
    shutil.copyfile(source, target)
    target.chmod(mode)


def _unusable(trouble: OSError) -> WrongUseError:
    return WrongUseError("cannot create the drill's directory", system_reason(trouble),
                         "Free space there, or name another directory: TMPDIR=/var/tmp tideover drill")
