"""Which hosts, addresses and ports strangers' code may reach."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from rebind.sandbox.policy import EgressPolicy, Refused, host_name, unwrapped


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name server of the attacker's: what each name says."""
    table: dict[str, list[str]] = {}

    def answer(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in table[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return table


BAD = """
127.0.0.1 127.1.2.3 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.254 169.254.169.254
192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.80 224.0.0.1 240.0.0.1 255.255.255.255 192.88.99.1
::1 :: ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::7f00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 fc00::1 fd00:ec2::254
fe80::1 fec0::1 ff02::1 2001:db8::1 2002:7f00:1::1 2001::1 2001:0:7f00:1:: 3fff::1 4000::1 100::1
"""


@pytest.mark.parametrize("address", BAD.split())
def test_addresses_that_are_refused(names: dict[str, list[str]], address: str) -> None:
    names["evil.example"] = [address]
    with pytest.raises(Refused, match=r"evil\.example"):
        EgressPolicy().resolve("evil.example", 443)
    with pytest.raises(Refused):
        EgressPolicy().resolve(address, 80)


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.0.223", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_addresses_that_are_allowed(names: dict[str, list[str]], address: str) -> None:
    names["good.example"] = [address]
    assert EgressPolicy().resolve("good.example", 443) == [str(ip_address(address))]


def test_only_the_good_addresses_of_a_mixed_name(names: dict[str, list[str]]) -> None:
    names["mixed.example"] = ["10.0.0.1", "1.1.1.1", "127.0.0.1"]
    assert EgressPolicy().resolve("mixed.example", 443) == ["1.1.1.1"]


def test_an_allowed_host_may_be_private_but_no_other(names: dict[str, list[str]]) -> None:
    names["index.internal"] = names["other.internal"] = ["10.0.0.1"]
    policy = EgressPolicy(allowed_hosts=frozenset({"index.internal", "odd.internal:3141"}))
    assert policy.resolve("index.internal", 443) == ["10.0.0.1"]
    for host, port in (("other.internal", 443), ("index.internal", 3141), ("10.0.0.1", 443), ("x.index.internal", 443)):
        names.setdefault(host, ["10.0.0.1"])
        with pytest.raises(Refused):
            policy.resolve(host, port)
    names["odd.internal"] = ["10.0.0.2"]
    assert policy.resolve("odd.internal", 3141) == ["10.0.0.2"]


def test_private_addresses_when_they_are_allowed(names: dict[str, list[str]]) -> None:
    policy = EgressPolicy(allow_private=True, ports=frozenset())
    names["local.example"] = ["192.168.1.1"]
    assert policy.resolve("local.example", 8080) == ["192.168.1.1"]
    assert policy.resolve("127.0.0.1", 5000) == ["127.0.0.1"]
    for address in ("169.254.169.254", "0.0.0.0", "fe80::1", "224.0.0.1", "::ffff:169.254.169.254"):
        with pytest.raises(Refused):
            policy.resolve(address, 80)


@pytest.mark.parametrize("port", [25, 53, 3306, 6379, 8080, 11211, 1, 65535])
def test_ports_that_are_refused(names: dict[str, list[str]], port: int) -> None:
    names["good.example"] = ["1.1.1.1"]
    with pytest.raises(Refused, match=str(port)):
        EgressPolicy().resolve("good.example", port)


def test_the_address_of_this_machine_is_refused(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address of the machine itself would lead past its firewall; tried with one that it really has."""
    monkeypatch.setattr("rebind.sandbox.policy._PRIVATE", ())
    names["me.example"] = ["127.0.0.1"]
    with pytest.raises(Refused):
        EgressPolicy().resolve("me.example", 80)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("PyPI.org", "pypi.org"),
        ("pypi.org.", "pypi.org"),
        ("1.2.3.4", "1.2.3.4"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("a_b.example", "a_b.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("3com.example", "3com.example"),
    ],
)
def test_hosts_are_read(text: str, host: str) -> None:
    assert host_name(text) == host


ODD = ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5", "1.2.3", "01.2.3.4", "1.2.3.0x4", "0x"]
ODD += [
    "",
    ".",
    "a..b",
    "-a.b",
    "a b",
    "a/b",
    "a\nb",
    "a\0b",
    "a@b",
    "a:80",
    "[::1",
    "[fe80::1%eth0]",
    "[1.2.3.4]",
    "ⅰ.example",
]
ODD += ["１２７.0.0.1", "a" * 64, ".".join(["a" * 60] * 5), "a%00.example", "*", "a#b", "a?b", "a\\b"]


@pytest.mark.parametrize("text", ODD)
def test_hosts_that_could_be_read_in_two_ways_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        host_name(text)


def test_addresses_within_addresses() -> None:
    assert str(unwrapped(ip_address("::ffff:10.0.0.1"))) == "10.0.0.1"
    assert str(unwrapped(ip_address("64:ff9b::a9fe:a9fe"))) == "169.254.169.254"
    assert str(unwrapped(ip_address("2606::1"))) == "2606::1"
