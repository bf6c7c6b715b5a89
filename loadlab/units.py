"""Quantities as people write them ("250ms", "12/s", "24GiB", "30M") and as people read them ("812 ms").

Inside loadlab a quantity is a plain number in the base unit that its name ends in: `_s`, `_per_s`, `_bytes`, `_tokens`.
"""

from __future__ import annotations

import math
import re

DURATION_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
GIB = 2**30
PS_PER_S = 10**12  # the simulator counts integer picoseconds

MAX_SHOWN_CHARS = 80
_NUMBER_THEN_UNIT = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)", re.ASCII)


def quoted(text: str) -> str:
    """A stranger's text as a terminal may show it: in quotes, control characters escaped, cut to 80 characters."""
    written = repr(text[: MAX_SHOWN_CHARS + 1])
    return written if len(written) <= MAX_SHOWN_CHARS else f"{written[: MAX_SHOWN_CHARS - 3]}..."


def _split(text: str) -> tuple[float, str]:
    match = _NUMBER_THEN_UNIT.fullmatch(text.strip()) if len(text) <= MAX_SHOWN_CHARS else None
    if match is None:
        raise ValueError(f"{quoted(text)} is not a number with a unit")
    return float(match[1]), match[2]


def _finite(value: float, text: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{quoted(text)} is too large a number")
    return value


def parse_duration_s(text: str) -> float:
    """Seconds of "250ms", "1.5h", "2min". Raises ValueError, naming the units allowed, and on a number beyond float64."""
    number, unit = _split(text)
    if unit not in DURATION_S:
        raise ValueError(f"{quoted(text)} has no known unit of time (allowed: {', '.join(DURATION_S)})")
    return _finite(number * DURATION_S[unit], text)


def parse_rate_per_s(text: str) -> float:
    """Events a second of "12/s", "90/min", "3k/h". Raises ValueError."""
    count, slash, per = text.partition("/")
    per = per.strip()
    if not slash or per not in DURATION_S:
        raise ValueError(f"{quoted(text)} is not a rate such as 12/s, 90/min or 3k/h")
    return _finite(parse_count(count) / DURATION_S[per], text)


def parse_bytes(text: str) -> float:
    """Bytes of "24GiB" (2**30) or "24GB" (10**9). Raises ValueError, naming the units allowed."""
    number, unit = _split(text)
    if unit not in BYTES:
        raise ValueError(f"{quoted(text)} has no known unit of size (allowed: {', '.join(BYTES)})")
    return _finite(number * BYTES[unit], text)


def parse_count(text: str) -> float:
    """A plain number, or one with k, M, B or T for 10**3 to 10**12. Raises ValueError."""
    number, unit = _split(text)
    if unit not in COUNT:
        raise ValueError(f"{quoted(text)} is not a count (allowed endings: k, M, B, T)")
    return _finite(number * COUNT[unit], text)


def parse_share(text: str) -> float:
    """A share of one: "99%" or "0.99". Raises ValueError."""
    number, unit = _split(text)
    if unit not in ("", "%"):
        raise ValueError(f"{quoted(text)} is not a share such as 99% or 0.99")
    return _finite(number / 100 if unit == "%" else number, text)


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def format_duration(seconds: float | None) -> str:
    """Three digits and a unit that suits them: "812 ms", "4.07 s", "12.5 min"; "-" for None."""
    if seconds is None:
        return "-"
    for limit, scale, unit in ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"), (600.0, 1.0, "s"), (7200.0, 60.0, "min")):
        if abs(seconds) < limit:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{_three_digits(seconds / 3600)} h"


def format_bytes(size: float) -> str:
    """Binary units: "7.53 GiB"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size) >= BYTES[unit]:
            return f"{_three_digits(size / BYTES[unit])} {unit}"
    return f"{size:.0f} B"


def format_share(share: float | None) -> str:
    """One decimal of a percentage: "91.3 %"; "-" for None. Never rounds a failure away: 0.9999 is "> 99.9 %"."""
    if share is None:
        return "-"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"
