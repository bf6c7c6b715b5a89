"""Capacity from a few levels at moderate load: measured, calibrated on, and simulated where nothing was measured."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tomli_w

from loadlab.campaign.bracketing import bracket
from loadlab.campaign.calibrate import Calibrated, calibrate, save_cluster
from loadlab.campaign.capacity import budget_of, from_levels
from loadlab.campaign.probing import Probing, level_of_table, run_probe
from loadlab.campaign.trial import Trial, prepare, record
from loadlab.campaign.tuning import with_steps
from loadlab.engines.simulation import SimulationEngine
from loadlab.errors import InputError
from loadlab.planning.levels import Level
from loadlab.planning.search import Answer, Ask, SearchResult
from loadlab.record.manifest import HostFacts, Manifest, Status
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import load_table
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.rates import mean_rate_per_s, with_rate
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.sequence import Sequence as Simulated
from loadlab.simulator.spec import ClusterSpec
from loadlab.units import PS_PER_S

SHARES = (0.30, 0.45, 0.57, 0.68)  # of saturation: where to measure. Beyond 70 % a level's tails are those of its length
SIMULATED_REQUESTS = 40_000  # a rate, until the capacity is bracketed by NEAR; then FINE times as many
NEAR, FINE = 1.1, 4  # 40,000 of one seed leave +-2 % of chance where a bad share grows slowly (docs/validation.md)
SATURATION_REQUESTS = 3000
CLOSE = 1.02  # rates of the last bracket
WIDEN = 1.25
CALIBRATED_FILE = "calibrated.toml"
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """What was measured, the calibration, and the capacity that follows; `result` is None where the calibration was refused.

    `pairs`: the level measured at a rate, and the same rate simulated. `ends`: capacity with every step as fast and as slow as the
    calibration's band allows; None: not bracketed there.
    """

    calibrated: Calibrated
    saturation_per_s: float
    pairs: tuple[tuple[Level, Level], ...]
    result: SearchResult | None
    ends: tuple[float | None, float | None]
    runs: tuple[Path, ...]

    @property
    def low_per_s(self) -> float | None:
        """Lower end: the chance of the simulation and the band of its steps together."""
        curve = None if self.result is None else self.result.curve
        return None if curve is None or curve.low_per_s is None or self.ends[1] is None else min(curve.low_per_s, self.ends[1])

    @property
    def high_per_s(self) -> float | None:
        """Upper end."""
        curve = None if self.result is None else self.result.curve
        return None if curve is None or curve.high_per_s is None or self.ends[0] is None else max(curve.high_per_s, self.ends[0])


def find_hybrid(
    probing: Probing, cluster: Path, requests: int, out: Path, as_of: str, say: Say, simulated: int = SIMULATED_REQUESTS, *,
    is_resumed: bool = False,
) -> Hybrid:  # fmt: skip
    """Measures len(SHARES) levels of `requests` into `out`/runs, calibrates `cluster` on them, and searches on the simulator.

    Each level's rate is a share of what the simulator, calibrated on the levels before it, says that the target can serve. So a study
    that `is_resumed` asks for the same levels, and takes those that are there whole. Raises InputError where no level is fit to
    calibrate on, or `out` has levels and the study is a new one.
    """
    if not is_resumed and (out / "runs").is_dir() and any((out / "runs").iterdir()):
        raise InputError("has levels of a study: pass --resume to go on with it, or another --out", source=str(out))
    runs, saturation = _measured_levels(probing, cluster, requests, out, as_of, say, is_resumed=is_resumed)
    say(f"calibrating on {len(runs)} levels", 0, len(runs) * requests)
    calibrated = calibrate(runs, cluster, as_of, _silent)
    if calibrated.is_refused:
        return Hybrid(
            calibrated=calibrated, saturation_per_s=saturation, pairs=(), result=None, ends=(None, None), runs=tuple(runs)
        )  # fmt: skip
    save_cluster(calibrated, out / CALIBRATED_FILE)
    saturation = saturation_per_s(calibrated.spec, probing.scenario, probing.seed)
    simulator = _Simulator(probing, out / CALIBRATED_FILE, calibrated, simulated, say)
    pairs = tuple((measured, simulator.level(measured.rate_per_s, 1.0)) for measured in (_measured(path, probing) for path in runs))
    result = simulator.search(0.85 * saturation)
    block = calibrated.spec.calibration
    assert block is not None, "a calibration has its block"
    point = None if result.curve is None else result.curve.rate_per_s
    ends = (
        (None, None)
        if point is None
        else tuple(simulator.capacity(point / factor, factor) for factor in (block.low_ratio, block.high_ratio))
    )
    return Hybrid(
        calibrated=calibrated, saturation_per_s=saturation, pairs=pairs, result=_predicted(result),
        ends=(ends[0], ends[1]), runs=tuple(runs),
    )  # fmt: skip


def _measured_levels(
    probing: Probing, cluster: Path, requests: int, out: Path, as_of: str, say: Say, *, is_resumed: bool
) -> tuple[list[Path], float]:
    """The run of each level, and the saturation, 1/s, by which the last ones were chosen."""
    saturation = saturation_per_s(load_cluster(cluster), probing.scenario, probing.seed)
    runs: list[Path] = []
    for number, share in enumerate(SHARES):
        rate = share * saturation
        path = out / "runs" / f"{number:02d}-{rate:.4g}-per-s"
        trial = prepare(with_rate(probing.scenario, rate, requests), probing.target, probing.seed + number)

        def shown(done: int, most: int, rate: float = rate, number: int = number) -> None:
            say(f"level {number + 1} of {len(SHARES)}: {rate:.4g}/s", done, most)

        if not (is_resumed and _is_whole(path, trial, probing.host)):
            record(trial, path, probing.host, shown, replace=True)
        runs.append(path)
        if number == 0:  # the file's own idea of saturation may be far off; one light level corrects it
            saturation = saturation_per_s(calibrate(runs, cluster, as_of, _silent).spec, probing.scenario, probing.seed)
    return runs, saturation


def _is_whole(path: Path, trial: Trial, host: HostFacts) -> bool:
    """True if `path` holds this very trial, of the same requests on the same target, run to its end."""
    try:
        found = RunDir.open(path).manifest
    except InputError:
        return False
    wanted = trial.manifest(host)
    return found.status is Status.COMPLETE and _what_ran(found) == _what_ran(wanted)


def _what_ran(manifest: Manifest) -> tuple[object, ...]:
    return manifest.plan_digest, manifest.target, json.loads(json.dumps(manifest.conditions))


def _silent(*_: object) -> None: ...


def saturation_per_s(spec: ClusterSpec, scenario: Scenario, seed: int) -> float:
    """Arrivals a second that the cluster serves when more come than it can: successes over the middle of an overloaded run.

    Refusals of full queues and late requests count as not served.
    """
    rate = mean_rate_per_s(scenario)
    best = 0.0
    while True:
        served = _served_per_s(spec, with_rate(scenario, rate, SATURATION_REQUESTS), seed)
        if served < 0.9 * rate and served <= 1.05 * best:
            return max(best, served)
        best = max(best, served)
        rate *= 2.0


def _served_per_s(spec: ClusterSpec, scenario: Scenario, seed: int) -> float:
    plan = build_plan(scenario, seed)
    ends: list[int] = []

    def note(ended: list[Simulated]) -> None:
        ends.extend(request.ended_ps for request in ended if request.cause is None and request.ended_ps is not None)

    SimulationEngine(SimulatedCluster(spec, spec.name, seed), itl=False).follow(plan, note, lambda *_: None)
    arrivals = int(np.count_nonzero(~np.isnan(plan.arrival_s)))
    times = np.sort(np.array(ends, dtype=np.float64)) / PS_PER_S
    if len(times) < 20:
        raise InputError("serves next to nothing of this scenario, so it has no capacity", source=spec.name)
    middle = times[len(times) // 5 : 4 * len(times) // 5]
    return float((len(middle) - 1) / max(middle[-1] - middle[0], 1e-9)) * arrivals / len(plan)


def _measured(path: Path, probing: Probing) -> Level:
    run = RunDir.open(path)
    table = load_table(run).in_due_order()
    due = table.scheduled_s[~np.isnan(table.scheduled_s)]
    rate = (len(due) - 1) / float(due[-1] - due[0])
    return replace(level_of_table(table, probing.slos, rate), digest=run.manifest.plan_digest, run=path.name)


def _predicted(result: SearchResult) -> SearchResult:
    """A prediction certifies nothing."""
    answer = Answer.NOT_CERTIFIED if result.answer is Answer.CERTIFIED else result.answer
    return replace(result, answer=answer, certified_per_s=None, certificate=None)


class _Simulator:
    """The calibrated cluster at a rate, each step so many times as long."""

    def __init__(self, probing: Probing, file: Path, calibrated: Calibrated, requests: int, say: Say) -> None:
        self._probing, self._file, self._calibrated, self._requests, self._say = probing, file, calibrated, requests, say
        self._known: dict[tuple[float, float, int], Level] = {}

    def level(self, rate_per_s: float, factor: float, requests: int | None = None) -> Level:
        """What many requests show there. Every rate and factor with the same seed: differences are theirs, not chance."""
        n = requests or self._requests
        key = (rate_per_s, factor, n)
        if key not in self._known:
            with tempfile.TemporaryDirectory() as folder:
                file = self._file
                if factor != 1.0:
                    file = Path(folder) / "scaled.toml"
                    file.write_bytes(tomli_w.dumps(_scaled(self._calibrated, factor)).encode())
                probing = replace(self._probing, target=file, keep_rows_in=None)
                ask = Ask(rate_per_s=rate_per_s, looks=(n,), judge=lambda _: None)
                self._known[key] = run_probe(probing, ask, 1000, lambda done, most: self._say(f"simulated: {rate_per_s:.4g}/s", done, most))
        return self._known[key]

    def search(self, first_per_s: float) -> SearchResult:
        """Rates until two, NEAR to each other, hold and do not hold the SLO; then again, CLOSE and with FINE times the requests."""
        budget = budget_of(self._probing.slos)
        levels = self._bracket(first_per_s, 1.0, self._requests, NEAR, WIDEN)
        point = from_levels(levels, budget).curve
        if point is None or point.rate_per_s is None:
            return from_levels(levels, budget)
        fine = self._bracket(point.rate_per_s, 1.0, FINE * self._requests, CLOSE, NEAR**0.5)
        known = [level.rate_per_s for level in fine]
        return from_levels([*fine, *(level for level in levels if not min(known) <= level.rate_per_s <= max(known))], budget)

    def capacity(self, first_per_s: float, factor: float) -> float | None:
        """The point alone, at steps so many times as long."""
        curve = from_levels(self._bracket(first_per_s, factor, self._requests, CLOSE, WIDEN), budget_of(self._probing.slos)).curve
        return None if curve is None else curve.rate_per_s

    def _bracket(self, first_per_s: float, factor: float, requests: int, close: float, widen: float) -> list[Level]:
        budget = budget_of(self._probing.slos)
        return bracket(lambda rate: self.level(rate, factor, requests), first_per_s, budget, close=close, widen=widen)


def _scaled(calibrated: Calibrated, factor: float) -> dict[str, object]:
    table = dict(calibrated.table)
    spec = with_steps(calibrated.spec, factor)
    pools = {}
    for name, pool in table["pools"].items():
        hardware = spec.pools[name].hardware
        keys = ("step_scale", "step_s", "per_decode_s", "per_prefill_token_s", "per_kv_token_s")
        pools[name] = pool | {"hardware": pool["hardware"] | {key: getattr(hardware, key) for key in keys if hasattr(hardware, key)}}
    return table | {"pools": pools}
