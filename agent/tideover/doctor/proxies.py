"""Proxy variables: we take no notice of them; other programs that ask the metadata service do, and get nowhere."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from tideover.doctor.findings import Finding, good, note
from tideover.doctor.machine import Machine

TOPIC = "proxy"
ADDRESS = "169.254.169.254"
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")     # its service speaks plain HTTP only
EXCEPTIONS = ("no_proxy", "NO_PROXY")
COVERING = (ADDRESS, "*", "169.254.0.0/16", "169.254.169.254/32")
FOR_ALL = "/etc/environment"                                          # pam_env(8): every login


def look_at_proxies(machine: Machine) -> list[Finding]:
    """Given the machine, say which variables would send the metadata service's traffic through a proxy.

    A proxy's address may hold a password, so only the variable is named.
    """
    found = [*_standing(machine.environment, "this environment"),
             *_standing(_assignments(machine.text(FOR_ALL)), FOR_ALL)]
    return found or [good(TOPIC, f"no variable sends requests for {ADDRESS} through a proxy")]


def _standing(variables: Mapping[str, str], where: str) -> Iterator[Finding]:
    named = [name for name in PROXIES if variables.get(name)]
    spared = {one.strip() for name in EXCEPTIONS for one in variables.get(name, "").split(",")}
    if named and not spared & set(COVERING):
        yield note(TOPIC, f"{' and '.join(named)} is set in {where}: we take no notice, but other programs ask the "
                          "metadata service through that proxy, which cannot reach it",
                   f"Add {ADDRESS} to no_proxy there.")


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.strip().removeprefix("export ").partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs if not name.startswith("#")}
