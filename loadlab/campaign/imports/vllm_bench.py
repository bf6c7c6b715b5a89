"""`vllm bench serve --save-result --save-detailed`: one JSON object with a list per column, times in seconds.

Read from vLLM's `vllm/benchmarks/serve.py` (2024 to 2026): `ttfts`, `itls`, `input_lens`, `output_lens`, `errors`, newer files also
`start_times`, `latencies`, `queue_times`. A finite `request_rate` is open loop; `max_concurrency` holds requests back on the client's side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadlab.campaign.imports.foreign import ForeignRun, Loop, failed, load_json, number_at, numbered, text_of, whole, with_gaps
from loadlab.errors import InputError
from loadlab.record.request import Outcome, RequestRecord

_FACTS = (
    "model_id",
    "backend",
    "endpoint_type",
    "num_prompts",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "date",
    "label",
    "duration",
)
_EVEN = "start times were not recorded: requests are put evenly over the duration, in the order sent, so that rates over time mean little"


def read_vllm_bench(path: Path) -> list[ForeignRun]:
    """The run of a file. Raises InputError if it is none, is damaged, or holds only aggregates."""
    table = load_json(path)
    if not isinstance(table, dict) or "request_throughput" not in table:
        raise InputError("is not a result of `vllm bench serve` (no request_throughput)", source=str(path))
    if "ttfts" not in table:
        raise InputError(
            "holds aggregates only: a percentile of percentiles is none, so there is nothing to judge. Run `vllm bench serve` again with "
            "--save-result --save-detailed",
            source=str(path),
        )
    columns = _columns(table, path)
    starts, notes = _starts(table, columns, path)
    model = text_of(table.get("model_id"))
    records, _ = numbered([_record(columns, i, starts[i], model, path) for i in range(len(starts))])  # start_times are of no wall clock
    facts = {key: table[key] for key in _FACTS if key in table}
    return [ForeignRun(name="vllm-bench", records=records, loop=_loop(table), facts=facts, notes=tuple(notes))]


def _loop(table: Mapping[str, Any]) -> Loop:
    """All at once, or so many at once, is a closed loop; a rate without a limit is open."""
    rate, limit = table.get("request_rate"), table.get("max_concurrency")
    if limit is not None or rate in ("inf", None):
        return Loop.CLOSED
    return Loop.OPEN if isinstance(rate, int | float) else Loop.UNKNOWN


def _columns(table: Mapping[str, Any], path: Path) -> dict[str, Sequence[Any]]:
    names = ("ttfts", "itls", "input_lens", "output_lens", "errors", "start_times", "latencies", "queue_times")
    columns = {name: table[name] for name in names if table.get(name)}
    n = len(columns.get("ttfts", ()))
    for name, column in columns.items():
        if not isinstance(column, list) or len(column) != n:
            size = len(column) if isinstance(column, list) else "no"
            raise InputError(f"has {size} entries and ttfts has {n}: the file is damaged", source=str(path), key=name)
    if n == 0:
        raise InputError("is empty: no request was recorded", source=str(path), key="ttfts")
    return columns


def _starts(table: Mapping[str, Any], columns: Mapping[str, Sequence[Any]], path: Path) -> tuple[list[float], list[str]]:
    n = len(columns["ttfts"])
    if "start_times" in columns:
        return [_number(columns, "start_times", i, path) or 0.0 for i in range(n)], []
    duration = number_at(table, "duration", "", path) or 0.0
    return [duration * i / n for i in range(n)], [_EVEN]


def _record(columns: Mapping[str, Sequence[Any]], i: int, start_s: float, model: str | None, path: Path) -> RequestRecord:
    gaps = columns["itls"][i] if "itls" in columns else []
    if not isinstance(gaps, list) or not all(type(gap) in (int, float) for gap in gaps):
        raise InputError("must be a list of seconds", source=str(path), key=f"itls[{i}]")
    ttft, latency = _number(columns, "ttfts", i, path), _number(columns, "latencies", i, path)
    error = text_of(columns["errors"][i]) if "errors" in columns else None
    tokens = _number(columns, "output_lens", i, path)
    is_ok = error is None and (tokens is None or tokens > 0)
    first = start_s + ttft if ttft and is_ok else None
    last = None if first is None else first + sum(gaps)
    end = start_s + latency if latency else last
    record = RequestRecord(
        seq=i,
        traffic_class=None,
        model=model,
        scheduled_s=start_s - (_number(columns, "queue_times", i, path) or 0.0),
        sent_s=start_s,
        first_token_s=first,
        last_token_s=last,
        finished_s=end,
        prompt_tokens=whole(_number(columns, "input_lens", i, path)),
        output_tokens=whole(tokens),
        outcome=Outcome.OK,
    )
    return with_gaps(record, gaps) if is_ok else failed(record, None, error)


def _number(columns: Mapping[str, Sequence[Any]], name: str, i: int, path: Path) -> float | None:
    return None if name not in columns else number_at({f"{name}[{i}]": columns[name][i]}, f"{name}[{i}]", "", path)
