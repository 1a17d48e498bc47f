"""Addresses are judged by their form, the way the rest of the world judges them."""
from __future__ import annotations

import ipaddress
import random

import pytest

from tideover.settings.types import Address, http_endpoint, is_ipv4, is_ipv6, is_loopback, listen_address, time_server

CURIOUS = ["::", "::1", "1::", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", ":::", "1:::2",
           "1:2:3:4:5:6:7:8:9", ":1", "1:", "1::2::3", "::ffff:1.2.3.4", "1.2.3.4::", "::1.2.3", "::1.2.3.4:5", "g::",
           "12345::", "", ":", "fe80::1%eth0", "fe80::1%", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::01.2.3.4",
           "1:2:3:4:5:6:7::8", "1::2:3:4:5:6:7:8"]


def really_ip(text: str, version: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        version(text)
    except ValueError:
        return False
    return True


def test_ip_addresses_are_those_of_the_standard_library() -> None:
    """The pure floors may not import it, so the rules are our own and must not differ."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    pieces = ["1", "a", "0f", "255", ":", ":", "::", ".", "256", "1.2.3.4"]
    made = ["".join(dice.choices(pieces, k=dice.randrange(1, 17))) for _ in range(5000)]
    made += [".".join(str(dice.randrange(300)) for _ in range(dice.choice([3, 4, 4, 5]))) for _ in range(300)]
    made += [str(ipaddress.IPv6Address(dice.getrandbits(128) & dice.getrandbits(128) << dice.randrange(128)
                                       & 2**128 - 1)) for _ in range(500)]
    for text in CURIOUS + made:
        assert is_ipv6(text) == really_ip(text, ipaddress.IPv6Address), text
        assert is_ipv4(text) == really_ip(text, ipaddress.IPv4Address), text
        if is_ipv4(text) or is_ipv6(text):
            assert is_loopback(text) == ipaddress.ip_address(text).is_loopback, text


@pytest.mark.parametrize(("text", "host", "port"), [
    ("ntp", "ntp", 123), ("ntp.example.org.", "ntp.example.org.", 123), ("10.0.0.1", "10.0.0.1", 123),
    ("10.0.0.1:65535", "10.0.0.1", 65535), ("[::1]:1", "::1", 1), ("[::1]", "::1", 123), ("::1", "::1", 123),
    ("fe80::1%eth0", "fe80::1%eth0", 123), ("[fe80::1%eth0]:5", "fe80::1%eth0", 5),
    (".".join(["x" * 50] * 4 + ["y" * 49]), ".".join(["x" * 50] * 4 + ["y" * 49]), 123),
    ("a_b-c.d0:00123", "a_b-c.d0", 123)])
def test_a_time_server_is_a_host_with_or_without_its_port(text: str, host: str, port: int) -> None:
    assert time_server(text) == Address(host, port)


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.256", "ntp.0", "1.2.3.4.5"])
def test_a_name_that_ends_in_a_number_is_a_mistyped_address(text: str) -> None:
    assert time_server(text) is None


@pytest.mark.parametrize("text", ["127.0.0.1:9477", "[::1]:9477", "0.0.0.0:1"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    address = listen_address(text)
    assert address is not None
    assert address.text == text


@pytest.mark.parametrize(("text", "endpoint"), [
    ("http://169.254.169.254", "http://169.254.169.254"), ("http://metadata:80/", "http://metadata:80"),
    ("http://[fd00:ec2::254]:8080", "http://[fd00:ec2::254]:8080")])
def test_an_endpoint_is_a_host_on_plain_http(text: str, endpoint: str) -> None:
    assert http_endpoint(text) == endpoint
