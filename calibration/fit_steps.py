"""Fits kernel and link constants to measured engine steps, component by component, and says how well they do on rows not seen.

    python -m calibration.fit_steps ../shared/data/fidelity/step_times.csv            # scores: random halves, left-out models
    python -m calibration.fit_steps ../shared/data/fidelity/step_times.csv --seeds 5  # scores: both halves of five divisions
    python -m calibration.fit_steps ../shared/data/fidelity/step_times.csv --write    # all rows -> loadlab/catalog/kernels.toml

Least squares on log(predicted / measured) of each component with a soft L1 loss, so that a few odd kernels do not bend the rest, and a weak
pull (`PULL`) towards the values of a usual kernel, so that what few shapes cannot tell apart does not run away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from calibration.steps import COMPONENT_MS, Steps, errors, group, load_steps
from calibration.usual import USUAL, base_kernels
from calibration.write import write_kernels
from loadlab.catalog.kernel_spec import AttentionKernel, ExpertKernel, GemmKernel
from loadlab.catalog.specs import KernelSpec, LinkSpec, find, gpus, links

PULL = 0.15  # weight of log(value / usual), against 1 for a row's log error: some fifty rows outweigh it at once
BOUNDS = {
    "compute_efficiency": (0.1, 1.1), "memory_efficiency": (0.3, 1.5), "sharpness": (1.0, 8.0), "floor_s": (1e-7, 1e-4),
    "half_width": (0.1, 500.0), "quantise_passes": (1e-3, 20.0), "compute_half_width": (0.1, 600.0), "memory_half_width": (0.1, 300.0),
    "routing_exponent": (0.8, 1.0), "unaligned_slowdown": (1.0, 6.0), "decode_floor_s": (1e-6, 4e-5), "kv_efficiency": (0.3, 1.6),
    "prefill_floor_s": (1e-6, 4e-5), "prefill_efficiency": (0.1, 1.0), "prefill_half_heads": (1e-3, 6.0),
    "prefill_io_efficiency": (0.05, 3.0),
    "passes": (1.0, 100.0), "cached_kv_efficiency": (0.3, 4.0), "lone_read": (0.1, 4.0), "short_floor": (0.5, 1.0),
}  # fmt: skip
SIXTEEN, EIGHT = "bits16", "bits8"


def fit(usual: Any, names: Sequence[str], predict: Callable[[Any], np.ndarray], measured: np.ndarray, bounds: Any = None) -> Any:
    """`usual` with the fields `names` fitted so that predict(it) comes near `measured`; all positive, fitted as logarithms."""
    start = np.log([max(getattr(usual, name), 1e-9) for name in names])
    limits = np.log([(bounds or BOUNDS)[name] for name in names])

    def candidate(x: np.ndarray) -> Any:
        return replace(usual, **dict(zip(names, np.exp(x).tolist(), strict=True)))

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.log(predict(candidate(x)) / measured), PULL * (x - start)])

    start_inside = np.clip(start, limits[:, 0] + 1e-6, limits[:, 1] - 1e-6)
    return candidate(least_squares(residuals, start_inside, bounds=limits.T, loss="soft_l1", f_scale=0.05).x)


def fit_kernels(groups: Sequence[Steps], base: KernelSpec) -> KernelSpec:
    """The constants of one GPU. What `groups` do not show stays as in `base`."""
    kernels = replace(base, rows=sum(len(g.rows) for g in groups))
    for precision, key in ((("bf16", "fp16"), SIXTEEN), (("fp8",), EIGHT)):
        chosen = [g for g in groups if g.part.hardware.quantisation in precision]
        if not chosen:
            continue
        names = [f.name for f in fields(GemmKernel) if key == EIGHT or f.name != "quantise_passes"]
        dense = [g for g in chosen if g.part.model.experts is None]
        kernels = _fit_table(kernels, "gemm", key, USUAL.gemm[key], names, [("gemm_ms", chosen), ("ffn_ms", dense)])
        expert = [g for g in chosen if g.part.model.experts is not None]
        if expert:
            names = [f.name for f in fields(ExpertKernel) if key == EIGHT or f.name != "unaligned_slowdown"]
            kernels = _fit_table(kernels, "experts", key, USUAL.experts[key], names, [("ffn_ms", expert)])
    prefill = [f.name for f in fields(AttentionKernel) if f.name.startswith("prefill_")]
    alone = ["cached_kv_efficiency", "lone_read", "short_floor"] if any((g.rows["other_ms"].isna()).any() for g in groups) else []
    for is_decode, names in ((True, ["decode_floor_s", "kv_efficiency", *alone]), (False, prefill)):
        kernels = _fit_attention(kernels, [g for g in groups if g.is_decode == is_decode], names)
    counted = [replace(g, rows=g.rows[g.rows["other_ms"] > 0]) for g in groups if (g.rows["other_ms"] > 0).any()]
    if counted:
        elementwise = fit(
            kernels.elementwise,
            ["floor_s", "passes"],
            lambda c: _predict(replace(kernels, elementwise=c), [("other_ms", counted)]),
            _measured([("other_ms", counted)]),
        )
        kernels = replace(kernels, elementwise=elementwise)
    return kernels


def _fit_attention(kernels: KernelSpec, groups: list[Steps], names: Sequence[str]) -> KernelSpec:
    if not groups:
        return kernels
    parts = [("attn_ms", groups)]

    def with_candidate(candidate: Any) -> KernelSpec:
        return replace(kernels, attention=candidate)

    return with_candidate(fit(kernels.attention, names, lambda c: _predict(with_candidate(c), parts), _measured(parts)))


def _fit_table(
    kernels: KernelSpec, table: str, key: str, usual: Any, names: Sequence[str], parts: list[tuple[str, list[Steps]]]
) -> KernelSpec:
    def with_candidate(candidate: Any) -> KernelSpec:
        return replace(kernels, **{table: getattr(kernels, table) | {key: candidate}})

    return with_candidate(fit(usual, names, lambda c: _predict(with_candidate(c), parts), _measured(parts)))


def _predict(kernels: KernelSpec, parts: list[tuple[str, list[Steps]]]) -> np.ndarray:
    return np.concatenate([COMPONENT_MS[column](g, g.parts(kernels)) for column, groups in parts for g in groups])


def _measured(parts: list[tuple[str, list[Steps]]]) -> np.ndarray:
    return np.concatenate([g.rows[column].to_numpy(float) for column, groups in parts for g in groups])


def fit_link(groups: Sequence[Steps], base: LinkSpec) -> LinkSpec:
    """All-reduce constants, group size by group size."""
    rows: list[tuple[float, float, float]] = []
    for i, size in enumerate(base.group_sizes):
        chosen = [g for g in groups if g.part.hardware.tensor_parallel == size]
        if not chosen:
            rows.append((base.all_reduce_latency_s[i], base.bus_bytes_per_s[i], 0.0))
            continue
        payload = np.concatenate([g.tokens * g.part.model.hidden * 2 for g in chosen])
        seconds = np.concatenate([g.rows["comm_ms"].to_numpy(float) / 2e3 / g.part.model.layers for g in chosen])

        best = _fit_all_reduce(size, payload, seconds, (base.all_reduce_latency_s[i], base.bus_bytes_per_s[i], 1e-9))
        latency, bandwidth, bend = best
        rows.append((latency, bandwidth, bend if bend > 1e-11 else 0.0))
    latency, bandwidth, bend = zip(*rows, strict=True)
    return replace(base, all_reduce_latency_s=latency, bus_bytes_per_s=bandwidth, all_reduce_s_per_sqrt_byte=bend)


def _fit_all_reduce(gpus: int, payload: np.ndarray, seconds: np.ndarray, start: tuple[float, float, float]) -> list[float]:
    """Latency, bus bandwidth and what lies between, as LinkSpec.all_reduce_s has them."""

    def residuals(x: np.ndarray) -> np.ndarray:
        latency, bandwidth, bend = np.exp(x)
        return np.log((latency + bend * np.sqrt(payload) + 2 * (gpus - 1) / gpus * payload / bandwidth) / seconds)

    limits = np.log([(1e-7, 1e8, 1e-12), (1e-3, 2e12, 1e-6)])
    return np.exp(least_squares(residuals, np.log(start), loss="soft_l1", f_scale=0.05, bounds=limits).x).tolist()


def fit_all(rows: pd.DataFrame, base: dict[str, KernelSpec]) -> tuple[dict[str, KernelSpec], dict[str, LinkSpec]]:
    """Constants of every GPU in `rows`, by the names of the catalogue; what was not measured stays as in `base`."""
    fitted, fitted_links = dict(base), {}
    for _, of_gpu in rows.groupby("gpu"):
        groups = group(of_gpu)
        gpu = find(gpus(), groups[0].part.hardware.gpu, what="gpu")
        fitted[gpu.kernels] = fit_kernels(groups, base[gpu.kernels])
        if gpu.link is not None and (of_gpu["tp"] > 1).any():
            published = of_gpu[of_gpu["source"] == "aic_op_sum"]
            fitted_links[gpu.link] = fit_link(group(published), links()[gpu.link])
    return fitted, fitted_links


def score(title: str, table: pd.DataFrame) -> None:
    """Prints median and 90 % quantile of |error| by GPU, phase and kind, and together."""
    for (gpu, phase), part in table.groupby(["gpu", "phase"]):
        absolute = part["error"].abs()
        by_kind = {
            kind: f"{k['error'].abs().median():6.1%} p90 {k['error'].abs().quantile(0.9):6.1%} n {len(k):4d}"
            for kind, k in part.groupby("kind")
        }
        words = "  ".join(f"{kind} {text}" for kind, text in by_kind.items())
        print(f"{title:28s} {gpu:12s} {phase:8s} median {absolute.median():6.1%} bias {part['error'].median():+6.1%} {words}", flush=True)


def main() -> None:
    """Scores, or writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--write", action="store_true", help="fit all rows and write loadlab/catalog/kernels.toml; print links")
    parser.add_argument("--seeds", type=int, metavar="N", help="score both halves of N random divisions, and nothing else")
    asked = parser.parse_args()
    rows = load_steps(asked.csv)
    if asked.write:
        fitted, fitted_links = fit_all(rows, base_kernels())
        write_kernels(fitted, fitted_links)
        score("all rows, seen", errors(group(rows), fitted, fitted_links))
        return
    if asked.seeds:
        score_seeds(rows, asked.seeds)
        return
    score("random halves, unseen", halves(rows, 1)[0])
    for model in sorted(rows["model"].unique()):
        left_out = rows["model"] == model
        has_more = rows[~left_out].groupby("gpu").size().index
        unseen = rows[left_out & rows["gpu"].isin(has_more)]
        score(f"without {model}", errors(group(unseen), *fit_all(rows[~left_out], base_kernels())))


def halves(rows: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Errors of either half, by constants fitted to the other."""
    seen = np.random.default_rng(seed).random(len(rows)) < 0.5
    return [errors(group(rows[~of]), *fit_all(rows[of], base_kernels())) for of in (seen, ~seen)]


def score_seeds(rows: pd.DataFrame, seeds: int) -> None:
    """Prints the median error by GPU and phase as the mean over `seeds` divisions and both halves, its range, and p90's mean."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for table in (half for seed in range(1, seeds + 1) for half in halves(rows, seed)):
        for key, part in table.groupby(["gpu", "phase"]):
            absolute = part["error"].abs()
            found.setdefault(key, []).append((absolute.median(), absolute.quantile(0.9)))
    for (gpu, phase), pairs in found.items():
        medians, p90s = zip(*pairs, strict=True)
        spread = f"{min(medians):.1%} to {max(medians):.1%}"
        print(
            f"{gpu:12s} {phase:8s} median {np.mean(medians):6.2%} ({spread}, {len(medians)} halves)  p90 {np.mean(p90s):6.1%}", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
