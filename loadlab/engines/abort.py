"""When a run stops by itself: "error_rate > 50% for 30s"."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from loadlab.errors import InputError
from loadlab.record.request import Outcome
from loadlab.units import format_duration, parse_duration_s

MIN_ENDED = 10  # requests that are judged at least, however long ago they ended: one of two failed is no news
_RULE = re.compile(r"\s*(?P<what>[a-z_]+)\s*>\s*(?P<percent>\d+(?:\.\d+)?)\s*%\s*for\s+(?P<span>\S.*?)\s*")
_NOT_ERRORS = {
    "error_rate": frozenset({Outcome.OK}),
    "failure_rate": frozenset({Outcome.OK, Outcome.REJECTED}),
    "oom_rate": frozenset(Outcome) - {Outcome.OOM},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortRule:
    """Stop when more than `share` of the requests that ended in the last `span_s` seconds are errors, once the span is full.

    Where fewer than ten ended in that time, the last ten count: a rule also holds at a low rate, and is later then.

    `what`: error_rate counts everything but OK, failure_rate leaves out rejections, oom_rate counts OOM alone.
    """

    what: str
    share: float
    span_s: float

    def __str__(self) -> str:
        return f"{self.what} > {100 * self.share:g}% for {format_duration(self.span_s)}"


def parse_abort_rule(text: str) -> AbortRule:
    """The rule of a text such as "error_rate > 50% for 30s". Raises InputError saying what is allowed."""
    found = _RULE.fullmatch(text)
    allowed = f'must read like "error_rate > 50% for 30s" (of: {", ".join(_NOT_ERRORS)})'
    if found is None or found["what"] not in _NOT_ERRORS:
        raise InputError(f"= {text!r} {allowed}", key="--abort-on")
    try:
        span_s = parse_duration_s(found["span"])
    except ValueError as error:
        raise InputError(f"= {text!r}: {error}; it {allowed}", key="--abort-on") from None
    share = float(found["percent"]) / 100
    if not (0 <= share < 1 and 0 < span_s <= 86400):
        raise InputError(f"= {text!r} must have a share below 100 % and a span above 0 and up to a day", key="--abort-on")
    return AbortRule(what=found["what"], share=share, span_s=span_s)


@dataclass(slots=True)
class AbortWatch:
    """One rule over a run: told every end, asked now and then."""

    rule: AbortRule
    _ends: deque[tuple[float, bool]] = field(default_factory=deque)
    _errors: int = 0
    _first_s: float | None = None

    def add(self, finished_s: float, outcome: Outcome) -> None:
        """A request ended."""
        is_error = outcome not in _NOT_ERRORS[self.rule.what]
        self._first_s = finished_s if self._first_s is None else self._first_s
        self._ends.append((finished_s, is_error))
        self._errors += is_error

    def broken_by(self, now_s: float) -> str | None:
        """The rule and what was seen, where it is broken at `now_s`; else None."""
        while len(self._ends) > MIN_ENDED and self._ends[0][0] <= now_s - self.rule.span_s:
            self._errors -= self._ends.popleft()[1]
        n = len(self._ends)
        is_full = self._first_s is not None and now_s - self._first_s >= self.rule.span_s
        if not is_full or n < MIN_ENDED or self._errors <= self.rule.share * n:
            return None
        return f"{self.rule}: {self._errors:,} of the last {n:,} requests"
