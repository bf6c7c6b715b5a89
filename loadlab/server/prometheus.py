"""Prometheus' text format (version 0.0.4): families of samples, histograms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

Labels = Mapping[str, str]


class Histogram:
    """Counts by upper bound."""

    __slots__ = ("_bounds", "_counts", "count", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.sum = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """So many equal observations."""
        self._counts[bisect_left(self._bounds, value)] += count
        self.count += count
        self.sum += value * count

    def cumulative(self) -> list[tuple[str, int]]:
        """(le, observations at most so large)."""
        total, rows = 0, []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else f"{float(bound)!r}", total))
        return rows


class Page:
    """A metrics page under way: `family` and then its samples, in the order of the calls."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, words: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """Counters and gauges; a counter's name ends in _total."""
        self._head(name, kind, words)
        self._lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]

    def histograms(self, name: str, words: str, samples: Iterable[tuple[Labels, Histogram]]) -> None:
        """A histogram family."""
        self._head(name, "histogram", words)
        for labels, histogram in samples:
            self._lines += [f"{name}_bucket{_labels({**labels, 'le': le})} {_number(count)}" for le, count in histogram.cumulative()]
            self._lines.append(f"{name}_count{_labels(labels)} {_number(histogram.count)}")
            self._lines.append(f"{name}_sum{_labels(labels)} {_number(histogram.sum)}")

    def _head(self, name: str, kind: str, words: str) -> None:
        self._lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]

    def text(self) -> bytes:
        """The page."""
        return ("\n".join(self._lines) + "\n").encode()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(float(value))
