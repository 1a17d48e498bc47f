"""THE table of the configuration: a row for each key. Reading, showing and the default file all follow from it.

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

from tideover.model import ANNOUNCED, Kind
from tideover.platforms import AUTO, PLANNED_KINDS, SOURCE_KINDS
from tideover.settings import values
from tideover.settings.types import (
    ENVIRONMENT,
    FLAG,
    PATH,
    UMASK,
    Address,
    ValueType,
    duration,
    http_endpoint,
    kinds_among,
    list_of,
    listen_address,
    one_of,
    optional,
    time_server,
    without_last_slash,
)

ANNOUNCED_IN_ORDER = tuple(kind for kind in Kind if kind in ANNOUNCED)
HOOK_NAME = re.compile(r"[a-z0-9-]+")
NOT_FREEZE = tuple(kind for kind in ANNOUNCED_IN_ORDER if kind is not Kind.FREEZE)


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


_LISTEN = optional('an IP address and port such as "127.0.0.1:9477" or "[::1]:9477"', listen_address,
                   lambda address: f'"{address.text}"')
_SERVERS = list_of('"host", "host:port" or "[v6]:port"', time_server, _written)
_ENDPOINT = optional('"http://host" or "http://host:port"', http_endpoint)
_TEXTFILE = replace(optional("an absolute path", without_last_slash), is_path=True)
_NAMED_KINDS = kinds_among((*ANNOUNCED_IN_ORDER, Kind.UNANNOUNCED, Kind.LIVE_MIGRATION))
_RUN_TIME = duration("10ms", "24h", "in less nothing can start, and no notice lasts longer than a day")

TABLES = (
    KeyTable("source", values.SourceSettings, "Who announces maintenance to this machine.", (
        SettingKey("kind", one_of(SOURCE_KINDS, PLANNED_KINDS), AUTO,
            "Which platform to listen to; auto asks the machine's DMI tables, never the network."),
        SettingKey("endpoint", _ENDPOINT, "",
            'Where the metadata service answers; "" is the platform\'s own address.'),
        SettingKey("poll", duration("50ms", "5m", "haste is refused, and half of a planned notice of 10 minutes must "
                                                  "be left"),
            "1s",
            "How often to ask while all is well; after errors less often, with jitter, 5s at most."),
        SettingKey("vm_name", optional("this VM's name as the platform writes it", _trimmed), "",
            'This VM\'s own name in events; "" asks the metadata service. The hostname is never taken for it.'),
    )),
    KeyTable("source.gcp", values.GcpSettings, "What a VM of Google Compute Engine cannot ask for.", (
        SettingKey("preempt_notice", duration("0s", "1h", "the platform offers none or 120s"), "0s",
            "How long ahead a Spot VM is told, as chosen at its creation."),
        SettingKey("terminate_notice", duration("0s", "24h", "no notice is longer"), "60s",
            "How long ahead a stop for maintenance is told; 60m for machine families with a GPU or TPU."),
    )),
    KeyTable("policy", values.PolicySettings, "What to do about events. [policy.KIND] says otherwise for one kind.", (
        SettingKey("act_on", kinds_among(ANNOUNCED_IN_ORDER), [kind.value for kind in ANNOUNCED_IN_ORDER],
            "The kinds of events to act on; others are only watched.",
            elsewhere="the kinds acted on are listed once, in [policy]"),
        SettingKey("acknowledge", one_of(get_args(values.AcknowledgeMode)), "when-ready",
            "Tell the platform to go ahead as soon as the hooks are ready, or never.",
            kinds=ANNOUNCED, by_kind=MappingProxyType({Kind.UNKNOWN: "never"})),
        SettingKey("acknowledge_shared", FLAG, False,
            "Whether this VM may release an event that names other VMs too.", kinds=ANNOUNCED),
        SettingKey("prepare", one_of(get_args(values.PrepareMode)), "at-once",
            "Start preparing at once, or just in time for the hooks' timeouts and the reserve.", kinds=ANNOUNCED),
        SettingKey("lead", duration("1s", "365d", "hooks need some time, and nothing is announced longer ahead"), "1h",
            "Never start preparing earlier than this before NotBefore.", kinds=ANNOUNCED),
        SettingKey("recover_after", one_of(get_args(values.RecoverAfter)), "pause",
            "After a freeze, recover once its pause is measured and over, or when the event has left the list.",
            kinds=frozenset({Kind.FREEZE}),
            elsewhere="only after a freeze is there a choice, so it belongs in [policy] or [policy.freeze]",
            by_kind=MappingProxyType({kind: "event" for kind in NOT_FREEZE})),
        SettingKey("unannounced", one_of(get_args(values.Unannounced)), "recover",
            "After a pause nobody announced, run the hooks whose kinds name it, or only record it.",
            elsewhere="a pause nobody announced is of no announced kind, so it belongs in [policy]"),
        SettingKey("on_stop", one_of(get_args(values.OnStop)), "keep",
            "When the service is stopped while prepared, leave that to the next start, or recover first.",
            elsewhere="the service stops for all events at once, so it belongs in [policy]"),
    )),
    KeyTable("hooks", values.HooksSettings, "What holds for every hook.", (
        SettingKey("timeout", _RUN_TIME, "60s", "The longest one run of one hook may take."),
        SettingKey("reserve", duration("0s", "10m", "the shortest ordinary notice is 10 minutes"), "5s",
            "The part of the time before NotBefore that is kept for the acknowledgement."),
        SettingKey("on_failure", one_of(get_args(values.OnFailure)), "hold",
            "After a failed preparation, hold the acknowledgement back, or proceed."),
    )),
    KeyTable("pause", values.PauseSettings, "How pauses of this machine are noticed.", (
        SettingKey("tick", duration("10ms", "1s", "a pause of a second must be seen, and a faster tick is itself a "
                                                  "load"),
            "250ms", "The heartbeat when idle; while an event is near it is 50ms."),
        SettingKey("threshold", duration("10ms", "1m", "shorter is ordinary scheduling, longer is what this agent is "
                                                       "for"),
            "500ms", "Shorter stalls are not recorded."),
        SettingKey("settle", duration("0s", "10m", "applications wait for it after every pause"), "5s",
            "Quiet time after a pause before it counts as over."),
    )),
    KeyTable("clock", values.ClockSettings, "When this machine's clock is good enough to carry on.", (
        SettingKey("servers", _SERVERS, [],
            "Your own time servers; [] is the hardware clock and the time daemon's servers (at most every 15s; pools "
            "30min)."),
        SettingKey("tolerance", duration("0.1ms", "1h", "finer cannot be proved from inside, coarser is not a clock"),
                   "250ms",
            "The offset and its error bound together must be within this."),
        SettingKey("deadline", duration("0s", "24h", "applications stay drained that long"), "60s",
            "How long recovery waits for a good clock; with no source of time at all it does not wait."),
        SettingKey("on_deadline", one_of(get_args(values.OnDeadline)), "recover",
            "When the clock is still wrong at the deadline, recover all the same, or hold."),
        SettingKey("remedy", one_of(get_args(values.RemedyMode)), "none",
            "After a pause, have the time daemon (chrony, timesyncd, w32time) measure afresh."),
    )),
    KeyTable("log", values.LogSettings, "What the agent says while it runs.", (
        SettingKey("format", one_of(get_args(values.LogFormat)), "text", "One line of text, or one JSON object, for "
                                                                         "each."),
        SettingKey("level", one_of(get_args(values.LogLevel)), "info", "The least important messages to print."),
    )),
    KeyTable("metrics", values.MetricsSettings, "Figures for Prometheus.", (
        SettingKey("listen", _LISTEN, "",
            'Where GET /metrics shows them over HTTP, "127.0.0.1:9477" for example; "" is off.'),
        SettingKey("textfile", _TEXTFILE, "",
            'A file for node_exporter\'s textfile collector, its name ending in .prom, written every 15 s; "" is off.'),
    )),
    KeyTable("health", values.HealthSettings, "For load balancers.", (
        SettingKey("listen", _LISTEN, "",
            'Where GET /healthz says 200 or 503 (draining), and HAProxy\'s agent-check is answered; "" is off.'),
    )),
    KeyTable("journal", values.JournalSettings, "The agent's memory.", (
        SettingKey("keep", duration("1m", "36500d", "an event must be over before its record goes"), "365d",
            "How long records of closed events are kept."),
    )),
    KeyTable("paths", values.PathsSettings, "Where things lie. Name all three, and a second agent can run beside.", (
        SettingKey("hooks", PATH, PlatformDefault.PLATFORM, "The directory of the hooks."),
        SettingKey("state", PATH, PlatformDefault.PLATFORM, "The directory of the journal and the hooks' state."),
        SettingKey("runtime", PATH, PlatformDefault.PLATFORM, "The directory of the socket; on Windows the full name "
                                                              "of the pipe."),
    )),
)

HOOK = KeyTable("hook", values.HookOptions, "One hook's own settings. NAME is its file's, without number and suffix.", (
    SettingKey("kinds", _NAMED_KINDS, [kind.value for kind in ANNOUNCED_IN_ORDER],
        "What it runs for. A pause nobody announced and a live migration only when named."),
    SettingKey("min_pause", duration("0s", "1h", "no announced freeze is longer"), "0s",
        "Skip it for a freeze announced shorter than this; an unknown length counts as long."),
    SettingKey("timeout", _RUN_TIME, None, "The longest one run of it may take; follows hooks.timeout."),
    SettingKey("required", FLAG, None,
        "Whether its failure holds the acknowledgement back; follows hooks.on_failure (hold: true)."),
    SettingKey("user", optional("an account's name", _account), "", 'The account it runs as; "" is the agent\'s own.'),
    SettingKey("umask", UMASK, "022", "What is taken from the mode of the files it makes, as in umask(1). Linux only."),
    SettingKey("environment", ENVIRONMENT, {}, "Further variables of its environment."),
))
