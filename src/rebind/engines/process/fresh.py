"""A session that is not forked from the warm parent: its server is a command (`start` scripts, joined environments).

`python -I -S fresh.py CHANNEL OWNER`, run by path. OWNER is the uid to become, as root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).absolute().parents[3]))

import errno
import signal
import socket
from typing import NoReturn

from rebind.engines.process.forward import forward
from rebind.engines.process.keeper import keep
from rebind.engines.process.order import INNER_SOCKET, Order
from rebind.sandbox import become


def main(channel: int, owner: int) -> int:
    become(owner)
    return keep(socket.socket(fileno=channel), serve)


def serve(order: Order, listener: int, tell: int) -> int:
    """Becomes the command; a child of it carries the connections."""
    os.close(tell)
    if os.fork() == 0:
        try:
            forward(listener, INNER_SOCKET)
        finally:
            os._exit(1)
    os.close(listener)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        _execute(order.command)
    except OSError as error:
        os.write(2, f"rebind: {order.command[0]}: {error.strerror}\n".encode())
    return 126


def _execute(command: tuple[str, ...]) -> NoReturn:
    try:
        os.execvpe(command[0], command, os.environ)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # No `#!` line: run by the shell, as a shell would.
        os.execve("/bin/sh", ["/bin/sh", *command], os.environ)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
