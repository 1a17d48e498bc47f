"""The grammar of addresses an owner writes: time servers, listening addresses, the metadata endpoint.

Syntax only. Nothing here resolves a name or asks whether anybody listens. The few rules for IP addresses are spelled
out because the pure floors import nothing that belongs to the network.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

NTP_PORT = 123                 # RFC 5905, section 7.2; a number, because the service's name needs /etc/services
LONGEST_NAME = 253             # characters of a DNS name in text form (RFC 1035, section 2.3.4)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_HEX_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
_ZONE = re.compile(r"%[A-Za-z0-9_.-]{1,15}")    # fe80::1%eth0; 15 is the longest interface name (IFNAMSIZ)
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_ENDPOINT = re.compile(r"http://(?P<address>[^/?#@]+)/?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. `host` has no brackets; it is an IP address where the key takes nothing else."""

    host: str
    port: int

    @property
    def text(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def time_server(text: str) -> Address | None:
    """Given "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address, return it, or None if it is none."""
    if is_ipv6(text):
        return Address(text, NTP_PORT)
    return _address(text, NTP_PORT)


def listen_address(text: str) -> Address | None:
    """Given "ip:port" or "[v6]:port", return it, or None. A name is none: it may resolve elsewhere tomorrow."""
    found = _address(text, None)
    return found if found and (is_ipv4(found.host) or is_ipv6(found.host)) else None


def http_endpoint(text: str) -> str | None:
    """Given "http://host" or "http://host:port", return it without a last slash, or None.

    Plain http only: the metadata service has no TLS. Path, query and user info are no part of it.
    """
    match = _ENDPOINT.fullmatch(text)
    return text.rstrip("/") if match and _address(match["address"], 80) else None


def is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


def is_ipv6(text: str) -> bool:
    """Is this an IPv6 address in one of the text forms of RFC 4291, section 2.2, a zone (RFC 4007) allowed?"""
    bare, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(percent + zone):
        return False
    head, gap, tail = bare.partition("::")
    groups = [group for side in (head, tail) if side for group in side.split(":")]
    if groups and not bare.endswith(":") and is_ipv4(groups[-1]):
        groups[-1:] = ["0", "0"]
    if not all(_HEX_GROUP.fullmatch(group) for group in groups):
        return False
    return len(groups) <= 7 if gap else len(groups) == 8


def is_loopback(host: str) -> bool:
    """Given an IP address, can only this machine reach it (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3)?"""
    return host.lstrip("0:") == "1" if ":" in host else host.startswith("127.")


def _is_host(text: str) -> bool:
    if len(text) > LONGEST_NAME or not _NAME.fullmatch(text):
        return False
    last = text.rstrip(".").rpartition(".")[2]
    return is_ipv4(text) if last.isdigit() else True


def _address(text: str, usual_port: int | None) -> Address | None:
    match = _WITH_PORT.fullmatch(text)
    if not match or not (is_ipv6(match["v6"]) if match["v6"] else _is_host(match["host"])):
        return None
    port = int(match["port"]) if match["port"] else usual_port
    return Address(match["v6"] or match["host"], port) if port is not None and 0 < port < 65536 else None
