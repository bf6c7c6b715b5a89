"""The default host time of an engine that nobody measured, chosen without the run that it is scored on.

    python -m calibration.fit_host ../shared/data/fidelity/serving_requests.csv RUN=CLUSTER.toml RUN=CLUSTER.toml

`host_per_sequence_s` is fitted to the mean end-to-end time of each run in turn, and to none of them: the median of what engines.toml holds,
which only serving rows stand behind. Each is scored on the runs that it had not seen, as is the default that ships.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from loadlab.campaign.measured import read_rows
from loadlab.campaign.validate_requests import COLUMNS, mean_error
from loadlab.catalog.specs import engines
from loadlab.simulator.files import load_cluster
from loadlab.simulator.spec import ClusterSpec, ShardedModel

CANDIDATES_S = [1e-6 * us for us in range(6, 50, 2)]


def with_host(spec: ClusterSpec, host_s: float, per_sequence_s: float) -> ClusterSpec:
    """The cluster with that host time in every sharded pool."""
    pools = {
        name: replace(pool, hardware=replace(pool.hardware, host_s=host_s, host_per_sequence_s=per_sequence_s))
        if isinstance(pool.hardware, ShardedModel)
        else pool
        for name, pool in spec.pools.items()
    }
    return replace(spec, pools=pools)


def main() -> None:
    """Prints the error of mean end to end for each choice and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("runs", nargs="+", metavar="RUN=CLUSTER.toml")
    asked = parser.parse_args()
    rows = read_rows(asked.csv, COLUMNS)
    runs = {name: load_cluster(Path(file)) for name, _, file in (text.partition("=") for text in asked.runs)}

    def error(run: str, host_s: float, per_sequence_s: float) -> float:
        of_run = [row for row in rows if row["run"] == run]
        return mean_error(of_run, with_host(runs[run], host_s, per_sequence_s))

    default = ShardedModel.__dataclass_fields__["host_s"].default, ShardedModel.__dataclass_fields__["host_per_sequence_s"].default
    choices: dict[str, tuple[float, float]] = {"as shipped": default}
    for run in runs:
        best = min(CANDIDATES_S, key=lambda each: abs(error(run, default[0], each)))
        choices[f"fitted to {run}"] = default[0], best
    known = [engine for name, engine in engines().items() if name != "other"]
    hosts, per_sequence = ([getattr(e, key) for e in known] for key in ("host_s", "host_per_sequence_s"))
    choices["serving rows alone: median engine"] = float(np.median(hosts)), float(np.median(per_sequence))
    for title, (host_s, per_sequence_s) in choices.items():
        scores = "  ".join(f"{run} {error(run, host_s, per_sequence_s):+.1%}" for run in runs)
        print(f"{title:40s} {1e3 * host_s:.2f} ms {1e6 * per_sequence_s:4.0f} us a sequence: mean end to end {scores}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
