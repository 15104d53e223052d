"""The small fresh process in which `run` starts a sandbox; a file of its own so that it can be run by path.

`python -I -S starter.py SPEC STATUS LIFELINE`: descriptors of the pickled order, of the answer, of the owner's pipe.
Everything is imported before the rights to read this very program may be gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).absolute().parents[2]))

import contextlib
import pickle
import signal
from collections.abc import Callable

from rebind.errors import SandboxError
from rebind.sandbox import privileges
from rebind.sandbox.entering import enter, follow
from rebind.sandbox.init import catchable
from rebind.sandbox.order import Order
from rebind.sandbox.sources import open_sources


def main(spec: int, status: int, lifeline: int) -> int:
    with open(spec, "rb") as file:
        order: Order = pickle.load(file)
    # Passed on once there is somebody to pass them on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, catchable())
    try:
        sources = open_sources(order.confinement) if os.geteuid() == 0 else None
        privileges.become(order.confinement.owner)
        pid = enter(
            order.confinement,
            sources,
            command(order),
            lifeline=lifeline,
            keep_fds=order.keep_fds,
            pass_fds=order.pass_fds,
            grouped=order.grouped,
            with_parent=True,
        )
    except SandboxError as error:
        os.write(status, f"{error}\0{error.remedy}".encode())
        return 1
    os.write(status, b"1")
    os.close(status)
    return follow(pid)


def command(order: Order) -> Callable[[], int]:
    """What becomes the command: 127 if it is not there, 126 if it cannot be run, as in a shell."""

    def serve() -> int:
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in order.pass_fds:
            os.set_inheritable(descriptor, True)
        try:
            os.execvpe(order.argv[0], order.argv, os.environ)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(2, f"rebind: {order.argv[0]}: {error.strerror}\n".encode())
            return 127 if isinstance(error, FileNotFoundError) else 126

    return serve


if __name__ == "__main__":
    # Nothing is left to be cleaned up; taking the interpreter down would cost every command a hundredth of a second.
    os._exit(main(*map(int, sys.argv[1:4])))
