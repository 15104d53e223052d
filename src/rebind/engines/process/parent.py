"""The warm parent: a process of the server environment's interpreter that has imported the server and forks sessions.

`python -I parent.py CONTROL OWNER PATH...`, run by path. CONTROL is a Unix seqpacket socket without a name, so that
nobody else can ask. OWNER is the uid to become, as root; the PATHs are then made visible to it even where they lie
below folders that only root may enter. Messages: `{"import": [names]}`, answered with `{"threads": n, ...}`;
`{"fork": true}` with one end of a channel, for a session's keeper. It ends when CONTROL closes.

It never sees anything of a repository, and has no secret: neither in its variables nor in a file it can read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Only rebind itself comes from there: its other packages are not the server's.
    _source = str(Path(__file__).absolute().parents[3])
    sys.path.insert(0, _source)

import gc
import importlib
import json
import os
import signal
import socket
import traceback

from rebind.engines.process import serve
from rebind.engines.process.keeper import keep
from rebind.sandbox import become, syscalls

if __name__ == "__main__":
    sys.path.remove(_source)


def main(control: socket.socket, owner: int, paths: list[str]) -> int:
    if os.geteuid() == 0:
        expose([Path(path) for path in paths])
    become(owner)
    os.umask(0o022)
    serve.preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are reaped by the kernel
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 1)
        except OSError:
            return 0
        if not data:
            return 0
        message = json.loads(data)
        if "import" in message:
            control.send(json.dumps(prepare(message["import"])).encode())
        elif descriptors:
            _fork(control, descriptors[0])


def prepare(names: list[str]) -> dict[str, int]:
    """Imports what a session will need and makes all of it as easy to share as can be."""
    failed = 0
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # whatever it needs is missing here; the session imports it itself, or does without
            failed += 1
    gc.collect()
    gc.freeze()
    return {"threads": len(os.listdir("/proc/self/task")), "failed": failed, "modules": len(sys.modules)}  # noqa: PTH208


def _fork(control: socket.socket, channel: int) -> None:
    if os.fork():
        os.close(channel)
        return
    code = 1
    try:
        control.close()
        os.setsid()
        code = keep(socket.socket(fileno=channel), serve.serve)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def expose(paths: list[Path]) -> None:
    """In a mount namespace of its own: `paths` stay reachable for everybody, whatever folders they lie in; those
    folders are otherwise empty. As root."""
    trees = [(path, syscalls.open_tree(str(path))) for path in paths]
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    barred = {top for path in paths if (top := _barred(path))}
    for top in barred:
        syscalls.mount("tmpfs", str(top), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    for path, tree in trees:
        if any(path.is_relative_to(top) for top in barred):
            path.mkdir(parents=True, exist_ok=True)
            syscalls.attach_tree(tree, str(path))
        os.close(tree)


def _barred(path: Path) -> Path | None:
    """The topmost folder on the way that others may not enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


if __name__ == "__main__":
    _control = socket.socket(fileno=int(sys.argv[1]))
    sys.exit(main(_control, int(sys.argv[2]), sys.argv[3:]))
