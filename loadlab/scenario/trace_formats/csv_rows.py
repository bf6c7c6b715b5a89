"""Rows of the CSV formats, columns found by name: Azure, BurstGPT, vidur, and our own."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.lines import short
from loadlab.scenario.trace_formats.rows import MAX_TIME_NS, MAX_TOKENS, NS_PER_S, Lines, OpenedTrace, Row, Tally, TraceFormat, bad_value
from loadlab.schema import shown

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
AZURE_IMAGES = "NumImages"
BURSTGPT = ("Timestamp", "Model", "Request tokens", "Response tokens", "Log Type")
VIDUR = ("num_prefill_tokens", "num_decode_tokens")
VIDUR_TIME = "arrived_at"

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[ Tt]\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,12}))?(?: ?(Z|z|UTC|[+-]\d\d(?::?\d\d)?))?", re.ASCII
)  # ISO 8601, with a blank for its T as most write it
_NUMBER = re.compile(r"\d{1,19}(?:\.\d*)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_TOKENS = re.compile(r"\d{1,9}(?:\.0*)?", re.ASCII)
_UNITS_NS = (NS_PER_S, 10**6, 10**3, 1)
MAX_DAYS_FROM_1970 = 140 * 365  # so that differences of times fit 63 bits of nanoseconds
A_TIME = "a time such as 2023-11-16 18:17:03.9799600, or seconds"


def canonical(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """The header with known names as they are known, whatever their case, blanks and underscores were in the file."""
    by_key = {_key(name): name for name in known}
    return [by_key.get(_key(name), name.strip()) for name in header]


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).lower()


def columns_of(line: str) -> list[str]:
    """The fields of a line; quotes as in RFC 4180, within the line."""
    return next(csv.reader([line])) if '"' in line else line.split(",")


def fields(lines: Lines, header: Sequence[str], source: str) -> Iterator[tuple[int, list[str]]]:
    """Each line's fields. Raises InputError where there are not as many as the header has."""
    width = len(header)
    twice = next((name for name in header if name and list(header).count(name) > 1), None)
    if twice is not None:
        raise InputError(f"names the column {shown(twice)} twice", source=source, key="line 1")
    for line, text in lines:
        values = columns_of(text)
        if len(values) != width:
            raise InputError(f"has {len(values)} columns, expected {width}: {','.join(header)}", source=source, key=f"line {line}")
        yield line, values


def tokens(value: str, name: str, line: int, source: str) -> int:
    """A count of tokens. Raises InputError."""
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    value = value.strip()
    if not _TOKENS.fullmatch(value):
        raise bad_value(source, line, name, value, f"a whole number of tokens, 0 to {MAX_TOKENS:,}")
    return int(float(value))


class Clock:
    """Reads one column of times: dates, with or without zone, or numbers. Neighbours share their second, which is read once.

    Numbers are seconds; where the first one is too large for that, milliseconds, microseconds or nanoseconds, whichever fits.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source
        self._unit_ns = 0  # of numbers; 0 before the first
        self._key: tuple[str, str | None] = ("", None)
        self._second_ns = 0

    def ns(self, value: str, line: int) -> int:
        """Nanoseconds since 1970, or since whatever moment seconds count from. Whole numbers: a float would lose the seventh digit.

        Raises InputError.
        """
        if self._unit_ns == NS_PER_S:  # most rows of a file that counts seconds, quickly
            whole, _, part = value.partition(".")
            if len(whole) < 10 and whole.isdigit() and part.isdigit() and value.isascii():
                return int(whole) * NS_PER_S + int(part.ljust(9, "0")[:9])
        time = _DATE_TIME.fullmatch(value) or _DATE_TIME.fullmatch(value.strip())
        if time is None:
            return self._of_number(value.strip(), line)
        if (time[1], time[3]) != self._key:
            self._key, self._second_ns = (time[1], time[3]), self._seconds(time[1], time[3], line) * NS_PER_S
        return self._second_ns + int((time[2] or "").ljust(9, "0")[:9])

    def _of_number(self, value: str, line: int) -> int:
        if not _NUMBER.fullmatch(value):
            raise bad_value(self.source, line, self.name, value, A_TIME)
        unit = self._unit_ns = self._unit_ns or next((unit for unit in _UNITS_NS if float(value) * unit <= MAX_TIME_NS), 1)
        if float(value) * unit > MAX_TIME_NS:
            raise bad_value(self.source, line, self.name, value, A_TIME)
        whole, _, part = value.partition(".")
        if unit == NS_PER_S and part.isdigit():
            return int(whole) * NS_PER_S + int(part.ljust(9, "0")[:9])
        return int(whole) * unit if value.isdigit() else round(float(value) * unit)

    def _seconds(self, text: str, zone: str | None, line: int) -> int:
        """Seconds since 1970 in UTC; where the file names no zone only differences count."""
        try:
            since = datetime.fromisoformat(text.upper()) - datetime(1970, 1, 1)
            if zone and zone not in ("Z", "z", "UTC"):
                hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
                if hours > 23 or minutes > 59:
                    raise ValueError
                since -= timedelta(hours=hours, minutes=minutes) * (1 if zone[0] == "+" else -1)
        except ValueError:
            raise bad_value(self.source, line, self.name, text + (zone or ""), "a date and time that exist") from None
        if abs(since.days) > MAX_DAYS_FROM_1970:
            raise bad_value(self.source, line, self.name, text + (zone or ""), "a date between 1830 and 2110")
        return since.days * 86400 + since.seconds


def azure(lines: Lines, header: Sequence[str], source: str) -> OpenedTrace:
    """TIMESTAMP[,NumImages],ContextTokens,GeneratedTokens. The first time tells the year of the format: only 2023's has no zone."""
    rows = fields(short(lines, source), header, source)
    first = next(rows, None)
    time = None if first is None else _DATE_TIME.fullmatch(first[1][header.index(AZURE[0])])
    plain = TraceFormat.AZURE_2023 if time is None or time[3] is None else TraceFormat.AZURE_2024
    found = TraceFormat.AZURE_2025 if AZURE_IMAGES in header else plain
    return OpenedTrace(found, _azure_rows(_with_first(first, rows), header, source), Tally())


def _with_first(first: tuple[int, list[str]] | None, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    if first is not None:
        yield first
    yield from rows


def _azure_rows(rows: Iterator[tuple[int, list[str]]], header: Sequence[str], source: str) -> Iterator[Row]:
    """2023-11-16 18:17:03.9799600,4808,10. Nanoseconds as whole numbers: a float would lose the seventh digit."""
    time_at, prompt_at, output_at = (header.index(name) for name in AZURE)
    images_at = header.index(AZURE_IMAGES) if AZURE_IMAGES in header else None
    clock = Clock(AZURE[0], source)
    for line, values in rows:
        time_ns = clock.ns(values[time_at], line)
        prompt = tokens(values[prompt_at], AZURE[1], line, source)
        output = tokens(values[output_at], AZURE[2], line, source)
        images = 0 if images_at is None else tokens(values[images_at], AZURE_IMAGES, line, source)
        yield Row(line, time_ns, prompt, output, "image" if images else "", images)


def burstgpt(lines: Lines, header: Sequence[str], source: str) -> OpenedTrace:
    """Timestamp (s), Model, Request tokens, Response tokens, Log Type, wherever they stand; BurstGPT_3 has two more in the middle."""
    return OpenedTrace(TraceFormat.BURSTGPT, _burstgpt_rows(fields(short(lines, source), header, source), header, source), Tally())


def _burstgpt_rows(rows: Iterator[tuple[int, list[str]]], header: Sequence[str], source: str) -> Iterator[Row]:
    time_at, model_at, prompt_at, output_at, log_at = (header.index(name) for name in BURSTGPT)
    clock = Clock(BURSTGPT[0], source)
    for line, values in rows:
        time_ns = clock.ns(values[time_at], line)
        prompt = tokens(values[prompt_at], BURSTGPT[2], line, source)
        output = tokens(values[output_at], BURSTGPT[3], line, source)
        yield Row(line, time_ns, prompt, output, f"{values[model_at]} {values[log_at]}")


def vidur(lines: Lines, header: Sequence[str], source: str) -> OpenedTrace:
    """num_prefill_tokens, num_decode_tokens, and arrived_at (s) where there are times."""
    has_times = VIDUR_TIME in header
    rows = _vidur_rows(fields(short(lines, source), header, source), header, source)
    return OpenedTrace(TraceFormat.VIDUR, rows, Tally(), has_times=has_times)


def _vidur_rows(rows: Iterator[tuple[int, list[str]]], header: Sequence[str], source: str) -> Iterator[Row]:
    prompt_at, output_at = (header.index(name) for name in VIDUR)
    time_at = header.index(VIDUR_TIME) if VIDUR_TIME in header else None
    clock = Clock(VIDUR_TIME, source)
    for line, values in rows:
        time_ns = None if time_at is None else clock.ns(values[time_at], line)
        yield Row(line, time_ns, tokens(values[prompt_at], VIDUR[0], line, source), tokens(values[output_at], VIDUR[1], line, source))


def unknown_header(header: str, source: str) -> InputError:
    """The error of a first line that is no format's."""
    known = {
        "azure": ",".join(AZURE), "burstgpt": ",".join(BURSTGPT), "vidur": ",".join(VIDUR),
        "loadlab": "arrival_s,prompt_tokens,output_tokens",
    }  # fmt: skip
    names = "; ".join(f"{name}: {columns}" for name, columns in known.items())
    problem = f"= {shown(header)} is not the header of a trace (known columns, in any order: {names}; or JSON lines of mooncake or bailian)"
    return InputError(problem, source=source, key="line 1")
