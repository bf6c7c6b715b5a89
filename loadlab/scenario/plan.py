"""The complete list of requests, drawn before the first is sent. Who replays it, and from how many processes, cannot change it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

NOTHING = -1  # in an integer column of a plan: "none"; the views below turn it into None


class RequestKind(StrEnum):
    """What is asked of the endpoint."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A column of names: int64[n] codes into `names`; NOTHING where there is none."""

    names: tuple[str, ...]
    codes: IntArray

    def at(self, i: int) -> str | None:
        """The name in row i, or None."""
        code = self.codes[i]
        return None if code == NOTHING else self.names[code]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of prompt: `tokens` tokens of the text that `content` names. Equal content and length mean equal text."""

    content: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image to be generated from `content`, in pixels."""

    content: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """One request of a plan, as an object. `arrival_s` is None where the request follows `after_seq` by `delay_after_s`."""

    seq: int
    chain: int
    after_seq: int | None
    after_count: int
    delay_after_s: float
    arrival_s: float | None
    stages_s: float
    traffic_class: str
    kind: RequestKind
    model: str
    tier: str | None
    region: str | None
    mode: str | None
    session: int | None
    turn: int | None
    timeout_s: float | None
    prompt_tokens: int
    output_tokens: int
    segments: tuple[Segment, ...]
    output_content: int
    images: tuple[Image, ...]


def _equal(one: object, other: object) -> bool:
    """Two columns of a plan, or two seeds."""
    if isinstance(one, Labels) and isinstance(other, Labels):
        return one.names == other.names and np.array_equal(one.codes, other.codes)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one == other


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPlan:
    """n planned requests as columns; row i has seq i. Pure data: equal scenario and seed give equal bytes.

    A chain is a session, an agent's run, a closed-loop user's lane, or the request itself: its requests follow each other.
    A request is due at `arrival_s` (seconds since t0; NaN if it follows another), or `delay_after_s` after the end of
    `after_seq`, whatever that one's outcome; or, where `after_count` is more than 1, after the last end among so many rows up to
    `after_seq`. Requests that are due by arrival are ascending in arrival_s. `stages_s` is how much of the time before it the
    application spends, on retrieval or a tool.

    Ragged columns use offsets: row i owns [offsets[i], offsets[i + 1]). `segment_*`: the prompt, in order; its tokens sum
    to `prompt_tokens`. `output_content` names the answer's text, so that a later turn can carry it. Images follow the text.
    """

    scenario_name: str
    seed: int
    chain: IntArray
    after_seq: IntArray
    after_count: IntArray  # 0: follows nobody
    delay_after_s: FloatArray
    arrival_s: FloatArray
    stages_s: FloatArray
    traffic_class: Labels
    kind: Labels
    model: Labels
    tier: Labels
    region: Labels
    mode: Labels
    session: IntArray
    turn: IntArray
    timeout_s: FloatArray  # NaN: none
    prompt_tokens: IntArray
    output_tokens: IntArray
    output_content: IntArray
    segment_offsets: IntArray  # int64[n + 1]
    segment_content: IntArray
    segment_tokens: IntArray
    image_offsets: IntArray  # int64[n + 1]
    image_content: IntArray
    image_width_px: IntArray
    image_height_px: IntArray

    def __len__(self) -> int:
        return len(self.chain)

    @property
    def digest(self) -> str:
        """sha256 over every column's name, type and bytes, as "sha256:<hex>"; the scenario's name is not part of it.

        Columns that came later count only where they say something, so that published plans keep their digests.
        """
        state = hashlib.sha256()
        silent = {"after_count": self.after_count.max(initial=0) <= 1, "stages_s": not self.stages_s.any()}
        for field in fields(self):
            if silent.get(field.name, False):
                continue
            value = getattr(self, field.name)
            if isinstance(value, Labels):
                state.update(repr((field.name, value.names)).encode())
                value = value.codes
            if isinstance(value, np.ndarray):
                state.update(repr((field.name, value.dtype.str, value.shape)).encode())
                state.update(np.ascontiguousarray(value).tobytes())
        return f"sha256:{state.hexdigest()}"

    def differences(self, other: RequestPlan) -> frozenset[str]:
        """Names of the columns in which two plans differ; the scenario's name is none."""
        return frozenset(
            field.name
            for field in fields(self)
            if field.name != "scenario_name" and not _equal(getattr(self, field.name), getattr(other, field.name))
        )

    def request(self, i: int) -> PlannedRequest:
        """Row i as an object."""
        segments = range(self.segment_offsets[i], self.segment_offsets[i + 1])
        images = range(self.image_offsets[i], self.image_offsets[i + 1])
        return PlannedRequest(
            seq=i,
            chain=int(self.chain[i]),
            after_seq=_int_or_none(self.after_seq[i]),
            after_count=int(self.after_count[i]),
            delay_after_s=float(self.delay_after_s[i]),
            arrival_s=_float_or_none(self.arrival_s[i]),
            stages_s=float(self.stages_s[i]),
            traffic_class=self.traffic_class.at(i) or "",
            kind=RequestKind(self.kind.at(i) or ""),
            model=self.model.at(i) or "",
            tier=self.tier.at(i),
            region=self.region.at(i),
            mode=self.mode.at(i),
            session=_int_or_none(self.session[i]),
            turn=_int_or_none(self.turn[i]),
            timeout_s=_float_or_none(self.timeout_s[i]),
            prompt_tokens=int(self.prompt_tokens[i]),
            output_tokens=int(self.output_tokens[i]),
            segments=tuple(Segment(content=int(self.segment_content[j]), tokens=int(self.segment_tokens[j])) for j in segments),
            output_content=int(self.output_content[i]),
            images=tuple(
                Image(content=int(self.image_content[j]), width_px=int(self.image_width_px[j]), height_px=int(self.image_height_px[j]))
                for j in images
            ),
        )

    def requests(self) -> Iterator[PlannedRequest]:
        """Every row as an object, in order of seq."""
        return (self.request(i) for i in range(len(self)))

    def shard(self, k: int, n: int) -> IntArray:
        """The seqs that worker k of n replays, ascending: those whose chain is k modulo n. Chains are never split."""
        if not 0 <= k < n:
            raise ValueError(f"shard {k} of {n} does not exist")
        return np.flatnonzero(self.chain % n == k)


class Followers:
    """Who waits for whom, while a plan is replayed: tells at each end what is due after it. `seqs`: the rows that are replayed."""

    def __init__(self, plan: RequestPlan, seqs: IntArray | None = None) -> None:
        rows = np.flatnonzero(plan.after_seq != NOTHING) if seqs is None else seqs[plan.after_seq[seqs] != NOTHING]
        self._waiting: dict[int, list[int]] = {}
        self._left: dict[int, int] = {}  # of requests that wait for several
        for seq, after, count in zip(rows.tolist(), plan.after_seq[rows].tolist(), plan.after_count[rows].tolist(), strict=True):
            for predecessor in range(after - count + 1, after + 1):
                self._waiting.setdefault(predecessor, []).append(seq)
            if count > 1:
                self._left[seq] = count

    def __len__(self) -> int:
        return len(self._waiting)

    def after(self, seq: int) -> list[int]:
        """The requests that waited for `seq` alone, or for it as the last of several. To be asked once, when it has ended."""
        waiting = self._waiting.pop(seq, None)
        return [] if waiting is None else [follower for follower in waiting if self._is_free(follower)]

    def _is_free(self, follower: int) -> bool:
        left = self._left.get(follower, 1) - 1
        if left:
            self._left[follower] = left
        return not left


def _int_or_none(value: np.int64) -> int | None:
    return None if value == NOTHING else int(value)


def _float_or_none(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
