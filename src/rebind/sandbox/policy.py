"""Where strangers' code may connect to: which names, addresses and ports. Pure but for the look-up of a name."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

# IANA's special-purpose registries (RFC 6890 and its updates), written out: `ipaddress` differs between Pythons.
_PRIVATE_TEXT = """
10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
::1/128 fc00::/7 2001::/23 2001:db8::/32 2002::/16 3fff::/20
"""
_PRIVATE = tuple(ip_network(text) for text in _PRIVATE_TEXT.split())
# Never an ordinary service: this network, link-local (with the metadata services of clouds), multicast, reserved.
_NEVER_TEXT = "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 ::/128 fe80::/10 fec0::/10 ff00::/8"
_NEVER = tuple(ip_network(text) for text in _NEVER_TEXT.split())
_GLOBAL = IPv6Network("2000::/3")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Refused(Exception):
    """The policy forbids a connection; says which and why."""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the egress proxy lets through."""

    allow_private: bool = False
    """Private and loopback addresses may be reached, and the machine's own; link-local ones still not."""
    allowed_hosts: frozenset[str] = frozenset()
    """`host`: whatever its address is, on the policy's ports; `host:port`: also on this port."""
    ports: frozenset[int] = field(default=frozenset({22, 80, 443, 9418}))
    """Empty = every port."""

    def check_port(self, host: str, port: int) -> None:
        if self.ports and port not in self.ports and f"{host}:{port}" not in self.allowed_hosts:
            raise Refused(f"port {port} of {host} may not be reached from here")

    def resolve(self, host: str, port: int) -> list[str]:
        """Looks the name up once and returns the addresses that may be connected to, in the resolver's order.

        Raises Refused; OSError (also socket.gaierror) if the name cannot be looked up.
        """
        self.check_port(host, port)
        literal = literal_address(host)
        found = [literal] if literal else _look_up(host, port)
        if host in self.allowed_hosts or f"{host}:{port}" in self.allowed_hosts:
            return [str(each) for each in found]
        allowed = [str(each) for each in found if self._allows(each, port)]
        if not allowed:
            what = f"{host} is" if literal else f"{host} has only"
            raise Refused(f"{what} a private, local or reserved address, which may not be reached from here")
        return allowed

    def _allows(self, address: Address, port: int) -> bool:
        plain = unwrapped(address)
        if any(plain in network for network in _NEVER if network.version == plain.version):
            return False
        if self.allow_private:
            return True
        if any(plain in network for network in _PRIVATE if network.version == plain.version):
            return False
        return (plain.version == 4 or plain in _GLOBAL) and not _own(plain, port)


def host_name(text: str) -> str:
    """The host of a request in one spelling; ValueError if it is no strict name, IPv4 address or bracketed IPv6 one.

    Decimal, octal and hexadecimal spellings of IPv4 are refused: resolvers read them, checks forget them.
    """
    host = text.lower().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        return str(IPv6Address(_no_zone(host[1:-1])))
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"not a host name: {text[:100]!r}")
    if _NUMERIC.fullmatch(labels[-1]):
        return str(IPv4Address(host))
    return host


def _no_zone(text: str) -> str:
    if "%" in text:
        raise ValueError("an IPv6 zone is not accepted")
    return text


def literal_address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries (mapped, compatible, NAT64), else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in IPv6Network("64:ff9b::/96") or (address in IPv6Network("::/96") and int(address) > 1):
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _look_up(host: str, port: int) -> list[Address]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(answer[4][0]) for answer in answers))


def _own(address: Address, port: int) -> bool:
    """Whether it is this machine's own address: the kernel would then send from that very address. Sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), port))
            return bool(ip_address(probe.getsockname()[0]) == address)
    except OSError:
        return False
