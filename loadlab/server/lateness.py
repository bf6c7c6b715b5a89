"""How late tokens are written, against the moment at which the simulator says that they came."""

from __future__ import annotations

from array import array

from loadlab.server.prometheus import Histogram

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the exported histogram
STEP_S = 0.0001  # resolution of quantiles
STEPS = 20_000  # up to two seconds; what is later counts as two seconds
WORTH_SAYING_S = 0.005  # p99


class Lateness:
    """Counts tokens by lateness: since the start for the metrics page, and of a window for the announcement."""

    def __init__(self) -> None:
        self.histogram = Histogram(BUCKETS_S)  # since the start
        self._all = array("q", bytes(8 * STEPS))
        self._window = array("q", bytes(8 * STEPS))

    def add(self, late_s: float, tokens: int) -> None:
        """So many tokens were so late; early ones (by half a millisecond at most) were on time."""
        late_s = max(0.0, late_s)
        step = min(STEPS - 1, int(late_s / STEP_S))
        self._all[step] += tokens
        self._window[step] += tokens
        self.histogram.add(late_s, tokens)

    def quantile_s(self, share: float) -> float | None:
        """Since the start, rounded up to 0.1 ms; None if no token was written."""
        return _quantile_s(self._all, share)

    def close_window(self, share: float = 0.99) -> float | None:
        """The quantile since the last call; the next window begins."""
        value = _quantile_s(self._window, share)
        if value is not None:
            self._window = array("q", bytes(8 * STEPS))
        return value


def _quantile_s(counts: array[int], share: float) -> float | None:
    total = sum(counts)
    if not total:
        return None
    left = -int(-share * total // 1)  # the ceil(p n)-th
    for step, tokens in enumerate(counts):
        left -= tokens
        if left <= 0:
            return (step + 1) * STEP_S
    return STEPS * STEP_S
