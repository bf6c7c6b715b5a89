"""From files and flags to the question that a plan answers, and from its answer to a cluster file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import tomli_w

from loadlab.campaign.plan import Question
from loadlab.campaign.plan_trials import Base, traffic_of
from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.specs import find, gpus, models
from loadlab.errors import InputError
from loadlab.planning.candidates import Outcome
from loadlab.planning.configurations import Lattice, usual_quantisations
from loadlab.planning.offers import offers_of
from loadlab.planning.prices import PriceBook, Rent, load_price_book
from loadlab.scenario.arrivals import Modulated, Phases
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.profiles import Diurnal, Hourly, Ramp, Spike, Step
from loadlab.scenario.rates import mean_rate_per_s, with_rate
from loadlab.schema import as_table, closest, shown, shown_path
from loadlab.simulator.files import CLUSTER_SCHEMA, load_cluster
from loadlab.simulator.spec import ClusterSpec, PoolSpec, ShardedModel

SAMPLE = 200  # arrivals that are planned to see which models a scenario asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Flags as they were given, checked by nobody yet."""

    scenario: Scenario
    model: str | None
    cluster: Path | None
    gpus: Sequence[str]
    prices: Path
    rents: Sequence[str]
    lattice: Lattice  # but for its GPUs
    rate_per_s: float | None
    requests: int
    seed: int
    is_exhaustive: bool


def question_of(asked: Asked) -> Question:
    """The question. Raises InputError on a GPU, model or price that is not known, or a scenario or cluster that cannot be planned for."""
    rate_per_s = asked.rate_per_s or mean_rate_per_s(asked.scenario)
    base = _base(asked)
    lattice = replace(asked.lattice, gpus=_gpus(asked.gpus))
    model = find(models(), base.model, what="model")
    for gpu in lattice.gpus:
        if not (lattice.quantisations or usual_quantisations(model, gpus()[gpu])):
            raise InputError(f"= {gpu}: it has no kernels for any format of {base.model}", key="--gpus")
    book, source = load_price_book(asked.prices), shown_path(asked.prices)
    chosen = _chosen_rents(asked.rents, book, source)
    return Question(
        base=base,
        traffic=traffic_of(asked.scenario, rate_per_s, asked.seed),
        lattice=lattice,
        offers={gpu: offers_of(book, gpu, chosen, source) for gpu in lattice.gpus},
        requests=asked.requests,
        is_exhaustive=asked.is_exhaustive,
    )


def _gpus(names: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name in names:
        known = gpu_name(name)
        if known is None:
            raise InputError(
                f"= {shown(name)} is not in the catalogue; it has: {', '.join(sorted(gpus()))}{closest(name.upper(), list(gpus()))}",
                key="--gpus",
            )
        found.append(known)
    return tuple(dict.fromkeys(found))


def _chosen_rents(names: Sequence[str], book: PriceBook, source: str) -> dict[str, str]:
    """The entry that was chosen, by GPU."""
    chosen = {}
    for name in names:
        entry = book.find("rents", name, source)
        assert isinstance(entry, Rent)
        gpu = gpu_name(entry.gpu)
        if gpu is None:
            raise InputError(f"= {shown(name)} rents out {entry.gpu}, which is not in the catalogue", source=source, key="--rent")
        chosen[gpu] = name
    return chosen


def _base(asked: Asked) -> Base:
    """What candidates share: a cluster file's pool, or the defaults of the engine with the model that was named."""
    wanted = build_plan(with_rate(asked.scenario, mean_rate_per_s(asked.scenario), SAMPLE), asked.seed).model.names
    if asked.cluster is None:
        if asked.model is None:
            raise InputError("is missing: name a model of `loadlab catalog models`, or give --cluster FILE", key="--model")
        model = _model(asked.model)
        some = gpus()[_gpus(asked.gpus)[0]]
        hardware = ShardedModel(model=model, quantisation=some.formats[0], gpu=_gpus(asked.gpus)[0])
        return Base(model=model, pool=PoolSpec(serves=tuple(wanted), hardware=hardware))
    spec, source = load_cluster(asked.cluster), shown_path(asked.cluster)
    serving = [pool for pool in spec.pools.values() if set(pool.serves) & set(wanted)]
    if len(serving) != 1 or not isinstance(serving[0].hardware, ShardedModel) or spec.tiers or serving[0].prefill_pool:
        problem = (
            f"must have one pool of a catalogue model that serves {', '.join(wanted)}, without tiers or a prefill pool: plan searches one "
            "pool; for the parts of a larger cluster, give each a file of its own"
        )
        raise InputError(problem, source=source, key="pools")
    pool = serving[0]
    assert isinstance(pool.hardware, ShardedModel)
    model = pool.hardware.model if asked.model is None else _model(asked.model)
    return Base(
        model=model,
        pool=replace(pool, serves=tuple(wanted), tier=None, region=None, autoscale=None),
        hardware=pool.hardware,
        calibration=spec.calibration,
    )


def _model(name: str) -> str:
    known = model_name(name)
    if known is None:
        find(models(), name, what="model")  # says what there is
        raise AssertionError(name)
    return known


def notes_of(asked: Asked) -> list[str]:
    """What a person should know of the question."""
    laws = [getattr(asked.scenario.load, "arrivals", None), *(c.arrivals for c in asked.scenario.classes.values())]
    if any(isinstance(law, Diurnal | Hourly | Modulated | Phases | Ramp | Spike | Step) for law in laws):
        return [
            "the load changes over the scenario's time, and runs see its first arrivals only, at its mean rate: plan for the busiest hour "
            "with a steady law and --rate"
        ]
    return []


def gpu_facts(question: Question) -> dict[str, dict[str, Any]]:
    """Where the prediction of each GPU comes from, and how far measured values lay from it."""
    found = {}
    for gpu in question.lattice.gpus:
        band = question.base.band_of(gpu)
        words = "calibrated" if band.is_calibrated else "uncalibrated, of the data sheet's class"
        found[gpu] = {
            "calibration": f"{words}, constants of the cluster file" if question.base.is_calibrated_for(gpu) else words,
            "is_calibrated": band.is_calibrated,
            "step_scale": [band.low, band.high],
            "ttft_scale": [band.ttft_low, band.ttft_high],
            "rows": band.rows,
            "source": band.source,
        }
    return found


def cluster_text(outcome: Outcome, question: Question, name: str, description: str) -> str | None:
    """The chosen cluster as a file that `run`, `serve` and `capacity` take; None where nothing was chosen."""
    if outcome.chosen is None:
        return None
    spec: ClusterSpec = question.base.cluster_of(outcome.chosen.candidate.one, outcome.chosen.seen.replicas, name, description)
    return tomli_w.dumps({"schema": CLUSTER_SCHEMA, **as_table(spec)})


def header_of(question: Question) -> dict[str, Any]:
    """What makes two plans the same: for their journal."""
    return {
        "scenario": orjson.loads(question.traffic.text),
        "rate_per_s": question.traffic.rate_per_s,
        "seed": question.traffic.seed,
        "base": question.base.conditions(),
        "lattice": as_table(question.lattice),
        "offers": {gpu: [as_table(offer) for offer in known] for gpu, known in question.offers.items()},
        "requests": question.requests,
        "is_exhaustive": question.is_exhaustive,
    }


def scenario_digest(question: Question) -> str:
    """sha256 of the scenario, its SLO included."""
    return f"sha256:{hashlib.sha256(question.traffic.text).hexdigest()}"


def limits_of(question: Question) -> Mapping[str, float]:
    """The limits that bind every class without its own, seconds by latency."""
    default = question.traffic.slos.default
    return {name: value for name in ("ttft", "tpot", "e2e") if (value := getattr(default, name)) is not None}
