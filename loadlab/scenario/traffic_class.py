"""One sort of traffic: what its requests ask, how long they are, and what an application makes of each question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from loadlab.scenario import delays, distribution, lengths
from loadlab.scenario.applications import Agent, Escalation, FanOut, Rag, Router, Step
from loadlab.scenario.arrivals import Arrivals
from loadlab.scenario.joint import Joint, Pairs
from loadlab.scenario.limits import MAX_CLASSES, Span, Weight, WeightOrZero
from loadlab.scenario.plan import RequestKind
from loadlab.scenario.reuse import Reuse
from loadlab.scenario.sessions import Sessions
from loadlab.schema import Bound, Share, shown
from loadlab.slo import Slo
from loadlab.wire.openai import RequestTable
from loadlab.wire.template import HttpTemplate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # becomes part of a directory's name
MAX_LABEL_CHARS = 80
Pixels = Bound("from 1 to 65,536", lambda x: 1 <= x <= 65536)
Factor = Bound(">= 0 and at most 1,000", lambda x: 0 <= x <= 1000)


def check_name(name: str, key: str) -> None:
    """Raises ValueError unless the name can stand in a path and in a table."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{key} = {shown(name)} must be 1 to 80 letters, digits, dots, dashes or underscores, beginning with a letter or digit"
        )


def _check_label(label: str | None, key: str) -> None:
    """Labels are free text, but one line of it: they stand in tables."""
    if label is not None and not (label.strip() and len(label) <= MAX_LABEL_CHARS and label.isprintable()):
        raise ValueError(f"{key} = {shown(label)} must be 1 to {MAX_LABEL_CHARS} printable characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of a request: how many, and the size of each, [width, height] in pixels, by weight."""

    count: lengths.CountLaw
    sizes_px: tuple[tuple[Annotated[int, Pixels], Annotated[int, Pixels]], ...]
    weights: Annotated[tuple[float, ...], WeightOrZero] = ()

    def __post_init__(self) -> None:
        if not self.sizes_px:
            raise ValueError("sizes_px = [] must have at least one [width, height]")
        lengths.check_weights(self.weights, len(self.sizes_px), "weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way in which a model answers, such as fast or deliberative: `share` of the class's requests have it, and their answers are
    the nearest whole number to output_factor * the class's own length, plus extra_output_tokens."""

    share: Annotated[float, Share]
    output_factor: Annotated[float, Factor] = 1.0
    extra_output_tokens: Annotated[int, lengths.Count] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficClass:
    """Requests of one sort. `share` is its part of the requests, relative to the other classes: 2 and 1 are two thirds and one third.

    With sessions `prompt_tokens` is the user's own text of each turn. `joint` says how the two lengths go together; without it they are
    independent. In a replay the lengths come from the trace, and all three are absent. `timeout_s` overrides the scenario's, and so does
    each key of `slo`. `mode` labels every request alike; `modes` are dealt out to them by share. With `arrivals` of its own a class comes
    beside the others, whatever its share; what an application makes of each question stands in `applications`.
    """

    model: str
    share: Annotated[float, Weight] = 1.0
    kind: RequestKind = RequestKind.CHAT
    tier: str | None = None
    region: str | None = None
    mode: str | None = None
    modes: dict[str, Mode] | None = None
    prompt_tokens: lengths.CountLaw | None = None
    output_tokens: lengths.CountLaw | None = None
    joint: Joint | None = None
    images: Images | None = None
    arrivals: Arrivals | None = None
    sessions: Sessions | None = None
    reuse: Reuse | None = None
    rag: Rag | None = None
    agent: Agent | None = None
    router: Router | None = None
    escalation: Escalation | None = None
    fan_out: FanOut | None = None
    timeout_s: Annotated[float, Span] | None = None
    slo: Slo | None = None
    request: RequestTable | None = None
    http: HttpTemplate | None = None

    def __post_init__(self) -> None:
        for key in ("tier", "region", "mode"):
            _check_label(getattr(self, key), key)
        self._check_request()
        self._check_modes()
        self._check_applications()
        if not self.model.strip() or not self.model.isprintable():
            raise ValueError(f"model = {shown(self.model)} must be the name of a served model")
        if self.prompt_tokens is not None and distribution.smallest(self.prompt_tokens) < 1:
            raise ValueError("prompt_tokens = 0 must not be possible: set its min, value or values to 1 or more")
        if isinstance(self.joint, Pairs) and min(min(pair) for pair in self.joint.values) < (1 if self.generates else 0):
            raise ValueError("joint.values = 0 tokens must not be possible: leave out failed requests")
        if self.generates and self.output_tokens is not None and distribution.smallest(self.output_tokens) < 1:
            raise ValueError("output_tokens = 0 must not be possible: set its min, value or values to 1 or more")

    @property
    def generates(self) -> bool:
        """True if an answer has at least one token."""
        return self.kind in (RequestKind.CHAT, RequestKind.COMPLETION)

    @property
    def turns(self) -> tuple[lengths.CountLaw, int] | None:
        """How many main requests an arrival has, a law and what comes on top; None: one."""
        if self.agent is not None:
            return self.agent.tool_calls, 1
        return None if self.sessions is None else (self.sessions.turns, 0)

    @property
    def mean_turns(self) -> float:
        """Mean number of main requests of an arrival."""
        return 1.0 if self.turns is None else distribution.mean(self.turns[0]) + self.turns[1]

    @property
    def stages(self) -> tuple[delays.DelayLaw, ...]:
        """What passes before a prompt is sent."""
        if self.agent is not None:
            return (self.agent.tool_s,)
        return () if self.rag is None else (self.rag.search_s, self.rag.rerank_s)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Which requests it sends, in the order of `Step`."""
        has_embed = self.rag is not None and self.rag.embed_model is not None
        has_arbiter = self.fan_out is not None and self.fan_out.arbiter is not None
        sent = {
            Step.ROUTE: self.router is not None,
            Step.EMBED: has_embed,
            Step.MAIN: True,
            Step.CHECK: self.fan_out is not None,
            Step.ARBITER: has_arbiter,
            Step.EXPERT: self.escalation is not None,
        }
        return tuple(step for step, is_sent in sent.items() if is_sent)

    def _check_applications(self) -> None:
        """Which tables do not go together."""
        apart = (
            *(("agent", "sessions"), ("agent", "rag"), ("fan_out", "sessions"), ("fan_out", "agent")),
            *(("reuse", "sessions"), ("reuse", "rag"), ("reuse", "agent")),
        )
        for one, other in apart:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} must not stand beside {other}: write two classes")
        if self.images is not None and (self.fan_out is not None or self.escalation is not None):
            raise ValueError("images must not stand beside fan_out or escalation: their models are asked about text")
        if not self.generates and any(step is not Step.MAIN for step in self.steps):
            raise ValueError(f'kind = "{self.kind}" must be "chat" or "completion" where there is a router, rag, fan_out or escalation')

    def _check_request(self) -> None:
        """How it is asked over HTTP goes with what is asked."""
        if self.kind is RequestKind.HTTP and self.http is None:
            raise ValueError('http is missing: kind = "http" needs [classes.NAME.http] with at least a path')
        if self.kind is not RequestKind.HTTP and self.http is not None:
            raise ValueError('http must be left out: it goes with kind = "http"')
        if self.kind is RequestKind.HTTP and self.request is not None:
            raise ValueError('request must be left out: kind = "http" has the table http instead')

    def _check_modes(self) -> None:
        if self.modes is None:
            return
        if self.mode is not None:
            raise ValueError(f"mode = {shown(self.mode)} must not stand beside modes: leave it out")
        if not 1 <= len(self.modes) <= MAX_CLASSES:
            raise ValueError(f"modes = {len(self.modes)} modes must be 1 to {MAX_CLASSES}")
        for name in self.modes:
            _check_label(name, "modes")
        total = sum(mode.share for mode in self.modes.values())
        if abs(total - 1) > 1e-6:  # thirds written with seven digits
            raise ValueError(f"modes = {shown(list(self.modes))} have shares that sum to {total:.6g}, and must sum to 1")
