"""Curves that a reader can do in the head, and strategies for any others."""

from __future__ import annotations

from hypothesis import strategies as st

from loadlab.planning.curves import LineCurve, StepCurve
from loadlab.planning.inputs import Inputs, Terms

L40S_REPLICA_TOKENS_PER_DAY = 0.701 * 1280 * 86400 * 0.8 / 2.5
L40S = StepCurve(
    replica_tokens_per_day=L40S_REPLICA_TOKENS_PER_DAY, replica_usd_per_month=2 * 1.09 * 730, fixed_usd_per_month=0.0, spare_replicas=1
)
PREMIUM = LineCurve(usd_per_million=5.40)

own_curves = st.builds(
    StepCurve,
    replica_tokens_per_day=st.floats(1e5, 1e9),
    replica_usd_per_month=st.floats(10, 1e6),
    fixed_usd_per_month=st.floats(0, 1e6),
    spare_replicas=st.integers(0, 4),
)
lines = st.builds(LineCurve, usd_per_million=st.floats(0.01, 100))

TERMS = Terms(gpus_per_replica=2, spare_replicas=1, one_off_usd=15000)
INPUTS = Inputs(
    tokens_per_s=0.701 * 1280,
    peak_to_average=2.5,
    target_utilisation_share=0.8,
    rent_usd_per_gpu_hour=1.09,
    output_share=0.2,
    api_input_usd_per_million=3.0,
    api_output_usd_per_million=15.0,
    api_cached_usd_per_million=0.3,
)
