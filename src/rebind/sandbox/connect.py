"""`python -m rebind.sandbox.connect PROXY_URL HOST PORT`: stdin and stdout through a CONNECT tunnel.

For programs that take a proxy only as a command: git:// (`core.gitProxy`) and ssh (`ProxyCommand`).
"""

from __future__ import annotations

import os
import select
import socket
import sys
from urllib.parse import urlsplit

_BLOCK = 1 << 16


def main(arguments: list[str]) -> int:
    """0 when both sides are done, 1 if there is no way, 2 for wrong arguments. Reasons go to stderr."""
    if len(arguments) != 3:
        print("usage: python -m rebind.sandbox.connect PROXY_URL HOST PORT", file=sys.stderr)
        return 2
    try:
        with tunnel(arguments[0], arguments[1], arguments[2]) as stream:
            carry(stream)
    except OSError as error:
        print(f"rebind: {error}", file=sys.stderr)
        return 1
    return 0


def tunnel(proxy: str, host: str, port: str) -> socket.socket:
    """An open connection to host:port through the proxy. OSError with the proxy's reason."""
    if any(each in host + port for each in "\r\n \0"):
        raise OSError(f"{host!r} is no host name")
    at = urlsplit(proxy)
    stream = socket.create_connection((at.hostname or "", at.port or 80), timeout=60)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    stream.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < _BLOCK:
        byte = stream.recv(1)  # one by one: what follows the head belongs to the tunnel
        if not byte:
            break
        head += byte
    status, _, _ = head.partition(b"\r\n")
    if b" 200 " not in status + b" ":
        reason = stream.recv(4096).decode(errors="replace").strip() if head else ""
        stream.close()
        raise OSError(reason or f"the proxy does not connect to {host}: {status.decode(errors='replace')}")
    stream.settimeout(None)
    return stream


def carry(stream: socket.socket) -> None:
    """Carries bytes both ways until the far side has said all."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(stream, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            data = os.read(0, _BLOCK) if descriptor == 0 else stream.recv(_BLOCK)
            if descriptor == 0 and data:
                stream.sendall(data)
            elif descriptor == 0:
                poll.unregister(0)
                stream.shutdown(socket.SHUT_WR)
            elif data:
                _write(data)
            else:
                return


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
