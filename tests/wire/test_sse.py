from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from loadlab.wire.sse import MAX_EVENT_BYTES, Event, EventReader
from tests.wire.captures import STREAMS, WHY_SKIPPED, Capture


def events(pieces: list[bytes]) -> list[Event]:
    reader = EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    return found + reader.end()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(borders)]


@pytest.mark.parametrize(
    ("stream", "found", "reason"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"], "the usual"),
        (b"data:a\n\n", [b"a"], "the space is optional"),
        (b"data:  a\n\n", [b" a"], "one space only"),
        (b"data: a\ndata: b\n\n", [b"a\nb"], "several lines are one event"),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], "CR LF"),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"], "CR alone"),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"], "mixed line ends"),
        (b": ping\n\ndata: a\n\n: ping\n\n", [b"a"], "comments are no events"),
        (b": ping\ndata: a\n\n", [b"a"], "a comment within an event"),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"], "blank lines make no events"),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"], "a byte order mark at the start"),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"], "only there"),
        (b"id: 7\nretry: 10\ndata: a\n\n", [b"a"], "other fields"),
        (b"data\n\n", [b""], "a field without a colon"),
        (b"datum: a\n\n", [], "an unknown field"),
        (b"data: a\n\ndata: b", [b"a", b"b"], "the stream ends without a blank line"),
        (b"", [], "nothing"),
    ],
)
def test_streams_are_read_as_the_standard_says(stream: bytes, found: list[bytes], reason: str) -> None:
    assert [data for _, data in events([stream])] == found, reason
    assert events([stream[i : i + 1] for i in range(len(stream))]) == events([stream]), "byte by byte"


def test_events_carry_their_name() -> None:
    assert events([b"event: error\ndata: {}\n\ndata: {}\n\n"]) == [(b"error", b"{}"), (b"", b"{}")]


PARTS = (b"data: ", b"data:", b"event: e", b": ping", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"x", "é€😀".encode(), b"\xef\xbb\xbf")
streams = st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join)


@given(streams, st.lists(st.integers(0, 500), max_size=8))
def test_any_cut_of_any_stream_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    assert events(cut(stream, places)) == events([stream])


@pytest.mark.skipif(not STREAMS, reason=WHY_SKIPPED)
@pytest.mark.parametrize("capture", STREAMS, ids=lambda capture: capture.name)
def test_every_single_cut_of_a_recorded_stream_gives_the_same_events(capture: Capture) -> None:
    whole = events([capture.body])
    assert len(whole) >= 1
    for place in range(len(capture.body)):
        assert events([capture.body[:place], capture.body[place:]]) == whole


@pytest.mark.skipif(not STREAMS, reason=WHY_SKIPPED)
@given(st.data())
def test_any_cut_of_a_recorded_stream_gives_the_same_events(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(STREAMS))
    places = data.draw(st.lists(st.integers(0, len(capture.body)), max_size=40))
    for body in (capture.body, capture.body.replace(b"\n", b"\r\n"), capture.body.replace(b"\n", b"\r")):
        assert events(cut(body, places)) == events([capture.body])


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES, MAX_EVENT_BYTES + 1])
@pytest.mark.parametrize("piece", [2**15, 2**22])
def test_an_event_above_the_limit_ends_the_stream_however_it_comes(size: int, piece: int) -> None:
    stream = b"data: first\n\ndata: " + b"x" * (size - 6) + b"\n\ndata: last\n\n"
    reader = EventReader()
    found = [event for i in range(0, len(stream), piece) for event in reader.feed(stream[i : i + piece])]
    assert reader.is_too_long == (size > MAX_EVENT_BYTES)
    assert len(found) == (1 if reader.is_too_long else 3)


def test_a_line_that_never_ends_is_not_held_in_memory() -> None:
    reader = EventReader()
    for _ in range(200):
        reader.feed(b"x" * 2**16)
    assert reader.is_too_long
    assert reader._rest == b""


def test_a_cr_lf_cut_in_its_middle_is_one_line_end() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\r") == []
    assert reader.feed(b"\ndata: b\r") == []
    assert reader.feed(b"\n\r") == [(b"", b"a\nb")]


def test_the_end_gives_what_is_left_once() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.end() == [(b"", b"a")]
    assert reader.end() == []


def test_the_largest_event_may_wait_for_its_blank_line_and_no_byte_more() -> None:
    reader = EventReader()
    assert reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 6) + b"\n") == []
    assert [len(data) for _, data in reader.feed(b"\n")] == [MAX_EVENT_BYTES - 6]
    assert reader.feed(b"data: a\n\n" + b"x" * (MAX_EVENT_BYTES + 2)) == [(b"", b"a")]
    assert reader.is_too_long
