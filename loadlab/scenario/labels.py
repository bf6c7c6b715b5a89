"""What a plan's rows are called: class, kind, model, tier and region of main requests and of the steps around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadlab.scenario.applications import STEPS, Step, label_of
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import NOTHING, IntArray, Labels, RequestKind
from loadlab.scenario.steps import CHECK, Layout
from loadlab.scenario.timeline import NamedClass, same


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The columns of a plan that say who asks what of whom: see `RequestPlan`."""

    traffic_class: Labels
    kind: Labels
    model: Labels
    tier: Labels
    region: Labels


def labels_of_classes(owner: IntArray, classes: Sequence[NamedClass]) -> Names:
    """The names of main requests."""
    return Names(
        traffic_class=labels([name for name, _ in classes], owner),
        kind=labels([c.kind.value for _, c in classes], owner),
        model=labels([c.model for _, c in classes], owner),
        tier=labels([c.tier for _, c in classes], owner),
        region=labels([c.region for _, c in classes], owner),
    )


def labels_of_steps(layout: Layout, classes: Sequence[NamedClass]) -> Names:
    """The names of all rows. A step is called CLASS/STEP, and runs on its own model and tier where its table names them."""
    owner, step = layout.timeline.owner, layout.step
    code = owner * len(STEPS) + step
    each = [(name, c, one) for name, c in classes for one in STEPS]
    checks = [model for _, c in classes for model in (c.fan_out.models if c.fan_out else ())]
    firsts = np.cumsum([0, *(len(c.fan_out.models) if c.fan_out else 0 for _, c in classes)])
    of_check = len(each) + firsts[owner] + layout.check
    return Names(
        traffic_class=labels([label_of(name, one) if one in c.steps else None for name, c, one in each], code),
        kind=labels([_kind(c, one) for _, c, one in each], code),
        model=labels([*(_model(c, one) for _, c, one in each), *checks], np.where(step == CHECK, of_check, code)),
        tier=labels([_tier(c, one) for _, c, one in each], code),
        region=labels([c.region for _, c, _ in each], code),
    )


def _kind(c: TrafficClass, step: Step) -> str | None:
    if step not in c.steps:
        return None
    return RequestKind.EMBEDDING.value if step is Step.EMBED else c.kind.value


def _model(c: TrafficClass, step: Step) -> str | None:
    match step:
        case Step.ROUTE:
            return None if c.router is None else c.router.model
        case Step.EMBED:
            return None if c.rag is None else c.rag.embed_model
        case Step.MAIN:
            return c.model
        case Step.CHECK:
            return None  # each check has a model of its own
        case Step.ARBITER:
            return None if c.fan_out is None or c.fan_out.arbiter is None else c.fan_out.arbiter.model
        case Step.EXPERT:
            return None if c.escalation is None else c.escalation.model or c.model


def _tier(c: TrafficClass, step: Step) -> str | None:
    match step:
        case Step.MAIN:
            return c.tier
        case Step.ROUTE:
            return None if c.router is None else c.router.tier
        case Step.ARBITER:
            return None if c.fan_out is None or c.fan_out.arbiter is None else c.fan_out.arbiter.tier
        case Step.EXPERT:
            return None if c.escalation is None else c.escalation.tier
        case Step.EMBED | Step.CHECK:
            return None


def labels(names: Sequence[str | None], owner: IntArray) -> Labels:
    """A name for each value of `owner`, as a column."""
    distinct = sorted({name for name in names if name is not None})
    codes = [NOTHING if name is None else distinct.index(name) for name in names]
    return Labels(names=tuple(distinct), codes=by_class(codes, owner))


def by_class(values: Sequence[int], owner: IntArray) -> IntArray:
    """A whole number for each value of `owner`, as a column."""
    return same(values[0], len(owner)) if len(set(values)) == 1 else np.array(values, dtype=np.int64)[owner]
