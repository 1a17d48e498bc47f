"""The table of the configuration: each key's type, default, range and text.

Reading, showing and the default file follow from it.

A row's default is written as the file would write it and goes through the same reading. None as a default means that
it follows another key, as the row says. Ranges stand beside their reasons.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, get_args

import tideover.settings.values as values
from tideover.model import ANNOUNCED, Kind
from tideover.platforms import AUTO, SOURCE_KINDS
from tideover.settings.types import (
    COMMAND,
    ENVIRONMENT,
    FLAG,
    PATH,
    UMASK,
    Address,
    ValueType,
    blob_endpoint,
    duration,
    duration_or,
    http_endpoint,
    kinds_among,
    list_of,
    listen_address,
    one_of,
    optional,
    store_address,
    text_of,
    time_server,
    whole_number,
    without_last_slash,
)
from tideover.stores import STORES

ANNOUNCED_IN_ORDER = tuple(kind for kind in Kind if kind in ANNOUNCED)
HOOK_NAME = re.compile(r"[a-z0-9-]+")
NOT_FREEZE = tuple(kind for kind in ANNOUNCED_IN_ORDER if not kind.info.ends_by_pause)


class PlatformDefault(Enum):
    PLATFORM = "the platform's own"      # a path of the platform's table


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One key: its name, the shape of its value, what holds without it, one line for people.

    `kinds`: whose [policy.KIND] may say otherwise; `elsewhere`: why no other may.
    `by_kind`: what holds for a kind unless its own table says otherwise, whatever [policy] says.
    """

    name: str
    takes: ValueType
    default: object
    about: str
    kinds: frozenset[Kind] = frozenset()
    elsewhere: str = ""
    by_kind: Mapping[Kind, object] = field(default_factory=dict)

    @property
    def field(self) -> str:
        """The name of the value in Settings: with its unit."""
        return self.name + self.takes.unit


@dataclass(frozen=True, slots=True)
class KeyTable:
    """A table of the configuration with its keys."""

    name: str                            # "source.gcp": a table within another one
    makes: Any                           # the class of `values` that takes one value for each row
    about: str
    keys: tuple[SettingKey, ...]


def _trimmed(text: str) -> str | None:
    return text if text == text.strip() else None


def _account(text: str) -> str | None:
    return text if text == text.strip() and not set(text) & set(':/"') else None


def _written(address: Address) -> str:
    return address.text


def _app_name(text: str) -> str | None:
    return text if re.fullmatch("[A-Za-z0-9.-]{1,64}", text) else None


def _group(text: str) -> str | None:
    return text if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) else None


def _prefix(text: str) -> str | None:
    return text if len(text) <= 200 and all(map(_group, text.split("/"))) else None


_LISTEN = optional('an IP address and port such as "127.0.0.1:9477" or "[::1]:9477"', listen_address,
                   lambda address: f'"{address.text}"')
_SERVERS = list_of('"host", "host:port" or "[v6]:port"', time_server, _written)
_ENDPOINT = optional('"http://host" or "http://host:port"', http_endpoint)
_STORE = optional(" or ".join(f'"{one.form}"' for one in STORES), store_address)
_USERS = list_of("user names", _account, str)
_FILE = replace(optional("an absolute path", without_last_slash), is_path=True)
_NAMED_KINDS = kinds_among((*ANNOUNCED_IN_ORDER, Kind.UNANNOUNCED, Kind.LIVE_MIGRATION))
_RUN_TIME = duration("10ms", "24h", "shorter is too short to start anything, and no notice is longer than a day")

TABLES = (
    KeyTable("source", values.SourceSettings, "The platform that announces maintenance to this machine.", (
        SettingKey("kind", one_of(SOURCE_KINDS), AUTO,
            "Which platform's events to read; auto decides by the DMI tables, without network access."),
        SettingKey("endpoint", _ENDPOINT, "",
            'The URL of the metadata service; "" is the platform\'s own.'),
        SettingKey("poll", duration("50ms", "5m", "faster is refused, and half of a 10 minute notice must remain"),
            "1s",
            "The polling interval; after errors it backs off with jitter, to 5s at most."),
        SettingKey("vm_name", optional("the VM's name as the platform writes it", _trimmed), "",
            'The name of this VM in events; "" asks the metadata service. The hostname is never used.'),
    )),
    KeyTable("source.gcp", values.GcpSettings, "What a VM of Google Compute Engine cannot ask for.", (
        SettingKey("preempt_notice", duration("0s", "1h", "the platform offers none or 120s"), "0s",
            "The notice of a Spot VM's preemption, as chosen at its creation."),
        SettingKey("terminate_notice", duration("0s", "24h", "no notice is longer"), "60s",
            "The notice of a stop for maintenance; 60m for machine families with a GPU or TPU."),
    )),
    KeyTable("source.aws", values.AwsSettings, "What of AWS EC2 counts as an event, besides those that it schedules.", (
        SettingKey("rebalance", FLAG, False,
            "Whether a rebalance recommendation counts as a Spot interruption; it may never come true."),
        SettingKey("autoscaling", FLAG, False,
            "Whether the end that its Auto Scaling group plans for this instance counts as a termination."),
    )),
    KeyTable("source.vsphere", values.VsphereSettings, "How the host is asked through VMware Tools.", (
        SettingKey("app_name", optional("a name of letters, digits, dots and hyphens", _app_name), "tideover",
            "The name under which the agent registers, as an administrator sees it."),
        SettingKey("vmtoolsd", _FILE, "",
            'The program of VMware Tools; "" is the one that is found on PATH.'),
    )),
    KeyTable("policy", values.PolicySettings, "What to do about events. [policy.KIND] overrides it for one kind.", (
        SettingKey("act_on", kinds_among(ANNOUNCED_IN_ORDER), [kind.value for kind in ANNOUNCED_IN_ORDER],
            "The kinds of events to act on; others are only observed.",
            elsewhere="act_on is set once, in [policy]"),
        SettingKey("acknowledge", one_of(get_args(values.AcknowledgeMode)), "when-ready",
            "Acknowledge an event as soon as it is prepared, or never (then by hand).",
            kinds=ANNOUNCED, by_kind=MappingProxyType({Kind.UNKNOWN: "never"})),
        SettingKey("acknowledge_shared", FLAG, False,
            "Whether this VM may acknowledge an event that names other VMs too.", kinds=ANNOUNCED),
        SettingKey("mode", one_of(get_args(values.Mode)), "act",
            "Act on events, or only observe and record them, beside another agent: no prepare, no acknowledgement.",
            elsewhere="mode is set once, in [policy]"),
        SettingKey("prepare", one_of(get_args(values.PrepareMode)), "at-once",
            "When to start preparing: at once, or just in time for the hooks' timeouts and the "
            "reserve.", kinds=ANNOUNCED),
        SettingKey("lead", duration("1s", "365d", "hooks need some time, and no event is announced earlier"), "1h",
            "Start preparing at most this long before NotBefore.", kinds=ANNOUNCED),
        SettingKey("recover_after", one_of(get_args(values.RecoverAfter)), "pause",
            "After a freeze, recover when its pause is over, or when the platform has removed the event.",
            kinds=frozenset(kind for kind in Kind if kind.info.ends_by_pause),
            elsewhere="it applies to a freeze only, so it belongs in [policy] or [policy.freeze]",
            by_kind=MappingProxyType({kind: "event" for kind in NOT_FREEZE})),
        SettingKey("unannounced", one_of(get_args(values.Unannounced)), "recover",
            "After an unannounced pause, run the hooks whose kinds name it, or only record it.",
            elsewhere="an unannounced pause has no kind of its own, so it belongs in [policy]"),
        SettingKey("on_stop", one_of(get_args(values.OnStop)), "keep",
            "When the service is stopped with hooks prepared: leave recovery to the next start, or recover first.",
            elsewhere="a stop concerns all events, so it belongs in [policy]"),
    )),
    KeyTable("hooks", values.HooksSettings, "Defaults for every hook.", (
        SettingKey("timeout", _RUN_TIME, "60s", "The timeout of one run of a hook."),
        SettingKey("reserve", duration("0s", "10m", "the shortest ordinary notice is 10 minutes"), "5s",
            "The part of the time before NotBefore that is reserved for the acknowledgement."),
        SettingKey("on_failure", one_of(get_args(values.OnFailure)), "hold",
            "After a failed preparation: withhold the acknowledgement, or proceed."),
    )),
    KeyTable("pause", values.PauseSettings, "How pauses of this machine are detected.", (
        SettingKey("tick", duration("10ms", "1s", "a pause of one second must be detected, and a faster tick costs "
                                                  "CPU time"),
            "250ms", "The interval of the heartbeat when idle; while an event is near it is 50ms."),
        SettingKey("threshold", duration("10ms", "1m", "shorter is ordinary scheduling delay, and longer pauses must "
                                                       "be recorded"),
            "500ms", "Stalls shorter than this are not recorded."),
        SettingKey("settle", duration("0s", "10m", "applications stay prepared for that long after every pause"), "5s",
            "How long no further pause may follow before a pause counts as over."),
    )),
    KeyTable("clock", values.ClockSettings, "When this machine's clock is good enough to recover.", (
        SettingKey("servers", _SERVERS, [],
            "Time servers to query; [] uses the hardware clock and the time daemon's servers (at most every 15s; "
            "pools 30min)."),
        SettingKey("tolerance", duration("0.1ms", "1h", "less cannot be measured from inside, more is no usable clock"),
            "250ms",
            "The largest sum of offset and error bound of a good clock."),
        SettingKey("deadline", duration("0s", "24h", "applications stay prepared for that long"), "60s",
            "How long recovery waits for a good clock; without any time source it does not wait."),
        SettingKey("on_deadline", one_of(get_args(values.OnDeadline)), "recover",
            "When the clock is still bad at the deadline: recover, or hold recovery."),
        SettingKey("remedy", one_of(get_args(values.RemedyMode)), "none",
            "After a pause, make the time daemon (chrony, timesyncd, w32time) measure again at once."),
    )),
    KeyTable("notify", values.NotifySettings, "A program that is run at each change of phase of an event of this VM.", (
        SettingKey("user", optional("a user name", _account), "nobody",
            'The user it runs as if the agent is root; "" is the agent\'s own. Linux only.'),
        SettingKey("command", COMMAND, [],
            "The program and its arguments; [] is off. At most 10s each; a failure is logged and holds nothing."),
    )),
    KeyTable("log", values.LogSettings, "The log.", (
        SettingKey("format", one_of(get_args(values.LogFormat)), "text", "The format of a line: text, or a JSON "
                                                                         "object."),
        SettingKey("level", one_of(get_args(values.LogLevel)), "info", "The lowest level to print."),
    )),
    KeyTable("metrics", values.MetricsSettings, "Metrics for Prometheus.", (
        SettingKey("listen", _LISTEN, "",
            'The address that serves GET /metrics, for example "127.0.0.1:9477"; "" is off.'),
        SettingKey("textfile", _FILE, "",
            'A .prom file for node_exporter\'s textfile collector, written every 15 s; "" is off.'),
    )),
    KeyTable("health", values.HealthSettings, "Health checks by load balancers.", (
        SettingKey("listen", _LISTEN, "",
            'The address that answers GET /healthz with 200 or 503 (draining), and HAProxy\'s agent-check; "" is off.'),
    )),
    KeyTable("journal", values.JournalSettings, "The journal: the agent's state and records.", (
        SettingKey("keep", duration("1m", "36500d", "a record may be removed only after its event is over"), "365d",
            "How long to keep the records of closed events."),
    )),
    KeyTable("applications", values.ApplicationsSettings, "Programs that take part, or listen, over the socket.", (
        SettingKey("listeners", _USERS, [],
            "Users whose programs may listen, beside root and the users of [application] tables."),
        SettingKey("connections", whole_number(1, 10000), 64, "The connections that one user may have at once."),
    )),
    KeyTable("fleet", values.FleetSettings, "The store through which the agents of several machines coordinate.", (
        SettingKey("store", _STORE, "",
            'The store: an etcd cluster, or a container of Azure Blob Storage; "" is off.'),
        SettingKey("endpoint", optional('"https://HOST" or "http://HOST:PORT/ACCOUNT"', blob_endpoint), "",
            'azblob only: the address of an emulator or of a sovereign cloud; "" is Azure\'s own.'),
        SettingKey("group", text_of("a name of letters, digits, dots, hyphens and underscores, 64 at most", _group),
            "default", "The group of machines that must not be away together."),
        SettingKey("slots", whole_number(0, 10000), 0,
            "How many events of the group may be prepared or away at once; 0 is no limit."),
        SettingKey("shared", one_of(get_args(values.SharedMode)), "together",
            "An event of several machines: acknowledge when all are ready, or alone, whatever the others are."),
        SettingKey("on_unreachable", one_of(get_args(values.OnUnreachable)), "hold",
            "Without the store: do not acknowledge, or proceed without a slot (a shared event is held in any case)."),
        SettingKey("takeover", duration_or("never", "1m", "30d", "a machine may be paused for half a minute"), "30m",
            "A holder that is silent for this long loses its slot (preempt and terminate: after 2m)."),
        SettingKey("prefix", text_of("names of letters, digits, dots, hyphens and underscores, with / between them",
                                     _prefix),
            "tideover", "The prefix of all keys in the store."),
        SettingKey("user", optional("a user name of etcd", _account), "", 'The user of etcd; "" is none.'),
        SettingKey("password_file", _FILE, "", "A file with the password of that user; mode 0600."),
        SettingKey("ca_file", _FILE, "",
            'etcds only: the certificates (PEM) of the authorities to trust; "" is the system\'s.'),
        SettingKey("cert_file", _FILE, "", "etcds only: this client's certificate (PEM)."),
        SettingKey("key_file", _FILE, "", "etcds only: the private key of that certificate (PEM); mode 0600."),
        SettingKey("sas_file", _FILE, "",
            "azblob only: a file with a shared access signature of the container; mode 0600."),
        SettingKey("identity", FLAG, False, "azblob only: use the managed identity of this VM."),
    )),
    KeyTable("paths", values.PathsSettings, "Directories. A second agent on the same machine needs all three of its "
                                            "own.", (
        SettingKey("hooks", PATH, PlatformDefault.PLATFORM, "The directory of the hooks."),
        SettingKey("state", PATH, PlatformDefault.PLATFORM, "The directory of the journal and the hooks' state "
                                                            "directories."),
        SettingKey("runtime", PATH, PlatformDefault.PLATFORM, "The directory of the socket; on Windows the full name "
                                                              "of the pipe."),
    )),
)

APPLICATION = KeyTable("application", values.ApplicationOptions,
                       "One program that takes part over the socket instead of by a hook file. NAME is what it says.", (
    SettingKey("order", whole_number(0, 99), 50, "Its place among the hooks' numbers."),
    SettingKey("user", optional("a user name", _account), "",
        'The user whose processes may be it; "" is the agent\'s own.'),
    SettingKey("timeout", _RUN_TIME, None, "The timeout of one run; default: hooks.timeout."),
    SettingKey("kinds", _NAMED_KINDS, [kind.value for kind in ANNOUNCED_IN_ORDER],
        "The kinds it takes part in; unannounced and live-migration only if named here."),
    SettingKey("required", FLAG, None,
        "Whether its failure withholds the acknowledgement; default: true if hooks.on_failure is hold."),
    SettingKey("absent", one_of(get_args(values.AbsentMode)), "skip",
        "What it means that it is not connected when it is to prepare: nothing to prepare, or a failure."),
))

HOOK = KeyTable("hook", values.HookOptions, "Settings of one hook. NAME is its file name without number and suffix.", (
    SettingKey("kinds", _NAMED_KINDS, [kind.value for kind in ANNOUNCED_IN_ORDER],
        "The kinds it runs for; unannounced and live-migration only if named here."),
    SettingKey("min_pause", duration("0s", "1h", "no freeze is announced longer"), "0s",
        "Skip it for a freeze announced shorter than this; an unknown length is not skipped."),
    SettingKey("timeout", _RUN_TIME, None, "The timeout of one run; default: hooks.timeout."),
    SettingKey("required", FLAG, None,
        "Whether its failure withholds the acknowledgement; default: true if hooks.on_failure is hold."),
    SettingKey("user", optional("a user name", _account), "", 'The user it runs as; "" is the agent\'s own.'),
    SettingKey("umask", UMASK, "022", "The umask of its processes (umask(1)). Linux only."),
    SettingKey("environment", ENVIRONMENT, {}, "Additional environment variables."),
    SettingKey("environment_file", _FILE, "",
        "A file of further variables, read at each run: lines NAME=value, taken literally; mode 0600."),
))

NAMED_TABLES = (HOOK, APPLICATION)
"""Tables of which there is one for each name: [hook.NAME], [application.NAME]."""
