"""Looks at metrics pages once a second while a run goes on, in threads of the parent: the load generator is another process.

A page that does not come is counted, and never ends a run. Whoever records asks for the rows, so that one thread writes them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from loadlab.engines.base import RecordSink
from loadlab.engines.page_fetch import PageAddress, PageError, PageFetcher
from loadlab.engines.scraped_rows import failed_row, rows_between
from loadlab.wire.metrics_page import Reading, read_page

EVERY_S = 1.0
SETTLE_S = 0.25  # after the last answer: servers count a request when its last byte is out
LAST_LOOK_WITHIN_S = 6.0


class Scraper:
    """Pages of some servers. `begin` before the first request, `hand_over` now and then, `end` after the last answer."""

    def __init__(self, pages: Sequence[PageAddress], every_s: float = EVERY_S) -> None:
        self._rows: SimpleQueue[dict[str, Any]] = SimpleQueue()  # t_s on CLOCK_MONOTONIC
        self._held: list[dict[str, Any]] = []  # from before second 0 was known
        self._stop = threading.Event()
        self._looks = [_Look(page, self._rows, self._stop, every_s) for page in pages]

    def begin(self) -> None:
        """Looks once at every page, and goes on in the background."""
        first = [threading.Thread(target=look.first, daemon=True) for look in self._looks]
        _start_and_join(first)
        for look in self._looks:
            look.thread.start()

    def hand_over(self, sink: RecordSink, zero_s: float) -> None:
        """Appends the rows that have come, once it is known when second 0 was (CLOCK_MONOTONIC; inf: not yet)."""
        while True:
            try:
                self._held.append(self._rows.get_nowait())
            except Empty:
                break
        if self._held and math.isfinite(zero_s):
            sink.append_timeline([row for row in (_from(zero_s, row) for row in self._held) if row is not None])
            self._held = []

    def end(self, sink: RecordSink, zero_s: float) -> None:
        """Looks a last time, and appends what there is."""
        self._stop.set()
        deadline_s = time.monotonic() + LAST_LOOK_WITHIN_S
        for look in self._looks:
            if look.thread.is_alive():
                look.thread.join(max(0.0, deadline_s - time.monotonic()))
        self.hand_over(sink, zero_s)


def _start_and_join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _from(zero_s: float, row: dict[str, Any]) -> dict[str, Any] | None:
    """The row on the run's clock, cut at second 0; None of what was over by then."""
    start_s, end_s = row["t_s"] - zero_s, row["t_s"] + row["dt_s"] - zero_s
    if end_s <= 0:
        return None
    start_s = max(start_s, 0.0)
    return row | {"t_s": round(start_s, 6), "dt_s": round(end_s - start_s, 6)}


class _Look:
    """One page, looked at on the beat: at begin + k every_s. Rows have the beat's times, so that none straddles two."""

    def __init__(self, page: PageAddress, rows: SimpleQueue[dict[str, Any]], stop: threading.Event, every_s: float) -> None:
        self._page, self._rows, self._stop, self._every_s = page, rows, stop, every_s
        self._fetcher = PageFetcher(page)
        self._last: dict[str, Reading] | None = None
        self._last_s = 0.0  # of the last page that came
        self._tried_s = 0.0
        self.thread = threading.Thread(target=self._follow, daemon=True, name=f"metrics of {page.name}")

    def first(self) -> None:
        """The page that counts start from."""
        self._last_s = self._tried_s = time.monotonic()
        self._look(self._last_s)

    def _follow(self) -> None:
        begin_s, beat = self._tried_s, 0
        while True:
            beat = max(beat + 1, math.ceil((time.monotonic() - begin_s) / self._every_s))  # a page that took too long costs its beats
            if self._stop.wait(max(0.0, begin_s + beat * self._every_s - time.monotonic())):
                break
            self._look(begin_s + beat * self._every_s)
        time.sleep(SETTLE_S)
        self._look(time.monotonic())
        self._fetcher.close()

    def _look(self, now_s: float) -> None:
        try:
            found = read_page(self._fetcher.fetch())
            if not found:
                raise PageError("no metric that is known")
        except PageError as error:
            self._rows.put(failed_row(self._page.name, str(error), self._tried_s, now_s))
            self._tried_s = now_s
            return
        if self._last is not None:
            for row in rows_between(self._last, found, self._page.name, self._last_s, now_s):
                self._rows.put(row)
        self._last, self._last_s, self._tried_s = found, now_s, now_s
