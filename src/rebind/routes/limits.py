"""What the proxy allows a client: sizes and times."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Sizes in bytes, times in seconds."""

    head: int = 64 * 1024
    """All header lines of a message together; Tornado's and uvicorn's own limit."""
    target: int = 16 * 1024
    """The path and query of a request."""
    fields: int = 128
    """Header fields of one message."""
    upload: int = 0
    """Body of one request; 0 for no limit."""
    head_time: float = 20.0
    """For a whole head, from its first byte (slowloris)."""
    body_time: float = 60.0
    """Between two pieces of a request's body."""
    idle_time: float = 75.0
    """Between two requests on one connection."""
    stall_time: float = 300.0
    """For a client that does not read what it asked for."""
    linger_time: float = 3.0
    """For a client to read an error while it still sends."""
    grace_time: float = 5.0
    """For running requests after SIGTERM."""
    sweep: float = 1.0
    """Between two looks for connections that are over their time."""
    flush: float = 3.0
    """Between two writes of the sessions' activity."""
    pooled: int = 16
    """Idle connections kept to one socket."""
    pooled_time: float = 4.0
    """How long they are kept; below the five seconds after which uvicorn closes."""
    trusted: tuple[Network, ...] = ()
    """Proxies before ours, whose X-Forwarded-* headers are believed."""
