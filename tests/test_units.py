"""Quantities in and out of words."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.units import (
    format_bytes,
    format_duration,
    format_share,
    parse_bytes,
    parse_count,
    parse_duration_s,
    parse_rate_per_s,
    parse_share,
    quoted,
)

PARSERS = [parse_duration_s, parse_rate_per_s, parse_bytes, parse_count, parse_share]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_duration_s, "250ms", 0.25),
        (parse_duration_s, " 1.5 h ", 5400),
        (parse_duration_s, "2min", 120),
        (parse_duration_s, ".5s", 0.5),
        (parse_duration_s, "5.s", 5),
        (parse_rate_per_s, "90/min", 1.5),
        (parse_rate_per_s, "3.6k/h", 1),
        (parse_bytes, "24GiB", 24 * 2**30),
        (parse_bytes, "24GB", 24e9),
        (parse_count, "4k", 4000),
        (parse_count, "1e3", 1000),
        (parse_share, "99%", 0.99),
        (parse_share, "0.5", 0.5),
    ],
)
def test_a_quantity_is_read_in_its_base_unit(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_duration_s, "1e400s", "'1e400s' is too large a number"),
        (parse_duration_s, "1e308d", "'1e308d' is too large a number"),
        (parse_duration_s, "-1e400s", "is too large a number"),
        (parse_rate_per_s, "1e308/ns", "'1e308/ns' is too large a number"),
        (parse_rate_per_s, "1e400/s", "'1e400' is too large a number"),
        (parse_bytes, "1e308TiB", "is too large a number"),
        (parse_count, "1e308T", "is too large a number"),
        (parse_share, "1e400%", "is too large a number"),
        (parse_duration_s, "nan s", "'nan s' is not a number with a unit"),
        (parse_duration_s, "infs", "is not a number with a unit"),
        (parse_count, "\u0663", "is not a number with a unit"),  # an Arabic three
        (parse_duration_s, "60", "'60' has no known unit of time (allowed: ns, us, ms, s, m, min, h, d)"),
        (parse_rate_per_s, "30", "'30' is not a rate such as 12/s, 90/min or 3k/h"),
        (parse_bytes, "\x1b[31m", "'\\x1b[31m' is not a number with a unit"),
    ],
)
def test_what_is_no_finite_quantity_is_refused_in_words(parse: Callable[[str], float], text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["1" * 10**6, "1" * 10**6 + "!", "1" + " " * 10**6 + "!", "\x1b" * 10**6, "1s" + "s" * 10**6])
def test_long_texts_are_refused_at_once_and_shortly(parse: Callable[[str], float], text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert time.process_time() - start < 0.1
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text(max_size=20) | st.from_regex(r"[-+]?[0-9.]{1,5}(e[-+]?[0-9]{1,4})? ?[a-zA-Z%/]{0,4}", fullmatch=True))
def test_any_text_is_a_finite_number_or_a_value_error(parse: Callable[[str], float], text: str) -> None:
    try:
        assert abs(parse(text)) < float("inf")
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017


@given(st.text())
def test_quoted_text_is_printable_and_at_most_80_characters(text: str) -> None:
    assert quoted(text).isprintable()
    assert len(quoted(text)) <= 80


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (format_duration(0.8124), "812 ms"),
        (format_duration(4.071), "4.07 s"),
        (format_duration(750), "12.5 min"),
        (format_duration(2_592_000), "720 h"),
        (format_duration(None), "-"),
        (format_bytes(7.53 * 2**30), "7.53 GiB"),
        (format_bytes(12), "12 B"),
        (format_share(0.913), "91.3 %"),
        (format_share(0.99999), "> 99.9 %"),
        (format_share(0.00001), "< 0.1 %"),
        (format_share(None), "-"),
    ],
)
def test_quantities_are_written_with_the_digits_that_mean_something(words: str, expected: str) -> None:
    assert words == expected
