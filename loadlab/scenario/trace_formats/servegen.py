"""ServeGen's clients: rates and gap laws by window of time, and lengths by weight. It holds no requests: they are drawn, always alike.

`chunk-N-trace.csv` has a row for each window of one client: its start (s), rate (1/s), CV of the gaps, their law and its two
parameters. `chunk-N-dataset.json` has the lengths of longer windows, each as a Python dict in a text: {tokens: weight}.
"""

from __future__ import annotations

import ast
import heapq
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.scenario.renewal import Gaps, unit_sums
from loadlab.scenario.streams import name_words
from loadlab.scenario.trace_formats.csv_rows import columns_of
from loadlab.scenario.trace_formats.lines import numbered, opened, short
from loadlab.scenario.trace_formats.rows import NS_PER_S, OpenedTrace, Row, Tally, TraceFormat, bad_value
from loadlab.schema import shown_path

TRACE_NAME = re.compile(r"(chunk-\d+)-trace\.csv(?:\.gz)?")
WIDTH = 6
LAST_WINDOW_S = 600.0  # how long the last window is where nothing tells: ServeGen's are all ten minutes
MAX_RATE_PER_S = 1e5
MAX_DATASET_BYTES = 256 * 2**20
LAWS = {"Gamma": Gaps.GAMMA, "Weibull": Gaps.WEIBULL, "": Gaps.EXPONENTIAL, "Exponential": Gaps.EXPONENTIAL}
NOTE = "ServeGen publishes rates and laws, not requests: these are drawn from them, each time alike"
NO_LENGTHS = "come from a window whose lengths are not told, and are drawn as in the nearest window that tells them"


@dataclass(frozen=True, slots=True)
class _Window:
    line: int
    start_s: float
    end_s: float
    rate_per_s: float
    cv: float
    gaps: Gaps


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Lengths by weight of one window of a dataset: parts of a prompt that add up, and answers."""

    start_s: float
    parts: tuple[tuple[IntArray, FloatArray], ...]
    output: tuple[IntArray, FloatArray]
    images: tuple[IntArray, FloatArray] | None

    @property
    def is_told(self) -> bool:
        return all(len(values) for values, _ in (*self.parts, self.output))


def looks_like_windows(line: str) -> bool:
    """True if a first line is a row of a client's windows, which have no header."""
    values = columns_of(line)
    return len(values) == WIDTH and re.fullmatch(r"\d+(\.\d+)?", values[0]) is not None


def servegen_folder(folder: Path) -> OpenedTrace:
    """Every client of a folder, merged by time. Raises InputError if there is none."""
    files = sorted((p for p in folder.iterdir() if TRACE_NAME.fullmatch(p.name)), key=lambda p: (len(p.name), p.name))
    if not files:
        raise InputError("is a folder without chunk-N-trace.csv files of ServeGen", source=shown_path(folder))
    tally = Tally()
    streams = [_client_rows(path, tally) for path in files]
    return OpenedTrace(TraceFormat.SERVEGEN, heapq.merge(*streams, key=lambda row: row.time_ns or 0), tally, notes=(NOTE,))


def servegen_client(path: Path) -> OpenedTrace:
    """One client."""
    tally = Tally()
    return OpenedTrace(TraceFormat.SERVEGEN, _client_rows(path, tally), tally, notes=(NOTE,))


def _client_rows(path: Path, tally: Tally) -> Iterator[Row]:
    match = TRACE_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            "has windows of a ServeGen client, and must be named chunk-N-trace.csv for its lengths to be found", source=shown_path(path)
        )
    label = match[1]
    lengths = _read_lengths(path.with_name(f"{label}-dataset.json"))
    starts = np.array([window.start_s for window in lengths])
    seed = name_words(f"servegen {label}")
    for window in _read_windows(path):
        if window.rate_per_s == 0:
            continue
        rng = np.random.default_rng([*seed, window.line])
        times = _times_s(window, rng)
        told = lengths[max(0, int(np.searchsorted(starts, window.start_s, side="right")) - 1)]
        if not told.is_told:
            told = _nearest(lengths, window.start_s, shown_path(path))
            for _ in range(len(times)):
                tally.count(NO_LENGTHS, window.line)
        yield from _drawn(window, times, told, label, rng)


def _times_s(window: _Window, rng: Generator) -> FloatArray:
    """Arrivals of the window: a stationary renewal process of its rate, so that windows keep their means."""
    width = window.end_s - window.start_s
    expected = window.rate_per_s * width
    n = math.ceil(expected + 10 * max(1.0, window.cv) * math.sqrt(expected + 1)) + 16
    times = window.start_s + unit_sums(window.gaps, window.cv, n, rng) / window.rate_per_s
    return times[times < window.end_s]


def _drawn(window: _Window, times: FloatArray, told: _Lengths, label: str, rng: Generator) -> Iterator[Row]:
    n = len(times)
    prompts = np.sum([_draw(part, n, rng) for part in told.parts], axis=0)
    outputs = _draw(told.output, n, rng)
    images = np.zeros(n, dtype=np.int64) if told.images is None else _draw(told.images, n, rng)
    times_ns = np.rint(times * NS_PER_S).astype(np.int64)
    columns = (column.tolist() for column in (times_ns, prompts, outputs, images))
    for time_ns, prompt, output, image in zip(*columns, strict=True):
        yield Row(window.line, time_ns, prompt, output, label, image)


def _draw(law: tuple[IntArray, FloatArray], n: int, rng: Generator) -> IntArray:
    values, weights = law
    edges = np.cumsum(weights)
    drawn: IntArray = values[np.searchsorted(edges, rng.random(n) * edges[-1], side="right").clip(max=len(values) - 1)]
    return drawn


def _read_windows(path: Path) -> Iterator[_Window]:
    source, before = shown_path(path), None
    with opened(path) as text:
        for line, words in short(numbered(text, source), source):
            window = _window(line, columns_of(words), source)
            if before is not None:
                if window.start_s <= before.start_s:
                    raise InputError("begins no later than the window before it; sort the file by time", source=source, key=f"line {line}")
                yield _until(before, window.start_s)
                last_s = window.start_s - before.start_s
            else:
                last_s = LAST_WINDOW_S
            before = window
    if before is None:
        raise InputError("is empty; expected windows of a ServeGen client", source=source)
    yield _until(before, before.start_s + last_s)


def _until(window: _Window, end_s: float) -> _Window:
    return _Window(window.line, window.start_s, end_s, window.rate_per_s, window.cv, window.gaps)


def _window(line: int, values: list[str], source: str) -> _Window:
    if len(values) != WIDTH:
        wanted = "start, rate, CV, law, two parameters"
        raise InputError(f"has {len(values)} columns, expected {WIDTH}: {wanted}", source=source, key=f"line {line}")
    numbers = []
    for name, value in zip(("start", "rate", "CV"), values, strict=False):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1e11 or "_" in value:
            raise bad_value(source, line, name, value, "a number, 0 or more")
        numbers.append(number)
    start_s, rate, cv = numbers
    if rate > MAX_RATE_PER_S:
        raise bad_value(source, line, "rate", values[1], f"at most {MAX_RATE_PER_S:,.0f} requests a second")
    if values[3] not in LAWS:
        raise bad_value(source, line, "law", values[3], f"one of {', '.join(name for name in LAWS if name)}, or empty")
    gaps = LAWS[values[3]] if cv > 0 else Gaps.EXPONENTIAL
    return _Window(line, start_s, start_s, rate, min(max(cv, 0.01), 100.0), gaps)


def _read_lengths(path: Path) -> tuple[_Lengths, ...]:
    source = shown_path(path)
    try:
        content = path.read_bytes()
        table = orjson.loads(content)
    except FileNotFoundError:
        raise InputError("does not exist: the lengths of a ServeGen client stand beside its windows", source=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=source) from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not valid JSON ({error.msg}): was it cut short?", source=source) from None
    if not isinstance(table, dict) or not table:
        raise InputError("must be a JSON object of windows", source=source)
    windows = [_length_window(start, window, source) for start, window in table.items()]
    return tuple(sorted(windows, key=lambda window: window.start_s))


def _length_window(start: str, window: Any, source: str) -> _Lengths:
    if not start.isdigit() or not isinstance(window, dict):
        raise InputError("must be a window of time with its lengths", source=source, key=repr(start[:80]))
    names = ("input_tokens",) if "input_tokens" in window else ("text_tokens", "image_tokens", "audio_tokens", "video_tokens")
    counts = [_by_weight(window.get(name, "{}"), source, f"{start}.{name}") for name in (*names, "output_tokens")]
    images = _by_weight(window["image_count"], source, f"{start}.image_count") if "image_count" in window else None
    return _Lengths(float(start), tuple(counts[:-1]), counts[-1], None if images is None or not len(images[0]) else images)


def _by_weight(text: Any, source: str, key: str) -> tuple[IntArray, FloatArray]:
    """{172: 7.4e-05, 173: ...}: tokens and weights, ascending."""
    try:
        table = ast.literal_eval(text) if isinstance(text, str) else text
        pairs = sorted((int(k), float(v)) for k, v in table.items())
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        raise InputError("must be lengths by weight, such as {172: 0.5, 173: 0.5}", source=source, key=key) from None
    if any(k < 0 or k > 10**9 or not 0 <= v <= 1e9 for k, v in pairs) or (pairs and not any(v for _, v in pairs)):
        raise InputError("must have lengths and weights of 0 or more, and a weight above 0", source=source, key=key)
    return np.array([k for k, _ in pairs], dtype=np.int64), np.array([v for _, v in pairs])


def _nearest(lengths: tuple[_Lengths, ...], at_s: float, source: str) -> _Lengths:
    told = [window for window in lengths if window.is_told]
    if not told:
        raise InputError("has requests, and its dataset tells no lengths", source=source)
    return min(told, key=lambda window: abs(window.start_s - at_s))
