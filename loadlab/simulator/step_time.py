"""Seconds of one engine step, compiled to integer picoseconds so that skipping over steps equals taking them.

A step processes the decode tokens of B running sequences, whose contexts hold K tokens in all, and at most some prefill
tokens. Its time splits into a part that depends on token counts (tables, filled on demand) and a part linear in K:

    step = linear(B + prefill) + head(rows) + attention floors + prefill attention + kv_ps * K  (+ image encoder)

`step_parts.py` has the parts, `roofline.py` the formulas.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, assert_never

from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import Hardware, PlainConstants, ShardedModel, Speculation
from loadlab.simulator.step_parts import ConstantParts, RooflineParts, Work
from loadlab.units import PS_PER_S

StepWork = tuple[int, float, int, int]  # a Work, or the same without the names, which costs less to make


class StepTimes(Protocol):
    """Step times of one replica, integer picoseconds: decode_ps or mixed_ps, plus kv_ps for each KV token that decodes read.

    `decode_table` holds decode_ps(0), decode_ps(1) and so on, as far as they are known: reading it saves a call.
    """

    kv_ps: int
    decode_table: list[int]

    def decode_ps(self, running: int) -> int:
        """A step of `running` decodes and no prefill, without its KV reads."""

    def mixed_ps(self, running: int, work: StepWork) -> int:
        """A step of `running` decodes and some prefill, without its KV reads."""

    def scaled(self, factor: float) -> StepTimes:
        """The same with every figure multiplied, then rounded."""


class CompiledTimes:
    """Step times from their parts, in tables filled on demand; with speculation as docs/simulator-model.md tells it."""

    def __init__(self, parts: RooflineParts | ConstantParts, speculation: Speculation | None = None) -> None:
        self._parts = parts
        self._tokens_s: dict[int, float] = {}
        self._head_s: dict[int, float] = {}
        self.decode_table = [0]
        self._verified = 1 if speculation is None else speculation.draft_tokens + 1  # tokens a step verifies for each sequence
        self._per_token = 1.0 if speculation is None else 1 / speculation.tokens_per_step
        self._drafting = 1.0 if speculation is None else 1 + speculation.draft_share
        self.kv_ps = _ps(parts.kv_s() * self._per_token)
        self._decode_floor_s = parts.decode_floor_s()
        self._prefill_floor_s = parts.prefill_s(Work(0, 0.0, 0, 0))  # prefill is linear in its work: these are its coefficients
        self._attention_s = (parts.prefill_s(Work(0, 1e9, 0, 0)) - self._prefill_floor_s) / 1e9
        self._prefill_token_s = (parts.prefill_s(Work(10**6, 0.0, 0, 0)) - self._prefill_floor_s) / 1e6
        self._image_token_s = (parts.prefill_s(Work(0, 0.0, 0, 10**6)) - self._prefill_floor_s) / 1e6

    def decode_ps(self, running: int) -> int:
        """See StepTimes."""
        table = self.decode_table
        while len(table) <= running:
            table.append(_ps(self._decode_s(len(table)) * self._drafting * self._per_token))
        return table[running]

    def _decode_s(self, running: int) -> float:
        tokens = running * self._verified
        return self._linear_s(tokens, tokens) + (self._decode_floor_s if running else 0.0)

    def mixed_ps(self, running: int, work: StepWork) -> int:
        """See StepTimes."""
        tokens, attention, completed, image_tokens = work
        verified = running * self._verified
        try:
            linear_s = self._tokens_s[verified + tokens] + self._head_s[verified + completed]
        except KeyError:
            linear_s = self._linear_s(verified + tokens, verified + completed)
        work_s = self._attention_s * attention + self._prefill_token_s * tokens + self._image_token_s * image_tokens
        step_s = linear_s + self._prefill_floor_s + work_s
        if self._verified == 1:
            return round((step_s + self._decode_floor_s if running else step_s) * PS_PER_S)
        return self.decode_ps(running) + _ps(step_s - (self._linear_s(verified, verified) if running else 0.0))

    def _linear_s(self, tokens: int, rows: int) -> float:
        by_tokens, by_rows = self._tokens_s, self._head_s
        if tokens not in by_tokens:
            by_tokens[tokens] = self._parts.tokens_s(tokens)
        if rows not in by_rows:
            by_rows[rows] = self._parts.head_s(rows)
        return by_tokens[tokens] + by_rows[rows]

    def scaled(self, factor: float) -> StepTimes:
        """See StepTimes."""
        return ScaledTimes(self, factor)


class ScaledTimes:
    """Other step times, each multiplied by a factor and rounded."""

    def __init__(self, base: StepTimes, factor: float) -> None:
        self._base = base
        self._factor = factor
        self.kv_ps = round(base.kv_ps * factor)
        self.decode_table: list[int] = []

    def decode_ps(self, running: int) -> int:
        """See StepTimes."""
        return round(self._base.decode_ps(running) * self._factor)

    def mixed_ps(self, running: int, work: StepWork) -> int:
        """See StepTimes."""
        return round(self._base.mixed_ps(running, work) * self._factor)

    def scaled(self, factor: float) -> StepTimes:
        """See StepTimes."""
        return ScaledTimes(self, factor)


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


@lru_cache(maxsize=64)  # its tables fill as they are asked, so replays on equal hardware share them
def compile_step_times(hardware: Hardware, gpu_speed: float = 1.0, link_speed: float = 1.0) -> StepTimes:
    """The step times of one replica on `hardware`, whose slowest GPU and links run at these shares of their own speed."""
    match hardware:
        case ShardedModel():
            parts = RooflineParts(part=shard(hardware), gpu_speed=gpu_speed, link_speed=link_speed, scale=hardware.step_scale)
            return CompiledTimes(parts, hardware.speculation)
        case PlainConstants():
            return CompiledTimes(ConstantParts(constants=hardware, gpu_speed=gpu_speed))
        case _:
            assert_never(hardware)
