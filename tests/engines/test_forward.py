from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

from rebind.engines.process.forward import forward


def test_it_waits_for_the_server_and_carries_both_ways(tmp_path: Path) -> None:
    outer, inner = tmp_path / "o", tmp_path / "i"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(outer))
    listener.listen(8)
    process = multiprocessing.get_context("fork").Process(target=forward, args=(listener.fileno(), str(inner)))
    process.start()
    try:
        with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as server:
            client.settimeout(20)
            client.connect(str(outer))
            client.sendall(b"early")
            server.bind(str(inner))
            server.listen(8)
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(5, socket.MSG_WAITALL) == b"early"
                big = bytes(300_000)
                accepted.sendall(b"answer" + big)
                accepted.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: client.recv(1 << 16), b""))
                assert got == b"answer" + big
                client.sendall(b"late")  # the other direction is open still
                assert accepted.recv(4, socket.MSG_WAITALL) == b"late"
                client.shutdown(socket.SHUT_WR)
                assert accepted.recv(1) == b""
    finally:
        process.kill()
        process.join()
        listener.close()
