"""The settings as typed values, and the default paths of each system.

Durations are seconds. Where the file says "" for "not set" or "off", the value is None.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tideover.model import Kind, RunConditions
from tideover.settings.types import Address

# --- Default paths of each platform: values only
# The rows are the contract's table of paths. Which of them holds is chosen by `configuration`, which may look.

_POSIX_ABSOLUTE = re.compile(r"/.*", re.DOTALL)
_WINDOWS_ABSOLUTE = re.compile(r"(?:[A-Za-z]:[\\/]|\\\\[^\\/]).*", re.DOTALL)   # a drive, a share, or \\.\pipe\


@dataclass(frozen=True, slots=True)
class PlatformPaths:
    """One platform's own paths: the configuration file, and the defaults of [paths]."""

    configuration: str
    hooks: str
    state: str
    runtime: str               # a directory; on Windows the full name of the pipe
    absolute: re.Pattern[str]

    def is_absolute(self, path: str) -> bool:
        return self.absolute.fullmatch(path) is not None


LINUX = PlatformPaths(
    configuration="/etc/tideover/tideover.toml",
    hooks="/etc/tideover/hooks.d",
    state="/var/lib/tideover",
    runtime="/run/tideover",
    absolute=_POSIX_ABSOLUTE,
)


def windows_paths(program_data: str) -> PlatformPaths:
    r"""Given the value of %ProgramData% (C:\ProgramData on most machines), return that platform's paths."""
    ours = program_data.rstrip("\\/") + "\\tideover"
    return PlatformPaths(
        configuration=ours + "\\tideover.toml",
        hooks=ours + "\\hooks.d",
        state=ours + "\\state",
        runtime="\\\\.\\pipe\\tideover",
        absolute=_WINDOWS_ABSOLUTE,
    )


# --- Settings

AcknowledgeMode = Literal["when-ready", "never"]
PrepareMode = Literal["at-once", "just-in-time"]
RecoverAfter = Literal["pause", "event"]
Unannounced = Literal["recover", "record"]
OnStop = Literal["keep", "recover"]
Mode = Literal["act", "observe"]
OnFailure = Literal["hold", "proceed"]
OnDeadline = Literal["recover", "hold"]
RemedyMode = Literal["none", "daemon"]
SharedMode = Literal["together", "alone"]
OnUnreachable = Literal["hold", "proceed"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """What a VM of Google's cannot ask for."""

    preempt_notice_s: float = 0.0
    terminate_notice_s: float = 60.0


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What of AWS EC2 counts as an event, besides those that it schedules."""

    rebalance: bool = False
    autoscaling: bool = False


@dataclass(frozen=True, slots=True)
class VsphereSettings:
    """How this VM's host is asked through VMware Tools."""

    app_name: str | None = "tideover"    # None: tideover
    vmtoolsd: str | None = None      # the program; None: the one that is installed


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """[source]."""

    kind: str                        # one of platforms.SOURCE_KINDS
    endpoint: str | None             # http://host[:port], no last slash; None: the platform's own
    poll_s: float
    vm_name: str | None              # exactly as written; None: ask the metadata service
    gcp: GcpSettings = GcpSettings()
    aws: AwsSettings = AwsSettings()
    vsphere: VsphereSettings = VsphereSettings()

    @property
    def programs(self) -> dict[str, str]:
        """The programs that the configuration names and a source runs, by key: no other user may change them."""
        program = self.vsphere.vmtoolsd
        return {"source.vsphere.vmtoolsd": program} if program is not None else {}


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """[policy], or [policy] as one kind of event sees it: then recover_after is "event" for all but a freeze."""

    act_on: frozenset[Kind]
    acknowledge: AcknowledgeMode
    acknowledge_shared: bool
    mode: Mode
    prepare: PrepareMode
    lead_s: float
    recover_after: RecoverAfter
    unannounced: Unannounced
    on_stop: OnStop


@dataclass(frozen=True, slots=True)
class HooksSettings:
    """[hooks]."""

    timeout_s: float
    reserve_s: float
    on_failure: OnFailure


@dataclass(frozen=True, slots=True)
class HookOptions(RunConditions):
    """A hook's table: what the decision keeps of it, and the variables, which may be secret."""

    environment: Mapping[str, str]
    environment_file: str | None     # None: there is none


AbsentMode = Literal["skip", "fail"]


@dataclass(frozen=True, slots=True)
class ApplicationOptions:
    """An application's table."""

    order: int                       # its place among the hooks' numbers
    user: str | None                 # whose processes may be it; None: the agent's own
    timeout_s: float
    kinds: frozenset[Kind]
    required: bool
    absent: AbsentMode               # what it means that it is not connected when it is to prepare


@dataclass(frozen=True, slots=True)
class ApplicationsSettings:
    """[applications]."""

    listeners: tuple[str, ...]       # users whose programs may listen, beside root and those of [application] tables
    connections: int                 # of one user at once


@dataclass(frozen=True, slots=True)
class PauseSettings:
    """[pause]."""

    tick_s: float
    threshold_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """[clock]."""

    servers: tuple[Address, ...]     # (): the hardware clock and the time daemon's servers
    tolerance_s: float
    deadline_s: float
    on_deadline: OnDeadline
    remedy: RemedyMode


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """[notify]."""

    user: str | None                 # None: the agent's own
    command: tuple[str, ...]         # the program and its arguments; (): there is none


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]."""

    format: LogFormat
    level: LogLevel


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """[metrics]."""

    listen: Address | None
    textfile: str | None


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """[health]."""

    listen: Address | None


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """[journal]."""

    keep_s: float


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The store over which agents coordinate, and what they coordinate. The files are read by who opens the store."""

    store: str | None                # its address (stores.read_store); None: there is no fleet
    endpoint: str | None             # of azblob: http(s)://host[:port][/account], no last slash; None: Azure's own
    group: str
    slots: int                       # 0: no limit
    shared: SharedMode
    on_unreachable: OnUnreachable
    takeover_s: float | None         # None: never
    prefix: str
    user: str | None
    password_file: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    sas_file: str | None
    identity: bool

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The files that no other user may read, where there is a store."""
        return self._files(self.password_file, self.key_file, self.sas_file)

    @property
    def public_files(self) -> tuple[str, ...]:
        """The files that no other user may change, where there is a store."""
        return self._files(self.ca_file, self.cert_file)

    def _files(self, *paths: str | None) -> tuple[str, ...]:
        return tuple(path for path in paths if path is not None) if self.store is not None else ()


@dataclass(frozen=True, slots=True)
class PathsSettings:
    """[paths]."""

    hooks: str
    state: str
    runtime: str                     # a directory; on Windows the full name of the pipe

    @property
    def socket(self) -> str:
        r"""Where the agent listens: a socket in `runtime`, or `runtime` itself where that is a pipe (\\.\pipe\…)."""
        return self.runtime if self.runtime.startswith("\\\\.\\pipe\\") else f"{self.runtime}/tideover.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration, complete and checked."""

    source: SourceSettings
    policy: PolicySettings
    policy_by_kind: Mapping[Kind, PolicySettings]    # one for each announced kind, complete
    hooks: HooksSettings
    hook: Mapping[str, HookOptions]                  # only the hooks that have a table; see options_for
    any_hook: HookOptions                            # of the hooks without one
    application: Mapping[str, ApplicationOptions]    # each application has a table
    applications: ApplicationsSettings
    fleet: FleetSettings
    pause: PauseSettings
    clock: ClockSettings
    notify: NotifySettings
    log: LogSettings
    metrics: MetricsSettings
    health: HealthSettings
    journal: JournalSettings
    paths: PathsSettings

    def policy_for(self, kind: Kind) -> PolicySettings:
        """Given any kind, return its policy; a kind that is never announced has [policy]'s."""
        return self.policy_by_kind.get(kind, self.policy)


def options_for(settings: Settings, name: str) -> HookOptions:
    """Given a hook's name (without number and suffix), return its options, everything filled in."""
    return settings.hook.get(name, settings.any_hook)

