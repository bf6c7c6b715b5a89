"""A plan for machines (JSON): the chosen cluster, the front, the best of each GPU, and every loser with why it lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loadlab.planning.candidates import Candidate, Chosen, Cluster, Outcome
from loadlab.planning.configurations import FOUR_BITS
from loadlab.planning.curves import HOURS_PER_MONTH
from loadlab.planning.offers import Offer
from loadlab.planning.plan_search import Edge, Fate, Seen, front
from loadlab.report.break_even import usd_text
from loadlab.schema import as_table
from loadlab.units import GIB, format_duration

SCHEMA = "loadlab/plan/1"
CLUSTER_FILE = "cluster.toml"
LATENCY_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}
Json = dict[str, Any]


def summarise_plan(
    outcome: Outcome, facts: Mapping[str, Any], *, rate_per_s: float, budget: float, limits: Mapping[str, float],
    offers: Mapping[str, Sequence[Offer]], gpu_facts: Mapping[str, Mapping[str, Any]], cluster_text: str | None,
) -> Json:  # fmt: skip
    """The JSON of a plan. `limits`: those of the SLO that bind everybody, seconds by latency; `facts` stand in it as they are."""
    clusters = _clusters(outcome)
    wanted = [c for c in clusters if outcome.chosen is None or (c.seen.median if outcome.at_median else c.seen.edge).holds(budget)]
    on_front = {point.name for point in front([c.point(goodput(c.seen.median, rate_per_s)) for c in wanted])}
    rows = [_candidate(candidate, outcome) for candidate in outcome.candidates]
    return {
        "schema": SCHEMA,
        **facts,
        "rate_per_s": rate_per_s,
        "target_share": round(1 - budget, 12),
        "limits_s": dict(limits),
        "at_median": outcome.at_median,
        "sentence": sentence(outcome, rate_per_s),
        "chosen": None if outcome.chosen is None else _chosen(outcome.chosen, budget, rate_per_s),
        "cluster_toml": cluster_text,
        "wider": _wider(outcome),
        "best_of_each_gpu": _best_of_each_gpu(outcome),
        "front": [_cluster(c, budget, rate_per_s) for c in clusters if _name(c) in on_front],
        "clusters": [_cluster(c, budget, rate_per_s) for c in clusters],
        "fates": {fate.value: sum(candidate.fate is fate for candidate in outcome.candidates) for fate in Fate},
        "candidates": sorted(rows, key=_by_fate),
        "requests": sum(candidate.requests for candidate in outcome.candidates),
        "offers": {gpu: [_offer(offer) for offer in known] for gpu, known in offers.items()},
        "gpus": {gpu: dict(known) for gpu, known in gpu_facts.items()},
    }


def goodput(edge: Edge, rate_per_s: float) -> float:
    """Good requests a second of the whole load."""
    return rate_per_s * (1 - edge.level.bad_share)


def sentence(outcome: Outcome, rate_per_s: float) -> str:
    """The answer in a line."""
    chosen = outcome.chosen
    if chosen is None:
        return f"no cluster of the lattice holds {rate_per_s:.3g} arrivals a second at this SLO"
    one, n = chosen.candidate.one, chosen.seen.replicas
    replicas = f"{n} replica{'s' * (n > 1)} of " if one.gpus > 1 or n > 1 else ""
    bill = usd_text(chosen.usd_per_hour * HOURS_PER_MONTH)
    split = "" if one.gpus == 1 else f", {one.split}"
    text = f"{replicas}{one.gpus} x {one.gpu}, {one.quantisation.value}{split}: {bill} a month"
    if outcome.at_median:
        return f"nothing holds at the pessimistic edge of its band; at the median prediction {text}"
    if not chosen.is_proven:
        return f"{text}; held at the pessimistic edge of its band, but not proven with {chosen.requests:,} requests"
    return f"{text}; proven at the pessimistic edge of its band"


def _clusters(outcome: Outcome) -> list[Cluster]:
    """Every candidate of longer runs with every number of replicas that it was seen with, longest run last; stable ones only."""
    found: dict[tuple[str, int], Cluster] = {}
    for candidate in outcome.candidates:
        if candidate.seen is None or candidate.usd_per_hour is None:
            continue
        each = candidate.usd_per_hour / candidate.seen.replicas
        for seen in candidate.looks:
            if not seen.median.level.is_overloaded:
                found[candidate.one.name, seen.replicas] = Cluster(candidate=candidate, seen=seen, usd_per_hour=each * seen.replicas)
    return sorted(found.values(), key=lambda c: (c.usd_per_hour, _name(c)))


def _name(cluster: Cluster) -> str:
    return f"{cluster.candidate.one.name} x {cluster.seen.replicas}"


def _cluster(cluster: Cluster, budget: float, rate_per_s: float) -> Json:
    one = cluster.candidate.one
    return {
        "name": _name(cluster),
        **_shape(cluster.candidate),
        "replicas": cluster.seen.replicas,
        "gpus": one.gpus * cluster.seen.replicas,
        "usd_per_month": cluster.usd_per_hour * HOURS_PER_MONTH,
        "holds": cluster.seen.edge.holds(budget),
        "holds_at_median": cluster.seen.median.holds(budget),
        "goodput_per_s": goodput(cluster.seen.median, rate_per_s),
        **_latencies(cluster.seen),
    }


def _shape(candidate: Candidate) -> Json:
    return {"configuration": candidate.one.name, "gpu": candidate.one.gpu, "quantisation": candidate.one.quantisation.value}


def _latencies(seen: Seen) -> Json:
    """Each latency at the SLO's target: median prediction and pessimistic edge."""
    return {f"{name}_s": {"value": getattr(seen.median, f"{name}_s"), "high": getattr(seen.edge, f"{name}_s")} for name in LATENCY_WORDS}


def _edge(edge: Edge) -> Json:
    level = edge.level
    return {
        "bad_share": {"value": level.bad_share, "low": level.lower_bound(0.95), "high": level.upper_bound(0.95)},
        "n": level.n, "tau": level.tau, "is_overloaded": level.is_overloaded, "worst": edge.worst, "excess": edge.excess,
        "ttft_s": edge.ttft_s, "tpot_s": edge.tpot_s, "e2e_s": edge.e2e_s, "plan_digest": level.digest,
    }  # fmt: skip


def _chosen(chosen: Chosen, budget: float, rate_per_s: float) -> Json:
    one, n = chosen.candidate.one, chosen.seen.replicas
    return {
        **_shape(chosen.candidate),
        **{key: value for key, value in as_table(one).items() if key not in ("gpu", "quantisation")},
        "replicas": n,
        "gpus_per_replica": one.gpus,
        "gpus": one.gpus * n,
        "usd_per_hour": chosen.usd_per_hour,
        "usd_per_month": chosen.usd_per_hour * HOURS_PER_MONTH,
        "offer": _offer(chosen.offer),
        "billed_gpus": chosen.offer.billed_gpus(one.gpus * n),
        "is_proven": chosen.is_proven,
        "holds_at_edge": chosen.seen.edge.holds(budget),
        "goodput_per_s": goodput(chosen.seen.median, rate_per_s),
        "requests": chosen.requests,
        "plan_digest": chosen.seen.edge.level.digest,
        "edges": {"low": _edge(chosen.quick), "median": _edge(chosen.seen.median), "high": _edge(chosen.seen.edge)},
    }


def _offer(offer: Offer) -> Json:
    return {"name": offer.name, **asdict(offer.rent)}


def _best_of_each_gpu(outcome: Outcome) -> list[Json]:
    """The cheapest that holds on each GPU type, and why it is not chosen; the nearest miss where nothing does."""
    found = []
    for gpu in dict.fromkeys(candidate.one.gpu for candidate in outcome.candidates):
        own = [candidate for candidate in outcome.candidates if candidate.one.gpu == gpu]
        best = min(own, key=_rank)
        found.append({
            "gpu": gpu, "configuration": best.one.name, "fate": best.fate, "why": why(best, outcome),
            "replicas": None if best.seen is None else best.seen.replicas,
            "usd_per_month": None if best.usd_per_hour is None else best.usd_per_hour * HOURS_PER_MONTH,
        })  # fmt: skip
    return found


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    """Those that hold by cost, then the nearest misses, then those that do not fit, by how much."""
    fates = list(Fate)
    fate = fates.index(candidate.fate) if candidate.fate is not None else len(fates)
    cost = candidate.usd_per_hour or float("inf")
    if candidate.fate in (Fate.CHOSEN, Fate.COSTS_MORE, Fate.DOMINATED):
        return (0, cost, fate, candidate.one.name)
    if candidate.seen is not None:
        return (1, candidate.seen.edge.worst == "failed", candidate.seen.edge.excess, candidate.one.name)
    return (2, candidate.lacking_bytes or float("inf"), fate, candidate.one.name)


def _wider(outcome: Outcome) -> Json | None:
    """Where the winner's weights have 4 bits: the cheapest that holds with 8 or more, since answers of fewer bits are other answers."""
    chosen = outcome.chosen
    if chosen is None or chosen.candidate.one.quantisation not in FOUR_BITS:
        return None
    wide = [c for c in outcome.candidates if c.fate in (Fate.COSTS_MORE, Fate.DOMINATED) and c.one.quantisation not in FOUR_BITS]
    best = min(wide, key=_rank, default=None)
    if best is None or best.usd_per_hour is None or best.seen is None:
        return None
    return {
        **_shape(best),
        "replicas": best.seen.replicas,
        "usd_per_month": best.usd_per_hour * HOURS_PER_MONTH,
        "costs_more_share": best.usd_per_hour / chosen.usd_per_hour - 1,
    }


def _candidate(candidate: Candidate, outcome: Outcome) -> Json:
    seen = candidate.seen
    return {
        **_shape(candidate),
        "fate": candidate.fate,
        "why": why(candidate, outcome),
        "replicas": None if seen is None else seen.replicas,
        "usd_per_month": None if candidate.usd_per_hour is None else candidate.usd_per_hour * HOURS_PER_MONTH,
        "lacking_gib": None if candidate.lacking_bytes is None else candidate.lacking_bytes / GIB,
        "better": candidate.better,
        "requests": candidate.requests,
        "edge": None if seen is None else _edge(seen.edge),
        "median": None if seen is None else _edge(seen.median),
    }


def _by_fate(row: Json) -> tuple[Any, ...]:
    return (list(Fate).index(row["fate"]), row["usd_per_month"] or 0.0, row["lacking_gib"] or 0.0, row["configuration"])


def why(candidate: Candidate, outcome: Outcome) -> str:
    """Why it lost, in words."""
    match candidate.fate:
        case Fate.CHOSEN:
            return "cheapest that holds"
        case Fate.DOES_NOT_FIT:
            return f"does not fit by {(candidate.lacking_bytes or 0) / GIB:.2f} GiB on each GPU"
        case Fate.CANNOT_SPLIT:
            return candidate.problem
        case Fate.MISSES:
            assert candidate.idle is not None
            return f"misses however many there are: {_missed(candidate.idle)}, with next to no load"
        case Fate.TOO_MANY_GPUS:
            assert candidate.seen is not None
            return f"needs more than {candidate.seen.replicas * candidate.one.gpus} GPUs: {_missed(candidate.seen)}"
        case Fate.DOMINATED:
            return f"dominated by {candidate.better}: that is cheaper and faster, {_cost_against(candidate, outcome)}"
        case Fate.COSTS_MORE | None:
            return _cost_against(candidate, outcome)


def _cost_against(candidate: Candidate, outcome: Outcome) -> str:
    chosen = outcome.chosen
    assert candidate.seen is not None
    assert candidate.usd_per_hour is not None
    n = candidate.seen.replicas
    bill = f"{usd_text(candidate.usd_per_hour * HOURS_PER_MONTH)} a month with {n} replica{'s' * (n > 1)}"
    if chosen is None:
        return f"costs {bill}"
    more = candidate.usd_per_hour / chosen.usd_per_hour - 1
    if abs(more) < 0.005:
        ours, theirs = chosen.seen.median.ttft_s, candidate.seen.median.ttft_s
        return f"costs the same, {bill}; TTFT {format_duration(theirs)} against {format_duration(ours)}"
    return f"costs {100 * more:,.0f} % {'more' if more > 0 else 'LESS, but a longer run failed'}: {bill}"


def _missed(seen: Seen) -> str:
    """By what a limit is missed at the pessimistic edge."""
    edge = seen.edge
    if edge.worst == "failed":
        return f"{100 * edge.excess:.0f} % of requests fail"
    words = LATENCY_WORDS.get(edge.worst, edge.worst)
    value = getattr(edge, f"{edge.worst}_s", None)
    return f"misses {words} by {100 * edge.excess:,.0f} % ({format_duration(value)} at the target)"
