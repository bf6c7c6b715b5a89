"""The figures of a trace against closed forms, and against what is known of the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.analysis.burstiness import burstiness_of, seconds_of
from loadlab.analysis.trace_profile import inspect_trace
from loadlab.analysis.trace_seen import SeenBlocks, tick_of
from loadlab.errors import InputError

SLICES = Path(__file__).parents[3] / "shared" / "data" / "traces"
HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def vidur(folder: Path, rows: list[tuple[float, int, int]]) -> Path:
    path = folder / "trace.csv"
    path.write_text(HEADER + "".join(f"{t:.6f},{p},{o}\n" for t, p, o in rows))
    return path


def test_poisson_arrivals_have_dispersion_one_and_regular_ones_none() -> None:
    times = np.cumsum(np.random.default_rng(1).exponential(0.1, 200_000))
    for burst in burstiness_of(seconds_of(times)):
        assert burst.dispersion == pytest.approx(1, abs=4 * np.sqrt(2 / (20_000 / burst.window_s)))
    assert [b.dispersion for b in burstiness_of(np.full(2000, 3))] == [0, 0, 0]


def test_the_figures_of_a_small_trace_are_those_of_a_pencil(tmp_path: Path) -> None:
    rows = [(float(k), 100 if k % 2 else 300, 10) for k in range(41)] + [(41.0, 5, 0)]
    profile = inspect_trace(vidur(tmp_path, rows))
    assert (profile.rows, profile.failed_rows, profile.span_s, profile.rate_per_s) == (42, 1, 41.0, 1.0)
    assert profile.gap_cv == 0
    assert profile.tick_s == 1.0
    assert (profile.prompt.mean, profile.prompt.maximum) == (pytest.approx(300 - 200 * 20 / 41), 300)
    assert [profile.prompt.quantile(p) for p in (0.01, 0.4, 0.9)] == [100, 100, 300]
    assert any("zero tokens" in warning and "line 43" in warning for warning in profile.warnings)


def leading(seen: SeenBlocks, rows: list[list[int]]) -> list[int]:
    return seen.leading(
        np.array([len(ids) for ids in rows], dtype=np.int64), np.array([block for ids in rows for block in ids], dtype=np.int64)
    ).tolist()


def test_hits_are_the_leading_blocks_that_were_there_before() -> None:
    seen = SeenBlocks()
    assert leading(seen, [[1, 2, 3], [1, 2, 4], [], [9, 2], [1, 2, 3, 2**40], [1, 2, 3, 2**40]]) == [0, 2, 0, 0, 3, 4]
    assert leading(seen, [[2**40, 5], [2**62]]) == [1, 0]
    assert seen.distinct == 8
    assert seen.false_share < 1e-20


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.lists(st.one_of(st.integers(0, 6), st.integers(2**29 - 2, 2**29 + 2), st.just(2**62)), max_size=5), max_size=5))
)
def test_hits_are_those_of_a_plain_set(chunks: list[list[list[int]]]) -> None:
    seen, plain = SeenBlocks(), set()
    for rows in chunks:
        wanted = []
        for ids in rows:
            count, is_leading = 0, True
            for block in ids:
                is_leading = is_leading and block in plain
                count += is_leading
                plain.add(block)
            wanted.append(count)
        assert leading(seen, rows) == wanted
    assert seen.distinct == len(plain)


@pytest.mark.parametrize(("tick_s", "jitter_ns"), [(1.0, 0), (3.0, 1_000_000), (0.5, 0)])
def test_ticks_are_found_though_they_wander_by_a_millisecond(tick_s: float, jitter_ns: int) -> None:
    rng = np.random.default_rng(2)
    times = np.sort(np.repeat(np.arange(100) * tick_s, 5) * 1e9 + np.repeat(rng.integers(-jitter_ns, jitter_ns + 1, 100), 5)).astype(int)
    assert tick_of(times.tolist()) == tick_s
    assert tick_of(np.cumsum(rng.integers(1, 10**9, 500)).tolist()) is None


def test_rows_out_of_order_are_counted_and_change_no_count(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(3).uniform(0, 300, 3000)).round(6)
    ordered = inspect_trace(vidur(tmp_path, [(t, 5, 5) for t in times]))
    times[[0, 700, 1500]] = times[[1500, 0, 700]]
    mixed = inspect_trace(vidur(tmp_path, [(t, 5, 5) for t in times]))
    assert mixed.gap_cv is None
    assert mixed.span_s == ordered.span_s
    assert mixed.second_counts.sum() == pytest.approx(ordered.second_counts.sum(), abs=20)
    assert any("earlier than the row before" in warning for warning in mixed.warnings)


def test_a_time_of_another_century_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3 is more than 400 days from the first row"):
        inspect_trace(vidur(tmp_path, [(0, 5, 5), (4e9, 5, 5)]))


def test_the_published_slices_look_as_published() -> None:
    """Dispersion 13 / 72 / 167 and 1.4 / 3.9 / 16 were measured on the whole hours, of which these are halves."""
    if not SLICES.exists():
        pytest.skip(f"the trace slices are not here: {SLICES}")
    code = inspect_trace(SLICES / "azure" / "AzureLLMInferenceTrace_code.csv")
    assert [round(b.dispersion) for b in code.bursts] == [14, 78, 191]
    assert code.gap_cv == pytest.approx(13.6, abs=0.1)
    mooncake = inspect_trace(SLICES / "mooncake" / "conversation_trace.jsonl")
    assert mooncake.tick_s == 3
    assert mooncake.hit_ratio == pytest.approx(0.3465, abs=1e-3)


def test_a_handful_of_rows_is_called_few(tmp_path: Path) -> None:
    few, enough = (inspect_trace(vidur(tmp_path, [(t, 5, 5) for t in range(n)])) for n in (29, 30))
    assert any("29 rows are few" in warning for warning in few.warnings)
    assert not any("few" in warning for warning in enough.warnings)
