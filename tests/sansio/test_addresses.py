from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.addresses import is_loopback, is_private, rate_key


@pytest.mark.parametrize("address", ["127.0.0.1", "203.0.113.7", "255.255.255.255"])
def test_ipv4_address_is_its_own_key(address: str) -> None:
    # B10.1
    assert rate_key(address) == address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002::2"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_one_client_is_one_key(one: str, other: str) -> None:
    # B10.1, CORPUS 8
    assert rate_key(one) == rate_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("203.0.113.7", "203.0.113.8"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8"),
        ("::1", "127.0.0.1"),
    ],
)
def test_two_clients_are_two_keys(one: str, other: str) -> None:
    # B10.1
    assert rate_key(one) != rate_key(other)


@pytest.mark.parametrize(
    "address", [None, "", "unix:", "@", "localhost", "1.2.3", "::g", "1.2.3.4:80", "[::1]:80"]
)
def test_odd_addresses_have_a_key(address: str | None) -> None:
    assert rate_key(address)


@given(st.none() | st.text() | st.ip_addresses().map(str))
def test_any_address_has_one_stable_key(address: str | None) -> None:
    key = rate_key(address)
    assert key
    assert key == rate_key(address)


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_all_hosts_of_a_64_share_a_key(network: int, host: int, other: int) -> None:
    # B10.1
    one, two = (str(IPv6Address(network << 64 | number)) for number in (host, other))
    assert rate_key(one) == rate_key(two)
    assert rate_key(one) != rate_key(str(IPv6Address((network ^ 1) << 64 | host)))


@pytest.mark.parametrize(
    ("address", "private"), [("10.0.0.1", True), ("8.8.8.8", False), ("unix:", True), ("fe80::1%eth0", True)]
)
def test_a_private_peer_is_told_from_the_internet(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("", False)]
)
def test_a_peer_on_the_same_machine_is_known(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
