"""Writes bands.toml: 10 % and 90 % quantiles of measured / predicted on rows that the constants had not seen.

    python -m calibration.fit_bands ../shared/data/fidelity

Steps: random halves, each predicted by constants fitted to the other. GPUs without measured rows: each measured GPU predicted with every
other one's efficiencies. Serving: each model predicted by engine constants fitted to the other models. TTFT: as simulated, since its one
constant, the time a request takes outside the scheduler, is a median over hundreds of rows.
"""

from __future__ import annotations

import argparse
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from calibration import fit_serving
from calibration.fit_steps import fit_all
from calibration.steps import errors, group, load_steps
from calibration.usual import base_kernels
from loadlab.campaign.validate_serving import score_serving
from loadlab.catalog.kernel_spec import BY_BLOCK
from loadlab.catalog.names import gpu_name
from loadlab.catalog.specs import HERE, gpus, kernels

SHOWN = ["l40s", "a100", "h100", "h200", "rtx4090", "rtxpro6000"]
FEWEST = 12  # rows; fewer take the pooled band
HEAD = """# Written by calibration/fit_bands.py: 10 % and 90 % quantiles of measured / predicted, on rows that the constants had not seen.
# fitted-* pool all measured GPUs; datasheet-* is for GPUs not measured: each measured one predicted with another's efficiencies.
"""


class Bands:
    """Rows of bands.toml as they are found."""

    def __init__(self) -> None:
        self.blocks = [HEAD]

    def add(self, name: str, ratios: np.ndarray, source: str, *, fewest: int = FEWEST) -> None:
        """One row, if there is enough to tell it from."""
        if len(ratios) >= fewest:
            low, high = np.quantile(ratios, [0.1, 0.9])
            self.blocks.append(f'[{name}]\nlow = {low:.3g}\nhigh = {high:.3g}\nrows = {len(ratios)}\nsource = "{source}"\n')


def add_steps(bands: Bands, rows: pd.DataFrame, seed: int = 1) -> None:
    """Bands of one step, by GPU, kind and phase."""
    first = np.random.default_rng(seed).random(len(rows)) < 0.5
    tables = [errors(group(rows[~seen]), *fit_all(rows[seen], base_kernels())) for seen in (first, ~first)]
    table = pd.concat(tables)
    table["ratio"] = 1 / (1 + table["error"])
    table["kernels"] = [gpus()[str(gpu_name(gpu))].kernels for gpu in table["gpu"]]
    for (name, kind, phase), part in table.groupby(["kernels", "kind", "phase"]):
        bands.add(f"{name}-{kind}-{phase}", part["ratio"].to_numpy(), "random halves of measured steps")
    for (kind, phase), part in table.groupby(["kind", "phase"]):
        bands.add(f"fitted-{kind}-{phase}", part["ratio"].to_numpy(), "random halves of measured steps, all GPUs")
    borrowed = []
    for own, other in permutations(["a100", "h100", "h200", "l40s"], 2):
        of_gpu = rows[[gpus()[str(gpu_name(gpu))].kernels == own for gpu in rows["gpu"]]]
        borrowed.append(errors(group(of_gpu), kernels() | {own: kernels()[other]}, {}))
    for phase, part in pd.concat(borrowed).groupby("phase"):
        bands.add(f"datasheet-{phase}", (1 / (1 + part["error"])).to_numpy(), "each of A100, H100, H200, L40S with another's efficiencies")


def add_serving(bands: Bands, path: Path) -> None:
    """Bands of TPOT and throughput, as a factor on every step."""
    configs = fit_serving.load(fit_serving.runs_of(path))
    found: list[tuple[str, str, float]] = []
    for model in sorted({c.run.hardware.model for c in configs}):
        constants = fit_serving.fit([c for c in configs if c.run.hardware.model != model])
        left_out = [c for c in configs if c.run.hardware.model == model]
        ratios = [c.measured_s / fit_serving.tpot_s(c, constants) for c in left_out]
        print(f"without {model:28s} n {len(ratios):3d} median error {np.median(np.abs(1 / np.array(ratios) - 1)):6.1%}", flush=True)
        found += [(c.part.gpu.kernels, c.run.kind, ratio) for c, ratio in zip(left_out, ratios, strict=True)]
    for kind in ("dense", "moe"):
        for name in SHOWN:
            bands.add(
                f"{name}-{kind}-serving", np.array([r for k, d, r in found if (k, d) == (name, kind)]), "serving runs, model left out"
            )
        pooled = np.array([r for _, d, r in found if d == kind])
        bands.add(f"fitted-{kind}-serving", pooled, "serving runs, model left out, all GPUs")
    every = np.array([r for _, _, r in found])
    wider = np.concatenate([every * 0.8, every * 1.25])
    bands.add("datasheet-serving", wider, "the pooled serving band, 20 % wider each way: nothing was measured")


def add_ttft(bands: Bands, path: Path) -> None:
    """Bands of TTFT."""
    scored, _ = score_serving(path)
    rows = [(gpus()[str(gpu_name(s.gpu))].kernels, s.kind, s.measured / s.predicted) for s in scored if s.metric == "ttft_ms"]
    for kind in ("dense", "moe"):
        for name in SHOWN:
            bands.add(f"{name}-{kind}-ttft", np.array([r for k, d, r in rows if (k, d) == (name, kind)]), "serving runs")
        bands.add(f"fitted-{kind}-ttft", np.array([r for _, d, r in rows if d == kind]), "serving runs, all GPUs")
    every = np.array([r for _, _, r in rows])
    bands.add("datasheet-ttft", np.concatenate([every * 0.8, every * 1.25]), "the pooled TTFT band, 20 % wider each way")


def main() -> None:
    """Finds all, writes bands.toml."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with step_times.csv and serving_closed_loop.csv")
    asked = parser.parse_args()
    assert BY_BLOCK in kernels()["h100"].experts
    bands = Bands()
    add_steps(bands, load_steps(asked.folder / "step_times.csv"))
    add_serving(bands, asked.folder / "serving_closed_loop.csv")
    add_ttft(bands, asked.folder / "serving_closed_loop.csv")
    (HERE / "bands.toml").write_text("\n".join(bands.blocks), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
