"""Addresses are judged by their form, the way the rest of the world judges them."""
from __future__ import annotations

import pytest

from tideover.settings.types import Address, http_endpoint, is_ipv4, is_ipv6, is_loopback, listen_address, time_server


@pytest.mark.parametrize("text", [
    "::", "::1", "1::", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "fe80::1%eth0",
    "1:2:3:4:5:6:1.2.3.4", f"fe80::1%{'x' * 15}"])
def test_an_ipv6_address_may_have_any_form_of_the_rfc(text: str) -> None:
    assert is_ipv6(text) and not is_ipv4(text)


@pytest.mark.parametrize("text", [
    "1:2:3:4:5:6:7", ":::", "1:::2", "1:2:3:4:5:6:7:8:9", ":1", "1:", "1::2::3", "1.2.3.4::", "::1.2.3", "::1.2.3.4:5",
    "g::", "12345::", "", ":", "fe80::1%", "1:2:3:4:5:6:7:1.2.3.4", "::01.2.3.4", "1:2:3:4:5:6:7::8",
    f"fe80::1%{'x' * 16}", "fe80::1%eth 0", "fe80::1%eth0/64", "10.0.0.256", "10.0.0", "010.0.0.1", "10.0.0.1/8", "٣.0.0.1"])
def test_what_only_looks_like_an_address_is_none(text: str) -> None:
    assert not is_ipv6(text) and not is_ipv4(text)


@pytest.mark.parametrize(("text", "is_local"), [
    ("127.0.0.1", True), ("127.255.0.3", True), ("::1", True), ("0:0::1", True), ("10.0.0.1", False), ("0.0.0.0", False),
    ("::", False), ("fe80::1", False)])
def test_loopback_is_what_only_this_machine_can_reach(text: str, is_local: bool) -> None:
    assert is_loopback(text) is is_local


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
