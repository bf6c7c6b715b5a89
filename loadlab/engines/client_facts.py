"""What each worker used and how it ended, as the one account that a manifest keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadlab.engines.endpoint import Endpoint
from loadlab.record.client import ClientFacts

_USED = ("cpu_s", "wall_s", "run_queue_wait_s", "peak_rss_bytes", "most_in_flight", "connections", "rows")


def facts_of(
    endpoint: Endpoint,
    run_id: str,
    done: Mapping[int, Mapping[str, Any]],
    lost: Mapping[int, str],
    clocks: Sequence[Mapping[str, Any]],
    rogues: Mapping[str, int],
    *,
    reason: str | None,
    notes: tuple[str, ...],
    ceiling: Mapping[str, Any] | None,
) -> ClientFacts:
    """Sums over the workers; of the wait for a core the worst share, since the slowest worker spoils the whole."""
    workers = endpoint.spread.workers
    has_all = len(done) == workers
    wall_s = max((facts["wall_s"] for facts in done.values()), default=None)
    return ClientFacts(
        run_id=run_id,
        max_in_flight=endpoint.max_in_flight,
        most_in_flight=_sum(done, "most_in_flight") if has_all else None,
        connections=_sum(done, "connections") if has_all else None,
        cpu_s=_sum(done, "cpu_s") if has_all else None,
        cpu_total_s=_sum(done, "cpu_total_s") if has_all else None,
        wall_s=wall_s if has_all else None,
        run_queue_wait_s=_worst_wait_s(done, wall_s) if has_all else None,
        peak_rss_bytes=_sum(done, "peak_rss_bytes") if has_all else None,
        stopped_because=reason,
        notes=(*notes, *_rogue_words(rogues), *_clock_words(clocks)),
        ceiling=ceiling if workers == 1 else None,
        workers=() if endpoint.spread.is_alone else tuple(_worker(k, done.get(k), lost.get(k), clocks) for k in range(workers)),
    )


def _sum(done: Mapping[int, Mapping[str, Any]], key: str) -> Any:
    values = [facts.get(key) for facts in done.values()]
    return None if None in values else sum(value for value in values if value is not None)


def _worst_wait_s(done: Mapping[int, Mapping[str, Any]], wall_s: float | None) -> float | None:
    shares = [facts["run_queue_wait_s"] / facts["wall_s"] for facts in done.values() if facts.get("run_queue_wait_s") is not None]
    return None if not shares or wall_s is None else max(shares) * wall_s


def _worker(k: int, done: Mapping[str, Any] | None, lost: str | None, clocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    used = {key: None if done is None else done.get(key) for key in _USED}
    clock = clocks[k] if k < len(clocks) else None
    ended = clock if done is None else done.get("clock", clock)
    return {"worker": k, **used, "lost": lost, "clock": clock, "clock_at_end": ended}


def _rogue_words(rogues: Mapping[str, int]) -> list[str]:
    said = []
    if rogues.get("refused"):
        said.append(f"{rogues['refused']:,} connections to the master's port had not its token: nothing that they sent was read")
    if rogues.get("malformed"):
        said.append(f"{rogues['malformed']:,} messages of peers with the token were malformed, or in another's name: dropped")
    return said


def _clock_words(clocks: Sequence[Mapping[str, Any]]) -> list[str]:
    apart = [clock for clock in clocks if not clock["is_shared"]]
    if not apart:
        return []
    bound_ms = 1e3 * max(clock["bound_s"] or 0.0 for clock in apart)
    said = f"{len(apart)} workers have another clock than the master: their times are right within {bound_ms:.2f} ms of its"
    return [f"{said} (half the best round trip)"]
