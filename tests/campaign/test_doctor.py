from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from loadlab.campaign.ceiling import Ceiling, load_ceiling, save_ceiling
from loadlab.campaign.doctor import Load, probe


def test_a_probe_answers_everything_and_reads_ttft_no_earlier_than_it_was() -> None:
    found = probe(Load(rate_per_s=40, tokens=8, ttft_s=0.03, gap_s=0.005), 1.0)
    assert (found.requests, found.ok) == (40, 40)
    assert 0 <= found.lag_p50_s <= found.lag_p99_s
    assert found.ttft_error_p50_s > -0.001
    assert found.achieved_per_s == pytest.approx(40, rel=0.1)
    assert found.tokens_per_s == pytest.approx(320, rel=0.5)
    assert found.in_flight >= 1


def test_a_ceiling_is_kept_for_this_machine_and_version_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_ceiling() is None
    import os

    ceiling = Ceiling(
        requests_per_s=900.0,
        tokens_per_s=12e3,
        connections=4000,
        lag_limit_s=0.01,
        measured="2026-01-14T10:15:00+00:00",
        cpus=os.cpu_count() or 1,
    )
    path = save_ceiling(ceiling)
    found = load_ceiling()
    assert found is not None
    assert (found["requests_per_s"], found["connections"]) == (900.0, 4000)
    table = orjson.loads(path.read_bytes())
    for key, other in (("host", "elsewhere"), ("version", "0.0.0"), ("schema", "loadlab/ceiling/9")):
        path.write_bytes(orjson.dumps(table | {key: other}))
        assert load_ceiling() is None, key
    path.write_bytes(b"{")
    assert load_ceiling() is None, "a damaged file is as good as none"
