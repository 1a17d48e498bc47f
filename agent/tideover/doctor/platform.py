"""Checks of the platform: which source is used, the metadata service, proxy variables."""
from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tideover.doctor.findings import Finding, bad, good, remark
from tideover.doctor.machine import Machine
from tideover.humanize import length_text, moment_text, offset_text
from tideover.model import Event, fold_case
from tideover.observations import Polled, PollFailed
from tideover.policy import names_me
from tideover.settings import Settings
from tideover.sources import SourceKind, choose_source_kind
from tideover.sources.azure import PLATFORM, SECURITY_PROTOCOL, AzureSource
from tideover.sources.scheduled_events import VmIdentity
from tideover.threads import start_task

# --- The source

PLATFORM_TOPIC = "source"


def detected_kind(settings: Settings, root: Path) -> SourceKind:
    """Given the settings and the machine's files, return the kind of source the agent uses."""
    return choose_source_kind(root) if settings.source.kind == "auto" else settings.source.kind


def check_source(settings: Settings, root: Path) -> list[Finding]:
    """Given the settings and the machine's files, say which source is used and why."""
    if settings.source.kind != "auto":
        said = f"{settings.source.kind}, because [source] kind says so"
        return [remark(PLATFORM_TOPIC, f"{said}: nothing is announced here, pauses are noticed all the same")
                if settings.source.kind != "azure" else good(PLATFORM_TOPIC, said)]
    kind = choose_source_kind(root)
    if kind == "azure":
        return [good(PLATFORM_TOPIC, "azure, because the DMI chassis asset tag is that of every Azure VM")]
    if kind == "hyperv":
        return [remark(PLATFORM_TOPIC, "hyperv, because the DMI tables say Hyper-V and not Azure: nothing is "
                                       "announced here in "
                            "advance, pauses are noticed all the same")]
    return [bad(PLATFORM_TOPIC, "none: the DMI tables name no platform that announces its maintenance, so no hook "
                                "will ever be "
                       "prepared here",
                'If this is an Azure VM all the same, set [source] kind = "azure"; if it is none and pauses are all '
                'you want noticed, set "none".')]


# --- The metadata service

# A later answer takes milliseconds. The very first may take two minutes (Azure Scheduled Events docs), for which
# nobody waits at a terminal.
CALL_S = 5.0
WHOLE_S = 6.0                # the VM's name and the events together
OFF_S = 2.5                  # a Date has whole seconds, and the answer was a moment under way

FIRST_CALL = "the very first call on a service may take up to 2 minutes: try again, and let the agent wait for it"


@dataclass(frozen=True, slots=True)
class MetadataReport:
    """One poll: what came of it, how long it took, and this machine's wall clock right after it."""

    news: Polled | PollFailed
    took_s: float
    wall: datetime


def ask_metadata_service(settings: Settings) -> MetadataReport:
    """Given the settings, ask as the agent will. Blocks for some 6 s at most."""
    source = AzureSource(settings.source.endpoint or "", settings.source.vm_name or "", first_call_s=CALL_S,
                         later_call_s=CALL_S)
    is_over = threading.Event()

    def limit() -> None:
        if not is_over.wait(WHOLE_S):
            source.close()

    start_task("metadata-limit", limit)
    began_s = time.monotonic()
    try:
        news = source.poll()
    finally:
        is_over.set()
        source.close()
    return MetadataReport(news, time.monotonic() - began_s, datetime.now(UTC))


def ask_vm_name(settings: Settings) -> VmIdentity | None:
    """Given the settings, return who the service says we are, whatever they say. Blocks for 10 s at most."""
    return AzureSource(settings.source.endpoint or "").identity()


def check_metadata_service(settings: Settings, heard: MetadataReport | None) -> list[Finding]:
    """Given what was heard (None: nothing in time), say whether the service can be used, and its clock."""
    place = settings.source.endpoint or PLATFORM
    if heard is None or (isinstance(heard.news, PollFailed) and heard.took_s >= CALL_S):
        return [bad("metadata", f"the metadata service at {place} has not answered within {WHOLE_S:.0f} s",
                    f"Check the route to it and the firewall; {FIRST_CALL}.")]
    if isinstance(heard.news, PollFailed) and SECURITY_PROTOCOL in heard.news.reason:
        return [bad("metadata", heard.news.reason, f"Allow both paths to the program {Path(sys.executable).resolve()} "
                                                   "(exePath) or to the user it runs as (userName); the log of Azure's "
                                                   "GuestProxyAgent names whom it refuses.")]
    if isinstance(heard.news, PollFailed):
        return [bad("metadata", heard.news.reason, "Check that it is reached straight from the VM's first interface, "
                                                   f"without a proxy or a firewall in between; {FIRST_CALL}.")]
    document = heard.news.document
    in_part = [remark("metadata", f"{document.left_out}: the events beside it count, but none is taken for gone",
                    "If it stays so, tell the platform's support.")] if document.left_out else []
    return [good("metadata", f"{place} answered in {length_text(heard.took_s)} ({FIRST_CALL.partition(':')[0]})"),
            *in_part, _date(document.date, heard.wall)]


def _date(date: datetime | None, wall: datetime) -> Finding:
    if date is None:
        return remark("metadata", "its answers carry no Date, so a pause in which all clocks stand still cannot be "
                                  "seen "
                                "by them", "Name time servers under [clock] servers.")
    off_s = (wall - date).total_seconds()
    if abs(off_s) > OFF_S:
        return remark("metadata", f"by the Date of its answers this clock is {offset_text(off_s)}",
                    "See what time servers say: tideover clock")
    return good("metadata", "its answers carry a Date, which shows pauses of some seconds that no clock here shows")


def check_vm_name(settings: Settings, heard: MetadataReport | None, named: VmIdentity | None,
                  hostname: str) -> list[Finding]:
    """Given what was heard, who the service says we are (where a name is configured) and the hostname, say who we are.

    Events name the VM as Azure does, in capitals or not; the hostname is what many programs go by, and miss them.
    """
    if heard is None or isinstance(heard.news, PollFailed):
        return []
    me = heard.news.me
    if settings.source.vm_name and named is not None and fold_case(named.name) != fold_case(me):
        return [bad("name", f"[source] vm_name is {me}, but the service calls this VM {named.name}: none of its events "
                            "would be ours", "Leave vm_name out: the service is asked.")]
    if fold_case(me) == fold_case(hostname):
        return [good("name", f"events call this VM {me}, as its hostname does")]
    return [remark("name", f"events call this VM {me}, its hostname is {hostname}: we go by the first, programs that "
                           f"go "
                         "by the hostname miss its events")]


def check_events(heard: MetadataReport | None) -> list[Finding]:
    """Given what was heard, say what is announced now."""
    if heard is None or isinstance(heard.news, PollFailed):
        return []
    events: Sequence[Event] = heard.news.document.events
    return [remark("events", _event(event, heard.news.me)) for event in events] or [
        good("events", "nothing is announced now")]


def _event(event: Event, me: str) -> str:
    when = "it has started" if event.started else "it may start now" if event.not_before is None else (
        f"not before {moment_text(event.not_before)}")
    others = sum(fold_case(name) != fold_case(me) for name in event.resources)
    shared = f" and {others} more" if others else ""
    whose = f"for this VM{shared}" if names_me(event, me) else "for other VMs only"
    return f"{event.kind.value} {event.id}, {whose}, {when}"


# --- Proxy variables: the agent ignores them; other programs that use the metadata service may not

PROXY_TOPIC = "proxy"
METADATA_ADDRESS = "169.254.169.254"
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")     # its service speaks plain HTTP only
EXCEPTIONS = ("no_proxy", "NO_PROXY")
COVERING = (METADATA_ADDRESS, "*", "169.254.0.0/16", "169.254.169.254/32")
FOR_ALL = "/etc/environment"                                          # pam_env(8): every login


def check_proxies(machine: Machine) -> list[Finding]:
    """Given the machine, say which variables would send the metadata service's traffic through a proxy.

    A proxy's address may hold a password, so only the variable is named.
    """
    found = [*_standing(machine.environment, "this environment"),
             *_standing(_assignments(machine.text(FOR_ALL)), FOR_ALL)]
    return found or [good(PROXY_TOPIC, f"no variable sends requests for {METADATA_ADDRESS} through a proxy")]


def _standing(variables: Mapping[str, str], where: str) -> Iterator[Finding]:
    named = [name for name in PROXIES if variables.get(name)]
    spared = {one.strip() for name in EXCEPTIONS for one in variables.get(name, "").split(",")}
    if named and not spared & set(COVERING):
        yield remark(PROXY_TOPIC, f"{' and '.join(named)} is set in {where}: we take no notice, but other programs "
                                  f"ask the "
                          "metadata service through that proxy, which cannot reach it",
                   f"Add {METADATA_ADDRESS} to no_proxy there.")


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.strip().removeprefix("export ").partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs if not name.startswith("#")}
