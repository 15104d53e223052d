"""Where bodies end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebind.routes.framing import END, Chunked, Counted, FramingError, UntilClose, chunk


def fed(body: Chunked | Counted, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """The payload and the rest, with the data coming in pieces."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    payload, rest = b"", b""
    for start, end in pairwise(edges):
        if body.done:
            rest += data[start:end]
            continue
        piece, left = body.feed(data[start:end])
        payload += piece
        rest += left
    return payload, rest


CUTS = st.lists(st.integers(0, 5000), max_size=8)


@given(st.lists(st.binary(max_size=300), max_size=8), CUTS, st.binary(max_size=40))
def test_chunks_come_back_whole_however_they_are_cut(pieces: list[bytes], cuts: list[int], behind: bytes) -> None:
    body = Chunked()
    payload, rest = fed(body, b"".join(chunk(piece) for piece in pieces) + END + behind, cuts)
    assert (payload, rest, body.done) == (b"".join(pieces), behind, True)


@given(st.binary(max_size=500), CUTS, st.binary(max_size=40))
def test_a_counted_body(content: bytes, cuts: list[int], behind: bytes) -> None:
    body = Counted(len(content))
    payload, rest = fed(body, content + behind, cuts)
    assert payload + rest == content + behind
    assert body.done
    assert len(payload) == len(content)


@given(st.binary(min_size=1, max_size=80))
def test_any_bytes_are_a_body_or_an_error(data: bytes) -> None:
    body = Chunked()
    try:
        payload, rest = body.feed(data)
    except FramingError:
        return
    assert len(payload) + len(rest) <= len(data)


def test_extensions_and_trailers_are_dropped() -> None:
    assert Chunked().feed(b'3 ;a="b"\r\nabc\r\n0;x\r\nA: b\r\nC: d\r\n\r\nrest') == (b"abc", b"rest")


def test_endless_trailers_are_refused() -> None:
    with pytest.raises(FramingError):
        Chunked().feed(b"0\r\n" + b"A: b\r\n" * 10000)


def test_until_close_takes_all() -> None:
    assert UntilClose().feed(b"x") == (b"x", b"")
