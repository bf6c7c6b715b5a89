"""The simulated backend once more, slow and obvious, from docs/simulator-model.md alone: the judge of the fast one."""

from tests.simulator.twin.cluster import TwinCluster
from tests.simulator.twin.request import ReplicaTotals, TwinRequest, TwinResult

__all__ = ["ReplicaTotals", "TwinCluster", "TwinRequest", "TwinResult"]
