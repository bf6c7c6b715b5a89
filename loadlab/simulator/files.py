"""Cluster files: TOML to ClusterSpec."""

from __future__ import annotations

from pathlib import Path

from loadlab.schema import check_schema, read_table, read_toml
from loadlab.simulator.spec import ClusterSpec

CLUSTER_SCHEMA = "loadlab/cluster/1"


def load_cluster(path: Path) -> ClusterSpec:
    """The cluster that a file describes. Raises InputError naming file, key and value; fitting is checked by SimulatedCluster."""
    table = read_toml(path)
    check_schema(table, CLUSTER_SCHEMA, str(path))
    return read_table(ClusterSpec, table, str(path))
