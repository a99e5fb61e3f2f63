"""The chunked coding, however its bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.http1.chunked import ChunkedReader, ChunkError, encode_chunk, encode_end


def read(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, ChunkedReader]:
    """Payload, what lies behind, and the reader, for `data` cut at these places."""
    reader = ChunkedReader(1000)
    out: list[bytes] = []
    rest = b""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        piece = data[start:end]
        rest += piece if reader.done else reader.feed(piece, out)
    return b"".join(out), rest, reader


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.tuples(st.sampled_from([b"A", b"b-C"]), st.sampled_from([b"", b"1", b"x y"])), max_size=3),
    st.binary(max_size=20),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_what_is_encoded_is_read_back(
    chunks: list[bytes], trailers: list[tuple[bytes, bytes]], behind: bytes, cuts: list[int]
) -> None:
    data = b"".join(encode_chunk(chunk) for chunk in chunks) + encode_end(trailers)
    payload, rest, reader = read(data + behind, cuts)
    assert payload == b"".join(chunks)
    assert rest == behind
    assert reader.done
    assert reader.trailers == trailers


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes_are_read_or_refused_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    results = []
    for places in ([], cuts, list(range(len(data)))):
        try:
            payload, rest, reader = read(b"5\r\nhello\r\n" + data, places)
            results.append((payload, rest, reader.done))
        except ChunkError:
            results.append((b"refused", b"", False))
    # A refusal may come later when the bytes come later, but what was accepted as complete is the same.
    assert len({result for result in results if result[2]}) <= 1


def test_a_trailer_section_without_end_is_refused() -> None:
    reader = ChunkedReader(100)
    reader.feed(b"0\r\n", [])
    for _ in range(7):
        reader.feed(b"X: aaaaaaaa\r\n", [])
    with pytest.raises(ChunkError):
        reader.feed(b"X: aaaaaaaa\r\n", [])


def test_many_tiny_chunks_hold_nothing_back() -> None:
    reader = ChunkedReader(100)
    out: list[bytes] = []
    for _ in range(1000):
        assert reader.feed(b"1\r\nx\r\n", out) == b""
    assert b"".join(out) == b"x" * 1000
