"""Scores the simulator on published serving runs at fixed concurrency: the closed loop itself is simulated, start-up burst included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadlab.analysis.scoring import Scored, Unpredicted
from loadlab.campaign.closed_loop import ClosedLoopMeans, ClosedLoopWork, run_closed_loop
from loadlab.campaign.measured import exclusion_of, has_number, number, read_rows, text
from loadlab.campaign.measured_setup import named_gpu, named_model, weights_format
from loadlab.catalog.bands import Band, Phase, band_of
from loadlab.catalog.names import engine_name
from loadlab.catalog.specs import EngineSpec, KvFormat, ModelSpec, Quantisation, engines, find, gpus, models
from loadlab.errors import InputError
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.sharding import kv_capacity
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PoolSpec, ShardedModel

COLUMNS = ("model", "gpu", "tp", "dtype", "engine", "isl", "osl", "load")
METRICS = ("ttft_ms", "tpot_ms", "output_tok_s")
REQUESTS_PER_CLIENT = 10  # as InferenceX and most harnesses send
REQUESTS_AT_MOST = 4000
SPREAD = 0.8  # InferenceX draws lengths evenly from 80 % of the nominal ones up to these
# Sources whose harness sends equal lengths to all, but for what tokenising changes; their clients stay in step where an engine lets prompts
# go before decodes.
EQUAL_LENGTHS = ("aic-auto-gap-analysis",)
EQUAL_SPREAD = 0.9  # no source says it: clients drift apart by more than tokenising, and 0.9 stands for both
CLOSED_LOOP = ("concurrency", "concurrent", "closed_loop", "clients", "batch", "batch_size", "users")
FULLEST = 0.95  # of memory
FP8_BY_BLOCK = ("qwen3-235b", "qwen3-30b")  # whose FP8 checkpoints are published so, beside 16-bit ones


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRun:
    """One row: what to simulate, and what it is called."""

    row: dict[str, Any]
    hardware: ShardedModel
    limits: EngineLimits
    engine: EngineSpec
    work: ClosedLoopWork
    replicas: int

    @property
    def kind(self) -> str:
        """dense or moe."""
        return "dense" if models()[self.hardware.model].experts is None else "moe"

    def cluster(self, step_scale: float = 1.0) -> SimulatedCluster:
        """A fresh one, each step as long as `step_scale` says."""
        pool = PoolSpec(serves=("m",), replicas=self.replicas, hardware=replace(self.hardware, step_scale=step_scale), engine=self.limits)
        return SimulatedCluster(ClusterSpec(name="validation", pools={"p": pool}), "this row")


def score_serving(path: Path, progress: Any = None) -> tuple[list[Scored], list[Unpredicted]]:
    """Every measured figure of every row predicted, or listed with why not. Raises InputError on a file that is not such a table.

    Rows are dealt out to the machine's processors; `progress(done, total)` is told of each share that is done.
    """
    from joblib import Parallel, cpu_count, delayed

    from loadlab.catalog.specs import added_rows

    rows = read_rows(path, COLUMNS)
    shares = [rows[start : start + 40] for start in range(0, len(rows), 40)]
    added = (added_rows()[0], added_rows()[1] | _with_longer_windows(rows))
    workers = min(cpu_count(), len(shares), 8)
    results: list[tuple[list[Scored], list[Unpredicted]]] = []
    for done, result in enumerate(Parallel(workers, return_as="generator")(delayed(_score_rows)(share, added) for share in shares), 1):
        results.append(result)
        if progress is not None:
            progress(min(len(rows), 40 * done), len(rows))
    return [s for scored, _ in results for s in scored], [u for _, missed in results for u in missed]


def _with_longer_windows(rows: list[dict[str, Any]]) -> dict[str, ModelSpec]:
    """Models whose own window is shorter than a row's requests: what was measured had it scaled."""
    longer: dict[str, ModelSpec] = {}
    for row in rows:
        try:
            name, tokens = named_model(row), round(number(row, "isl")) + round(number(row, "osl"))
        except ValueError:
            continue  # told where the row is scored
        model = longer.get(name, models()[name])
        if tokens > model.context_tokens:
            longer[name] = replace(model, context_tokens=tokens)
    return longer


def _score_rows(rows: list[dict[str, Any]], extra: Any) -> tuple[list[Scored], list[Unpredicted]]:
    from loadlab.catalog.specs import put_rows

    put_rows(extra)  # a worker process has only the shipped catalogue
    scored: list[Scored] = []
    unpredicted: list[Unpredicted] = []
    for row in rows:
        measured = [metric for metric in METRICS if has_number(row, metric)]
        if not measured:
            unpredicted.append(Unpredicted(metric=None, reason=f"nothing measured: none of {', '.join(METRICS)} is a number above 0"))
            continue
        reason = exclusion_of(row)
        if reason is None:
            try:
                scored += _score(row, measured)
                continue
            except (ValueError, InputError) as error:
                reason = str(error)
        unpredicted += [Unpredicted(metric=metric, reason=reason) for metric in measured]
    return scored, unpredicted


def _score(row: dict[str, Any], measured: list[str]) -> list[Scored]:
    run = serving_run(row)
    predicted = figures_of(run, run_closed_loop(run.cluster(), run.work))
    gpu = find(gpus(), run.hardware.gpu, what="gpu")
    serving, ttft = band_of(gpu, run.kind, Phase.SERVING), band_of(gpu, run.kind, Phase.TTFT)
    fast = figures_of(run, run_closed_loop(run.cluster(serving.low), run.work))
    slow = figures_of(run, run_closed_loop(run.cluster(serving.high), run.work))
    return [
        Scored(
            gpu=text(row, "gpu"),
            kind=run.kind,
            phase=text(row, "mode", "agg"),
            engine=text(row, "engine"),
            metric=metric,
            measured=number(row, metric),
            predicted=predicted[metric],
            low=band_around(metric, predicted[metric], fast[metric], slow[metric], ttft)[0],
            high=band_around(metric, predicted[metric], fast[metric], slow[metric], ttft)[1],
        )
        for metric in measured
    ]


def band_around(metric: str, predicted: float, fast: float, slow: float, ttft: Band) -> tuple[float, float]:
    """From the simulation at both ends; TTFT, which hangs on how clients fall into step, is at least as wide as its own residuals."""
    low, high = min(fast, slow, predicted), max(fast, slow, predicted)
    if metric != "ttft_ms":
        return low, high
    return min(low, predicted * ttft.low), max(high, predicted * ttft.high)


def figures_of(run: ServingRun, means: ClosedLoopMeans) -> dict[str, float]:
    """The metrics as published: milliseconds, and tokens a second of all clients by Little's law."""
    ttft_s = means.ttft_s + run.engine.request_s
    throughput = run.work.clients * run.work.output_tokens / (ttft_s + means.tpot_s * (run.work.output_tokens - 1))
    return {"ttft_ms": 1e3 * ttft_s, "tpot_ms": 1e3 * means.tpot_s, "output_tok_s": throughput}


def serving_run(row: dict[str, Any]) -> ServingRun:
    """What a row says was run, read with the defaults of its engine. Raises ValueError or InputError."""
    hardware, replicas = _hardware(row)
    kind_of_load = text(row, "load_kind", "concurrency").lower()
    if kind_of_load not in CLOSED_LOOP:
        raise ValueError(f"load_kind = {kind_of_load!r} is not simulated here: loads are clients in a closed loop (concurrency)")
    engine = engines()[engine_name(text(row, "engine"))]
    clients = max(1, round(number(row, "load")))
    is_equal = any(words in str(row.get("source", "")) for words in EQUAL_LENGTHS)
    is_in_step = is_equal and engine.stays_in_step
    work = ClosedLoopWork(
        clients=clients,
        requests=clients if is_in_step else max(clients * 2, min(clients * REQUESTS_PER_CLIENT, REQUESTS_AT_MOST), 16),
        prompt_tokens=round(number(row, "isl")),
        output_tokens=round(number(row, "osl")),
        spread=1.0 if is_in_step else EQUAL_SPREAD if is_equal else SPREAD,
    )
    hardware = replace(hardware, host_s=engine.host_s, host_per_sequence_s=engine.host_per_sequence_s)
    limits = _limits(engine, hardware, work)
    return ServingRun(row=row, hardware=hardware, limits=limits, engine=engine, work=work, replicas=replicas)


def _limits(engine: EngineSpec, hardware: ShardedModel, work: ClosedLoopWork) -> EngineLimits:
    """The engine's defaults; where the row's requests would not fit with them, a fuller memory, as whoever measured it must have set."""
    usual = EngineLimits(
        max_running=max(256, work.clients),
        max_batched_tokens=max(engine.max_batched_tokens, work.clients),
        gpu_memory_utilization=engine.gpu_memory_utilization,
        prefix_caching=False,
    )
    for limits in (
        usual,
        replace(usual, max_running=work.clients),
        replace(usual, max_running=work.clients, gpu_memory_utilization=FULLEST),
    ):
        try:
            capacity = kv_capacity(PoolSpec(serves=("m",), hardware=hardware, engine=limits), "this row", "p")
        except InputError:
            continue
        if capacity.holds_tokens(limits.allocation) >= work.prompt_tokens + work.output_tokens:
            return limits
    return usual


def _hardware(row: dict[str, Any]) -> tuple[ShardedModel, int]:
    """The group that a row's parallel degrees make, and how many of them."""
    gpu_row, model_row = named_gpu(row), named_model(row)
    gpu, model = gpus()[gpu_row], models()[model_row]
    tp, pp, dp, ep = _degrees(row, gpu.gpus_per_node, is_moe=model.experts is not None)
    is_shared = model.experts is not None and dp > 1  # dense data-parallel ranks share nothing: replicas
    hardware = ShardedModel(
        model=model_row,
        gpu=gpu_row,
        quantisation=_quantisation(row, model_row, gpu_row),
        kv_format=KvFormat.BF16,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        data_parallel=dp if is_shared else 1,
        expert_parallel=ep if model.experts is not None else 1,
        link=gpu.link,
        gpus_per_node=gpu.gpus_per_node,
        node_link=gpu.node_link,
    )
    return hardware, 1 if is_shared else dp


def _degrees(row: dict[str, Any], gpus_per_node: int, *, is_moe: bool) -> tuple[int, int, int, int]:
    """Tensor, pipeline, data and expert parallel degrees; 1 where a cell is empty or 0, as for a model without experts.

    A mixture of experts whose data-parallel degree is not told has the one that fills its GPUs.
    """
    tp, pp, dp, ep = (round(number(row, key)) if has_number(row, key) else 1 for key in ("tp", "pp", "dp", "ep"))
    of_run = round(number(row, "n_gpu")) if has_number(row, "n_gpu") else tp * pp * dp
    if is_moe and not has_number(row, "dp") and of_run % (tp * pp) == 0:
        dp = of_run // (tp * pp)
    if tp > gpus_per_node and ep > 1 and tp % ep**2 == 0:
        tp //= ep  # listed as MoE tensor * expert parallel: the same runs stand in the file with 8 GPUs, to the digit
    elif is_moe and dp > 1 and tp * pp == of_run and tp % dp == 0:
        tp //= dp  # SGLang's data-parallel attention: --tp counts all GPUs
    elif is_moe and ep > tp * dp and ep * pp == of_run and ep % tp == 0:
        dp = ep // tp  # experts over all GPUs, attention over tp of them
    return tp, pp, dp, ep


def _quantisation(row: dict[str, Any], name: str, gpu: str) -> Quantisation:
    """The weights' format. What an engine ran as `fp8` is a checkpoint, and some are published block-wise beside 16-bit ones."""
    found = weights_format(text(row, "dtype"), models()[name], gpu)
    is_by_block = any(part in name.lower() for part in FP8_BY_BLOCK)
    return Quantisation.FP8_BLOCK if found is Quantisation.FP8 and is_by_block else found
