"""Warnings of `config check`: configurations that are valid but likely to surprise, a row each."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.model import ANNOUNCED, Kind
from tideover.settings.toml import KeyOrigin
from tideover.settings.types import did_you_mean, dotted, is_loopback
from tideover.settings.values import HookOptions, PolicySettings, Settings
from tideover.stores import read_store

FASTEST_POLL_S = 0.2             # Azure Instance Metadata Service docs: 5 requests a second for each VM, all of it
SHORTEST_NOTICE_S = 30.0         # Azure Scheduled Events docs: a Preempt event
FINEST_OVER_NETWORK_S = 0.01     # half a round trip plus the server's own error: a few ms even nearby (RFC 5905)
PROMISED_PAUSE_S = 1.0           # every pause of a second or more is recorded
LONGEST_SOCKET_PATH = 107        # bytes (unix(7): sun_path has 108 with its end)

_NO_LINES: Mapping[str, KeyOrigin] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class WarningRule:
    """What is allowed and may surprise: a key, when, and the warning."""

    key: str
    applies: Callable[[Settings], bool]
    text: str


@dataclass(frozen=True, slots=True)
class PolicyWarningRule:
    """One about a key of [policy] that kinds may have of their own."""

    name: str
    applies: Callable[[PolicySettings, Settings], bool]
    text: str


def _needed_s(settings: Settings) -> float:
    """The least time all hooks need: what the slowest of them may take, and the reserve."""
    return max([settings.hooks.timeout_s, *(it.timeout_s for it in settings.hook.values())]) + settings.hooks.reserve_s


def _same_listener(settings: Settings) -> bool:
    return settings.metrics.listen is not None and settings.metrics.listen == settings.health.listen


def _is_open_to_others(settings: Settings) -> bool:
    return settings.metrics.listen is not None and not is_loopback(settings.metrics.listen.host)


def _password_in_clear(settings: Settings) -> bool:
    place = read_store(settings.fleet.store) if settings.fleet.store is not None else None
    return settings.fleet.user is not None and place is not None and place.kind.scheme == "etcd" and not all(
        is_loopback(host.rpartition(":")[0].strip("[]")) for host in place.hosts)


WARNINGS = (
    WarningRule("source.poll", lambda it: it.source.poll_s < FASTEST_POLL_S,
            "the metadata service answers 5 requests a second for the whole VM and refuses the rest"),
    WarningRule("source.poll", lambda it: it.source.poll_s > SHORTEST_NOTICE_S / 3,
            "a preempt event is announced 30s ahead, which leaves its hooks little time"),
    WarningRule("pause.threshold", lambda it: it.pause.threshold_s > PROMISED_PAUSE_S,
            "pauses of a second and more may go unrecorded"),
    WarningRule("clock.tolerance", lambda it: it.clock.tolerance_s < FINEST_OVER_NETWORK_S,
            "a time server on the network can hardly confirm that; a hardware clock can, to about a millisecond"),
    WarningRule("metrics.listen", _is_open_to_others,
            "any host that reaches this address can read the metrics without a password; 127.0.0.1 limits it to this "
            "machine"),
    WarningRule("metrics.textfile", lambda it: not (it.metrics.textfile or ".prom").endswith(".prom"),
            "node_exporter reads only files whose names end in .prom"),
    WarningRule("health.listen", _same_listener, "metrics.listen is the same, and only one of the two can have it"),
    WarningRule("fleet.slots", lambda it: it.fleet.slots > 0 and it.fleet.store is None,
            "has no effect: fleet.store is not set"),
    WarningRule("fleet.user", _password_in_clear, "the password crosses the network unencrypted; etcds:// encrypts it"),
    WarningRule("fleet.shared", lambda it: it.fleet.store is not None and it.fleet.shared == "alone",
            "events that name other VMs too are acknowledged for those as well, prepared or not"),
    WarningRule("paths.runtime", lambda it: len(it.paths.socket.encode()) > LONGEST_SOCKET_PATH,
            "too long for the name of a socket, which has room for 107 bytes with /tideover.sock"),
)


POLICY_WARNINGS = (
    PolicyWarningRule("acknowledge_shared", lambda policy, it: policy.acknowledge_shared and it.fleet.store is not None,
                  "is ignored: fleet.store is set, and fleet.shared decides about events that name other VMs too"),
    PolicyWarningRule("acknowledge_shared", lambda policy, it: policy.acknowledge_shared and it.fleet.store is None,
                  "events that name other VMs too are acknowledged for those as well, prepared or not"),
    PolicyWarningRule("lead", lambda policy, settings: policy.lead_s < _needed_s(settings),
                  "preparation starts so late that a hook's timeout and hooks.reserve do not fit before NotBefore"),
)


def warnings_about(settings: Settings, origin: Mapping[str, KeyOrigin] = _NO_LINES) -> tuple[str, ...]:
    """Given settings and the lines of their keys, return one line for each thing that may surprise their owner."""
    found = [(caution.key, caution.text) for caution in WARNINGS if caution.applies(settings)]
    found += [pair for caution in POLICY_WARNINGS for pair in _policy_cautions(caution, settings)]
    found += _idle_policies(settings, origin)
    found += [pair for name, options in settings.hook.items() for pair in _hook_cautions(name, options, settings)]
    return tuple(_placed(key, text, origin) for key, text in found)


def unused_hook_tables(settings: Settings, names: Collection[str],
                       origin: Mapping[str, KeyOrigin] = _NO_LINES) -> tuple[str, ...]:
    """Given settings and the names of all hooks there are, return one line for each [hook.NAME] without a file."""
    return tuple(_placed(dotted(("hook", name)), "the hooks directory has no such hook" + _meant(name, names), origin)
                 for name in settings.hook if name not in names)


def _meant(name: str, names: Collection[str]) -> str:
    number, hyphen, rest = name.partition("-")
    if hyphen and number.isdigit() and rest in names:
        return f", its name is {rest}, without the number"
    return did_you_mean(name, tuple(names))


def _policy_cautions(caution: PolicyWarningRule, settings: Settings) -> Iterator[tuple[str, str]]:
    if caution.applies(settings.policy, settings):
        yield f"policy.{caution.name}", caution.text
        return
    for kind, policy in settings.policy_by_kind.items():
        if caution.applies(policy, settings):
            yield f"policy.{kind.value}.{caution.name}", caution.text


def _idle_policies(settings: Settings, origin: Mapping[str, KeyOrigin]) -> Iterator[tuple[str, str]]:
    for kind in settings.policy_by_kind:
        key = f"policy.{kind.value}"
        if key in origin and kind not in settings.policy.act_on:
            yield key, f"has no effect: policy.act_on does not name {kind.value}"


def _hook_cautions(name: str, options: HookOptions, settings: Settings) -> Iterator[tuple[str, str]]:
    key = dotted(("hook", name, "kinds"))
    idle = options.kinds & ANNOUNCED - settings.policy.act_on
    if not options.kinds:
        yield key, "this hook never runs"
    if idle and options.kinds != ANNOUNCED:
        yield key, f"policy.act_on does not name {', '.join(kind.value for kind in Kind if kind in idle)}"
    if Kind.UNANNOUNCED in options.kinds and settings.policy.unannounced == "record":
        yield key, 'policy.unannounced = "record" runs no hook after an unannounced pause'


def _placed(key: str, text: str, origin: Mapping[str, KeyOrigin]) -> str:
    return f"{origin[key].short}: {key}: {text}" if key in origin else f"{key}: {text}"
