"""The reader of server-sent events: whatever the cuts, the same events; whatever the bytes, no exception."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.providers.events import SseEvent, SseReader
from patter_core.wire.sse import sse_comment, sse_frame

LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:b", b"data", b"data:  two", b"event: x", b"event:", b": comment", b"id: 1", b"retry: 5",
         b"", b"", "data: é€😀".encode(), b"data: \xff\xfe", b"nonsense", b"\xef\xbb\xbfdata: bom"]
    ),
    max_size=12,
)  # fmt: skip


def read(data: bytes, *cuts: int, limit: int = 1 << 20) -> list[SseEvent]:
    reader = SseReader(limit)
    events: list[SseEvent] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        events += reader.push(data[start:end])
    return events + reader.end()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: hello\n\n", [("", "hello")]),
        (b"data:hello\n\n", [("", "hello")]),
        (b"data:  hello\n\n", [("", " hello")]),  # one space belongs to the field, the second to the data
        (b"data: a\ndata: b\n\n", [("", "a\nb")]),
        (b"data: a\r\ndata: b\r\n\r\n", [("", "a\nb")]),
        (b"data: a\rdata: b\r\r", [("", "a\nb")]),
        (b"event: ping\ndata: 1\n\ndata: 2\n\n", [("ping", "1"), ("", "2")]),
        (b"event: nothing\n\ndata: 2\n\n", [("", "2")]),  # without data there is no event, and its name is forgotten
        (b": keep-alive\n\ndata: 1\n\n", [("", "1")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", "1")]),
        (b"data\n\n", [("", "")]),
        (b"id: 3\nretry: 9\nfoo: bar\ndata: x\n\n", [("", "x")]),
        (b"data: [DONE]\n", [("", "[DONE]")]),  # the blank line that many forget
        (b"data: [DONE]", [("", "[DONE]")]),
        ("data: a\u2028b\n\n".encode(), [("", "a\u2028b")]),  # no line end in an event stream
        (b"", []),
    ],
)
def test_events(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert [(event.event, event.data) for event in read(data)] == expected


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_cut_at_every_position_it_is_the_same(lines: list[bytes], ending: bytes) -> None:
    data = ending.join(lines)
    whole = read(data)
    assert read(data, *range(len(data))) == whole
    for cut in range(len(data)):
        assert read(data, cut) == whole


@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from(["", "ping", "delta"])), max_size=8))
def test_it_reads_what_our_own_writer_writes(said: list[tuple[str, str]]) -> None:
    data = b"".join(sse_comment("hi") + sse_frame(name, text) for text, name in said)
    line_ends = str.maketrans({"\r": "\n"})
    assert [(event.event, event.data) for event in read(data)] == [
        (name, text.replace("\r\n", "\n").translate(line_ends)) for text, name in said
    ]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_soup_never_raises_and_cuts_do_not_matter(data: bytes, cuts: list[int]) -> None:
    assert read(data, *cuts) == read(data)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_event_that_is_too_long_is_left_out_and_counted(step: int) -> None:
    reader = SseReader(limit=100)
    data = b"data: " + b"x" * 500 + b"\n\ndata: fine\n\n" + b"data: 123456789\n" * 20 + b"\ndata: fine too\n\n"
    events = [event for at in range(0, len(data), step) for event in reader.push(data[at : at + step])]
    assert [event.data for event in events] == ["fine", "fine too"]
    assert reader.overlong == 2
