"""Electrical power of a GPU, estimated from how busy it is.

Linear between idle and the board's limit (Fan, Weber and Barroso, ISCA 2007, sec. 4.3, found it within 1 % for whole servers). Decoding
is bound by memory and draws less than matrix work at the same busy share, so this is an upper estimate. It is a label, not a meter.
"""

from __future__ import annotations

# (idle, limit) in watts. Limits: NVIDIA data sheets. Idle, model loaded: a tenth of the limit for servers' cards, our assumption.
_WATTS = {
    "T4": (10.0, 70.0),
    "L4": (10.0, 72.0),
    "A10G": (15.0, 150.0),
    "L40S": (35.0, 350.0),
    "A100": (40.0, 400.0),
    "H100": (70.0, 700.0),
    "H200": (70.0, 700.0),
    "B200": (100.0, 1000.0),
}


def board_watts(gpu: str, busy_share: float) -> float | None:
    """Watts at a busy share of 0 to 1; None where the card's limit is not known. "H100-80GB" is an H100."""
    known = next((watts for name, watts in _WATTS.items() if gpu.upper().split("-")[0] == name), None)
    return None if known is None else known[0] + (known[1] - known[0]) * min(1.0, max(0.0, busy_share))
