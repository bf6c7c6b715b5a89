"""What a person writes: a scenario (traffic, without target or seed) and a campaign (experiments that share defaults)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from loadlab.errors import InputError
from loadlab.scenario.arrivals import expected_arrivals
from loadlab.scenario.joint import Pairs
from loadlab.scenario.judgement import check_thresholds
from loadlab.scenario.limits import MAX_CLASSES, MAX_REQUESTS, Span
from loadlab.scenario.load import InTrace, Load, OpenLoop, Replay, check_stays
from loadlab.scenario.traffic_class import Images as Images
from loadlab.scenario.traffic_class import Mode as Mode
from loadlab.scenario.traffic_class import TrafficClass as TrafficClass
from loadlab.scenario.traffic_class import check_name as check_name
from loadlab.schema import NonNegative, Share, as_table, read_table, shown, shown_key
from loadlab.slo import Slo

MAX_TRIALS = 100  # values of a sensitivity: every experiment is read once for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Traffic, complete but for the target and the seed. `timeout_s` is the client's limit on one request, from when it is due.

    `slo` says what a good request is; `thresholds`, such as "ttft.p95 < 800ms", judge a run. Neither changes a request.
    """

    name: str
    description: str = ""
    timeout_s: Annotated[float, Span] | None = None
    slo: Slo | None = None
    thresholds: tuple[str, ...] = ()
    load: Load
    classes: dict[str, TrafficClass]

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        if not self.classes:
            raise ValueError("classes is empty; a scenario needs at least one traffic class")
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f"classes = {len(self.classes):,} traffic classes must be at most {MAX_CLASSES}")
        for name, traffic_class in self.classes.items():
            check_name(name, "classes")
            _check_class(f"classes.{name}", traffic_class, self.load)
        _check_arrivals(self.classes, self.load)
        reusing = next((name for name, c in self.classes.items() if c.reuse is not None), None)
        other = next((name for name, c in self.classes.items() if c.turns is not None or c.rag is not None), None)
        if reusing is not None and other is not None:
            raise ValueError(f"classes.{reusing}.reuse must not stand in one scenario with sessions, rag or agent ({other}): write two")
        check_thresholds(self.thresholds, self.slo, self.classes)


def _check_class(key: str, traffic_class: TrafficClass, load: Load) -> None:
    """What a class may say depends on the load."""
    laws = {"prompt_tokens": traffic_class.prompt_tokens, "output_tokens": traffic_class.output_tokens}
    needs_laws = not isinstance(load, Replay) and not isinstance(traffic_class.joint, Pairs)
    for name, law in laws.items():
        if needs_laws and law is None:
            tokens = 100 if name == "prompt_tokens" or traffic_class.generates else 0
            raise ValueError(f'{key}.{name} is missing; write for example {name} = {{ kind = "constant", value = {tokens} }}')
        if not needs_laws and law is not None:
            whence = "the trace" if isinstance(load, Replay) else f"{key}.joint"
            raise ValueError(f"{key}.{name} must be left out{' in a replay' * isinstance(load, Replay)}: lengths come from {whence}")
    if isinstance(load, Replay):
        _check_replayed_class(key, traffic_class)
    for name in ("sessions", "agent", "arrivals"):
        if getattr(traffic_class, name) is not None and not isinstance(load, OpenLoop):
            raise ValueError(f'{key}.{name} must be left out with load.kind = "{load.kind}": it needs "{OpenLoop.kind}"')


def _check_arrivals(classes: Mapping[str, TrafficClass], load: Load) -> None:
    """A class arrives by its own law or by that of the load."""
    if not isinstance(load, OpenLoop):
        return
    own = [name for name, c in classes.items() if c.arrivals is not None]
    if load.arrivals is None and len(own) < len(classes):
        without = next(name for name in classes if name not in own)
        raise ValueError(
            f'load.arrivals is missing, and class {without} has none: write for example {{ kind = "poisson", rate_per_s = 2 }}'
        )
    if load.arrivals is not None and len(own) == len(classes):
        raise ValueError("load.arrivals must be left out: every class has arrivals of its own")
    if own and (load.requests is not None or load.duration_s is None):
        raise ValueError(
            f"load.duration_s must end a load whose classes have arrivals of their own ({', '.join(own)}), and requests be left out"
        )
    for name in own:
        law, duration_s = classes[name].arrivals, load.duration_s
        assert law is not None
        assert duration_s is not None
        if expected_arrivals(law, duration_s) > MAX_REQUESTS:
            raise ValueError(f"classes.{name}.arrivals must not mean more than {MAX_REQUESTS:,} arrivals in load.duration_s")
        check_stays(law, None, duration_s)


def _check_replayed_class(key: str, traffic_class: TrafficClass) -> None:
    if traffic_class.modes is not None:
        raise ValueError(f"{key}.modes must be left out in a replay: lengths come from the trace. A plain mode label may stay")
    if traffic_class.joint is not None:
        raise ValueError(f"{key}.joint must be left out in a replay: lengths come from the trace")
    if traffic_class.reuse is not None:
        raise ValueError(f"{key}.reuse must be left out in a replay: the trace says what its prompts share")
    if traffic_class.rag is not None:
        raise ValueError(f"{key}.rag must be left out in a replay: whole prompts come from the trace")


def with_trace(scenario: Scenario, trace: Path, start_s: float | None = None, for_s: float | None = None) -> Scenario:
    """The scenario with a trace file, and a window of it where given. Raises InputError if it replays none, or on an impossible window."""
    load = scenario.load
    if not isinstance(load, Replay):
        raise InputError(
            f'takes no --trace: its load is kind = "{load.kind}". Use a scenario with kind = "replay", such as scenarios/replay.toml',
            source=scenario.name,
        )
    for flag, value, bound in (("--window-start", start_s, InTrace), ("--window", for_s, Span)):
        if value is not None and not bound.holds(value):
            raise InputError(f"= {value} s must be {bound.says}", key=flag)
    window_start_s = load.start_s if start_s is None else start_s
    window_s = load.for_s if for_s is None else for_s
    return replace(scenario, load=replace(load, trace=trace, start_s=window_start_s, for_s=window_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One scenario of a campaign and the cluster that it runs on."""

    id: str
    name: str
    shows: str
    scenario: Scenario
    cluster: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Other clusters for the same traffic: `cluster_suffix` joins each cluster file's name, before ".toml"."""

    cluster_suffix: str
    description: str = ""

    def __post_init__(self) -> None:
        check_name("x" + self.cluster_suffix, "cluster_suffix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """A scenario key, dotted, and the values to repeat the campaign with."""

    key: str
    values: tuple[float, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values = [] must have at least one entry")
        if len(self.values) > MAX_TRIALS:
            raise ValueError(f"values = {len(self.values):,} entries must be at most {MAX_TRIALS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Figures that somebody published, shown beside ours and never mixed with them."""

    source: str
    requests: Annotated[int, NonNegative] | None = None
    experiments: Annotated[int, NonNegative] | None = None
    success_rate: Annotated[float, Share] | None = None
    oom: Annotated[int, NonNegative] | None = None
    models: tuple[str, ...] = ()
    gpu: str | None = None
    setup: str | None = None
    workloads: tuple[str, ...] = ()
    varied: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    lessons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignChoices:
    """What the campaign's authors chose themselves: to be labelled so wherever it is shown."""

    note: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Experiments in order of their ids, and what is said about all of them."""

    name: str
    description: str = ""
    experiments: tuple[Experiment, ...]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    sensitivity: Sensitivity | None = None
    published: Published | None = None
    design_choices: DesignChoices | None = None
    same_seed: bool = False  # experiments draw alike, so that equal scenarios are equal traffic
    variant_name: str | None = None  # which variant this is; None: the campaign as written

    def variant(self, name: str) -> Campaign:
        """The campaign on the clusters of a variant. Raises InputError naming the variants there are."""
        if name not in self.variants:
            known = ", ".join(sorted(self.variants)) or "none"
            raise InputError(f"= {shown(name)} is not a variant of campaign {self.name} (it has: {known})", key="--variant")
        suffix = self.variants[name].cluster_suffix
        moved = tuple(replace(e, cluster=e.cluster.with_name(f"{e.cluster.stem}{suffix}{e.cluster.suffix}")) for e in self.experiments)
        return replace(self, experiments=moved, variant_name=name)

    def with_value(self, key: str, value: float) -> Campaign:
        """The campaign with one dotted scenario key set in every experiment. Raises InputError if a scenario cannot take it."""
        return replace(self, experiments=tuple(_with_value(e, key, value) for e in self.experiments))


def _with_value(experiment: Experiment, key: str, value: float) -> Experiment:
    scenario: dict[str, Any] = as_table(experiment.scenario)
    table = scenario
    *parents, last = key.split(".")
    source = f"experiment {experiment.id} with {shown_key(key)} = {value:g}"
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise InputError("is not a table", source=source, key=shown_key(parent))
    table[last] = value
    return replace(experiment, scenario=read_table(Scenario, scenario, source))
