"""What a person writes: a scenario (traffic, without target or seed) and a campaign (experiments that share defaults)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from loadlab.errors import InputError
from loadlab.scenario import distribution, lengths
from loadlab.scenario.joint import Joint, Pairs
from loadlab.scenario.judgement import check_thresholds
from loadlab.scenario.limits import MAX_CLASSES, Span, Weight, WeightOrZero
from loadlab.scenario.load import InTrace, Load, OpenLoop, Replay
from loadlab.scenario.plan import RequestKind
from loadlab.scenario.sessions import Sessions
from loadlab.schema import Bound, NonNegative, Share, as_table, read_table, shown, shown_key
from loadlab.slo import Slo
from loadlab.wire.openai import RequestTable
from loadlab.wire.template import HttpTemplate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # becomes part of a directory's name
MAX_LABEL_CHARS = 80
MAX_TRIALS = 100  # values of a sensitivity: every experiment is read once for each
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
    each key of `slo`. `mode` labels every request alike; `modes` are dealt out to them by share.
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
    sessions: Sessions | None = None
    timeout_s: Annotated[float, Span] | None = None
    slo: Slo | None = None
    request: RequestTable | None = None
    http: HttpTemplate | None = None

    def __post_init__(self) -> None:
        for key in ("tier", "region", "mode"):
            _check_label(getattr(self, key), key)
        self._check_request()
        self._check_modes()
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
        check_thresholds(self.thresholds, self.slo, self.classes)


def _check_class(key: str, traffic_class: TrafficClass, load: Load) -> None:
    """What a class may say depends on the load."""
    laws = {"prompt_tokens": traffic_class.prompt_tokens, "output_tokens": traffic_class.output_tokens}
    needs_laws = not isinstance(load, Replay) and not isinstance(traffic_class.joint, Pairs)
    for name, law in laws.items():
        if needs_laws and law is None:
            raise ValueError(f'{key}.{name} is missing; write for example {name} = {{ kind = "constant", value = 100 }}')
        if not needs_laws and law is not None:
            whence = "the trace" if isinstance(load, Replay) else f"{key}.joint"
            raise ValueError(f"{key}.{name} must be left out{' in a replay' * isinstance(load, Replay)}: lengths come from {whence}")
    if isinstance(load, Replay):
        _check_replayed_class(key, traffic_class)
    if traffic_class.sessions is not None and not isinstance(load, OpenLoop):
        raise ValueError(f'{key}.sessions must be left out with load.kind = "{load.kind}": sessions need "{OpenLoop.kind}"')


def _check_replayed_class(key: str, traffic_class: TrafficClass) -> None:
    if traffic_class.modes is not None:
        raise ValueError(f"{key}.modes must be left out in a replay: lengths come from the trace. A plain mode label may stay")
    if traffic_class.joint is not None:
        raise ValueError(f"{key}.joint must be left out in a replay: lengths come from the trace")


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
