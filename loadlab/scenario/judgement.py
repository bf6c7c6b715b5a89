"""What a scenario is held to: its `[slo]` and its thresholds, checked against its own classes, and overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from loadlab.errors import InputError
from loadlab.scenario.applications import label_of
from loadlab.schema import read_table, shown
from loadlab.slo import Slo, Threshold, parse_threshold

if TYPE_CHECKING:
    from loadlab.scenario.model import Scenario, TrafficClass

MAX_THRESHOLDS = 100
_FIELD_OF_LABEL = {"model": "model", "tier": "tier", "region": "region"}


def check_thresholds(thresholds: Sequence[str], slo: Slo | None, classes: Mapping[str, TrafficClass]) -> None:
    """Raises ValueError unless every threshold can be judged in a run of these classes."""
    if len(thresholds) > MAX_THRESHOLDS:
        raise ValueError(f"thresholds = {len(thresholds):,} entries must be at most {MAX_THRESHOLDS}")
    has_slo = slo is not None or any(c.slo is not None for c in classes.values())
    for text in thresholds:
        try:
            threshold = parse_threshold(text)
        except ValueError as error:
            raise ValueError(f"thresholds = {error}") from None
        _check_labels(threshold, classes)
        if threshold.metric.needs_slo and not has_slo:
            raise ValueError(f'thresholds = {shown(text)} needs an SLO: write [slo] with a limit such as ttft = "800ms", or pass --slo')


def _check_labels(threshold: Threshold, classes: Mapping[str, TrafficClass]) -> None:
    for label, value in threshold.metric.labels:
        known = _known_labels(label, classes)
        if known is not None and value not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise ValueError(
                f"thresholds = {shown(str(threshold))} names {label} {shown(value)}, which no request has; there are: {there_are}"
            )


def _known_labels(label: str, classes: Mapping[str, TrafficClass]) -> set[str] | None:
    """The values that a label can have in these classes; None where a run alone can tell."""
    if label == "class":
        return {label_of(name, step) for name, c in classes.items() for step in c.steps}
    if label in ("model", "tier") and any(len(c.steps) > 1 for c in classes.values()):
        return None
    if label == "mode":
        return {name for c in classes.values() for name in (c.modes or ([c.mode] if c.mode else []))}
    if label in _FIELD_OF_LABEL:
        return {value for c in classes.values() if (value := getattr(c, _FIELD_OF_LABEL[label])) is not None}
    return None


def with_flags(scenario: Scenario, slo: Sequence[str] = (), thresholds: Sequence[str] = ()) -> Scenario:
    """The scenario held to more: `slo` are KEY=LIMIT or CLASS.KEY=LIMIT and win over the file, `thresholds` join those of the file.

    Raises InputError naming the flag.
    """
    for text in slo:
        scenario = _with_limit(scenario, text)
    try:
        return replace(scenario, thresholds=(*scenario.thresholds, *thresholds))
    except ValueError as error:
        raise InputError(str(error).removeprefix("thresholds "), key="--threshold") from None


def _with_limit(scenario: Scenario, text: str) -> Scenario:
    path, equals, limit = text.partition("=")
    name, _, key = path.strip().rpartition(".")
    if not equals or key not in {f.name for f in fields(Slo)}:
        raise InputError(f"= {shown(text)} must be KEY=LIMIT, such as ttft=800ms or chat.target=99%; keys: {_KEYS}", key="--slo")
    if name and name not in scenario.classes:
        raise InputError(f"= {shown(text)}: {shown(name)} is no class; there are: {', '.join(scenario.classes)}", key="--slo")
    written: Any = limit.strip()
    own = read_table(Slo, {key: written}, "--slo")
    if not name:
        return replace(scenario, slo=own.over(scenario.slo or Slo()))
    traffic_class = scenario.classes[name]
    changed = replace(traffic_class, slo=own.over(traffic_class.slo or Slo()))
    return replace(scenario, classes={**scenario.classes, name: changed})


_KEYS = ", ".join(f.name for f in fields(Slo))
