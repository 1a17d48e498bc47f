"""Doctor's findings about the platform: which one this is, its service, proxy variables of the environment."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from tideover.doctor.machine import Machine
from tideover.findings import CALL_S, WHOLE_S, Finding, PollReport, bad, good, remark
from tideover.platforms import AUTO, NONE, PLATFORMS, Platform, platform_of
from tideover.settings import Settings
from tideover.sources import VmIdentity, load_platform, open_source
from tideover.system.dmi import read_dmi
from tideover.threads import start_task

# --- The platform

PLATFORM_TOPIC = "source"
SERVED = ", ".join(one.kind for one in PLATFORMS if one.is_served)


def detect_platform(settings: Settings, machine: Machine) -> Platform:
    """Given the settings and the machine, return the platform whose events the agent asks for. Asks no network."""
    return platform_of(settings.source.kind, read_dmi(machine.root))


def check_platform(settings: Settings, platform: Platform) -> list[Finding]:
    """Given the settings and the platform in use, say why it is that one and whether its events can be received."""
    if settings.source.kind != AUTO:
        text = f"{platform.kind}, set by [source] kind"
        return [good(PLATFORM_TOPIC, f"{text}{_acknowledges(platform)}") if platform.is_served else
                remark(PLATFORM_TOPIC, f"{text}: no events can be received; pauses are still detected")]
    if platform.is_served:
        return [good(PLATFORM_TOPIC, f"{platform.kind}, because {platform.why}{_acknowledges(platform)}")]
    if platform is NONE:
        return [bad(PLATFORM_TOPIC, "none: the DMI tables name no platform that announces its maintenance, so no "
                                    "events can be received",
                    f"If this machine runs on a supported platform ({SERVED}), set it with [source] kind; to detect "
                    'pauses only, set "none".')]
    text = (f"{platform.source_kind}, because the DMI tables say {platform.name}: no events can be received, "
            f"{platform.silence}; pauses are still detected")
    return [remark(PLATFORM_TOPIC, text)]


def _acknowledges(platform: Platform) -> str:
    return "" if platform.takes_acknowledgement else "; it takes no acknowledgement: events start in their own time"


# --- Its service

def ask_service(settings: Settings, platform: Platform) -> PollReport:
    """Given the settings and a served platform, ask once as the agent will. Blocks for some 6 s at most."""
    source = open_source(platform, settings.source, CALL_S)
    if source is None:
        return PollReport()
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
    return PollReport(news, time.monotonic() - began_s, datetime.now(UTC))


def ask_identity(settings: Settings, platform: Platform) -> VmIdentity | None:
    """Given the settings and a served platform, return who the service says we are, whatever they say. Blocks for 10 s
    at most."""
    source = open_source(platform, replace(settings.source, vm_name=None))
    return None if source is None else source.identity()


def check_service(settings: Settings, platform: Platform, polled: PollReport, hostname: str) -> list[Finding]:
    """Given the settings, the platform in use, one poll and the hostname, return what the platform's module says."""
    return load_platform(platform).findings(settings.source, polled, hostname) if platform.is_served else []


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
        yield remark(PROXY_TOPIC, f"{' and '.join(named)} is set in {where}: tideover ignores it, but other programs "
                                  "query the metadata service through that proxy, which cannot reach it",
                   f"Add {METADATA_ADDRESS} to no_proxy there.")


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.strip().removeprefix("export ").partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs if not name.startswith("#")}
