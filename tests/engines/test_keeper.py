from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from rebind.engines.process import keeper
from rebind.engines.process.order import Order, Serving, receive_order, send_order
from rebind.errors import SandboxError, SessionError
from rebind.sandbox import Confinement


def _carry(tmp_path: Path, data: bytes) -> bytes:
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    output, theirs = os.pipe()

    def write() -> None:
        with open(theirs, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    keeper._carry(output, log)
    writer.join()
    os.close(log)
    os.close(output)
    return (tmp_path / "log").read_bytes()


def test_the_log_holds_what_was_said(tmp_path: Path) -> None:
    assert _carry(tmp_path, b"one\ntwo\n") == b"one\ntwo\n"


def test_a_huge_log_keeps_its_end_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_LIMIT", 1 << 18)
    lines = b"".join(b"line %d\n" % number for number in range(400_000))
    kept = _carry(tmp_path, lines)
    assert len(kept) <= 1 << 18
    assert kept.startswith(b"[the beginning of this log was dropped]\n")
    assert kept.endswith(b"line 399999\n")


def test_a_log_without_line_ends_stays_small_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_LIMIT", 1 << 18)
    assert len(_carry(tmp_path, b"x" * (2 << 20))) <= 1 << 18


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_the_log_not_the_session() -> None:
    log = os.open("/dev/full", os.O_RDWR)
    output, theirs = os.pipe()
    os.write(theirs, b"lost\n")
    os.close(theirs)
    keeper._carry(output, log)
    os.close(log)
    os.close(output)


def test_an_order_travels_whole_and_hides_its_token() -> None:
    order = Order(Confinement((), (), "/"), Serving("/user/ada/", "s3cret"), command=("x" * 300_000,))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send_order, args=(ours, order))
        sender.start()
        assert receive_order(theirs) == order
        sender.join()
        assert "s3cret" not in repr(order)


def test_half_an_order_is_none() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall((100).to_bytes(4, "big") + b"short")
        with pytest.raises(EOFError):
            receive_order(theirs)


def test_a_dead_keeper_and_one_that_refuses() -> None:
    from rebind.engines.process.starting import Keeper

    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"error": "no namespaces", "remedy": "allow them"}\n')
    theirs.close()
    end = Keeper(ours)
    with pytest.raises(SandboxError, match="no namespaces"):
        end.hear()
    with pytest.raises(SessionError, match="keeper died"):
        end.hear()
    end.close()
