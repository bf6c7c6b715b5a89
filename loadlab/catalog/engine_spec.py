"""What a serving engine adds to its kernels, as seen from outside: host time a step, host time a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from loadlab.schema import NonNegative, Positive, PositiveShare


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine with its defaults. The constants are fitted to published serving runs: `calibration/fit_serving.py`."""

    host_s: Annotated[float, NonNegative]  # scheduler and sampler, a step
    host_per_sequence_s: Annotated[float, NonNegative]  # the same, for each running sequence
    request_s: Annotated[float, NonNegative]  # from the client to the scheduler and back: HTTP, tokeniser, queues
    max_batched_tokens: Annotated[int, Positive]
    gpu_memory_utilization: Annotated[float, PositiveShare] = 0.9
    stays_in_step: bool = False  # prompts go before decodes, so equal requests of a closed loop end together, wave after wave
    source: str
    as_of: str
