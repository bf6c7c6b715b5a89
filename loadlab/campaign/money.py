"""From files to break-evens: hosting files and runs read, prices looked up, tiers billed, the decision judged."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadlab.campaign.capacity import Bounds, Say, find_capacity, summarise_study
from loadlab.campaign.capacity_file import read_study
from loadlab.campaign.probing import Probing
from loadlab.campaign.study_band import capacity_scales, edges_text
from loadlab.errors import InputError
from loadlab.planning.break_even import BreakEven, break_even
from loadlab.planning.curves import LineCurve
from loadlab.planning.decision import Place, Question, Verdict, decide
from loadlab.planning.hosting import Against, Capacity, Hosting, load_hosting
from loadlab.planning.inputs import own_curve
from loadlab.planning.prices import PriceBook, load_price_book
from loadlab.planning.resolve import api_usd_per_million, resolve
from loadlab.planning.routing import (
    MixBill,
    Routed,
    Style,
    Tier,
    TierBill,
    Tiers,
    load_tiers,
    premium_loss_usd,
    quality_of,
    tier_tokens_per_day,
)
from loadlab.record.manifest import HostFacts
from loadlab.record.run_dir import RunDir
from loadlab.report.capacity_files import CAPACITY_FILE
from loadlab.report.summary import summarise_run
from loadlab.scenario.library import find_shipped
from loadlab.scenario.model import Scenario
from loadlab.schema import SORTS, as_table, closest, read_table, read_toml, shown, shown_path, sort_of
from loadlab.slo import read_slos


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A hosting case with its price book, and where it was read."""

    hosting: Hosting
    book: PriceBook | None
    source: str


def load_case(capacity: Path, hosting: Path | None, prices: Path | None, changes: Mapping[str, Any], demand: Demand | None = None) -> Case:
    """The case of a hosting file; or of what takes the place of its capacity: a capacity study, a run directory, or a cluster file.

    A cluster is simulated under `demand` until its capacity is certified. `changes` are dotted keys of the file and their values, as text
    or number; None takes one out. Raises InputError.
    """
    capacity = find_shipped(find_shipped(capacity, "hosting"), "clusters")
    kind = None if capacity.is_dir() or capacity.suffix == ".json" else sort_of(read_toml(capacity).get("schema"))
    if kind == SORTS["hosting"] or (kind != SORTS["cluster"] and capacity.suffix == ".toml"):
        if hosting is not None:
            raise InputError("is a hosting file itself: leave --hosting out, or give a measurement", source=shown_path(capacity))
        file, found = capacity, None
    else:
        if hosting is None:
            raise InputError("tells no cost: give --hosting FILE too, for what its GPUs and tokens cost", source=shown_path(capacity))
        file = find_shipped(hosting, "hosting")
        found = simulated_capacity(capacity, demand) if kind == SORTS["cluster"] else measured_capacity(capacity)
    case = _changed(load_hosting(file), changes, shown_path(file))
    if found is not None:
        case = replace(case, capacity=found)
    return Case(hosting=case, book=load_book(case.prices, prices, file), source=shown_path(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The traffic under which a cluster's capacity is simulated, its SLO filled in; progress as `find_capacity` tells it."""

    scenario: Scenario
    seed: int
    host: HostFacts
    say: Say


def simulated_capacity(cluster: Path, demand: Demand | None) -> Capacity:
    """One replica's capacity on a simulated cluster, with its interval. Raises InputError without a demand, or where there is none."""
    if demand is None:
        problem = "is a cluster: give --scenario FILE too, for the traffic and the SLO at which it is to be simulated"
        raise InputError(problem, source=shown_path(cluster))
    slos = read_slos(as_table(demand.scenario), demand.scenario.name)
    if slos is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms"', source=demand.scenario.name)
    probing = Probing(scenario=demand.scenario, target=cluster, slos=slos, seed=demand.seed, host=demand.host, keep_rows_in=None)
    result = find_capacity(probing, Bounds(), None, demand.say)
    return capacity_of_study(summarise_study(result, probing, "", {}, ""), shown_path(cluster))


def load_book(named: Path | None, given: Path | None, file: Path) -> PriceBook | None:
    """The price book on the command line, else the one that a file names, relative to it; None if there is neither."""
    if given is not None:
        return load_price_book(find_shipped(given, "prices"))
    return None if named is None else load_price_book(file.parent / named)


def _changed(case: Hosting, changes: Mapping[str, Any], source: str) -> Hosting:
    if not changes:
        return case
    table = as_table(case)
    for key, text in changes.items():
        *parents, last = key.split(".")
        place = table
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"{shown(key)}: {shown(parent)} is not a table", key="--set")
        if text is None:
            place.pop(last, None)
        else:
            place[last] = _value(text) if isinstance(text, str) else text
    return read_table(Hosting, table, f"{source} with --set")


def _value(text: str) -> Any:
    """A number where it is one, else the text: the schema reads units."""
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def measured_capacity(path: Path) -> Capacity:
    """The capacity in a study's capacity.json, or its folder; or what a run directory served. Raises InputError."""
    file = path / CAPACITY_FILE if path.is_dir() else path
    if not file.is_file():
        return capacity_of_run(path)
    return capacity_of_study(read_study(file), shown_path(file))


def capacity_of_study(study: Mapping[str, Any], source: str) -> Capacity:
    """The capacity of one replica as a capacity study found it, with its 90 % interval. Raises InputError where it found none.

    The interval of a simulated one is widened by the band of its step times: chance alone would be a few per cent.
    """
    found, tokens = study["capacity_per_s"], study["tokens_per_arrival"]
    replicas = sum(pool.get("replicas", 0) for pool in study["conditions"])
    if found["value"] is None:
        raise InputError(f"has no capacity to count with: {study['sentence']}", source=source)
    if tokens is None or replicas == 0:
        lacking = "how many tokens an arrival brings" if replicas else "how many replicas served it"
        advice = "give a hosting file with capacity.requests_per_s (of one replica) and capacity.tokens_per_request"
        raise InputError(f"does not say {lacking} ({study['sentence']}); {advice}", source=source)
    interval = [found["low"] or study["certified_per_s"] or found["value"], found["high"] or found["value"]]
    kind = "simulated" if str(study["target"]).startswith("sim:") else "measured"
    down, up = capacity_scales(study)
    band = (
        ""
        if (down, up) == (1.0, 1.0)
        else f"; for the band of step times its ends are taken {down:.2f} and {up:.2f} times ({edges_text(study)})"
    )
    return Capacity(
        requests_per_s=found["value"] / replicas,
        tokens_per_request=tokens,
        low_share=min(1.0, interval[0] * down / found["value"]),
        high_share=max(1.0, interval[1] * up / found["value"]),
        source=f"{kind} capacity of {study['name']} on {study['target']}: {study['sentence']} ({study['requests']:,} requests){band}",
    )


def capacity_of_run(path: Path) -> Capacity:
    """What one replica of a run served. A run shows what was asked of it: unless it was saturated, it could do more.

    Raises InputError where nothing succeeded, or the number of replicas is not known.
    """
    run = RunDir.open(path)
    summary = summarise_run(run)
    served = [summary["throughput"][name]["value"] for name in ("prompt_tokens_per_s", "output_tokens_per_s")]
    replicas = sum(pool.get("replicas", 0) for pool in summary["conditions"])
    if None in served or sum(served) <= 0:
        raise InputError("has no successful requests, so it shows no capacity", source=shown_path(path))
    if replicas == 0:
        raise InputError(
            "does not say how many replicas served it; give a hosting file with capacity.tokens_per_s", source=shown_path(path)
        )
    kind = "simulated" if summary["engine"] == "simulation" else "measured"
    success = summary["totals"]["success_rate"]["value"]
    source = (
        f"{kind} run {summary['name']} ({summary['plan_digest'][:15]}), {summary['totals']['planned']:,} requests, success {success:.1%}, "
        f"{replicas} replicas: what was served, a lower bound unless the run was saturated"
    )
    return Capacity(tokens_per_s=sum(served) / replicas, source=source)


def compare(case: Case, apis: Mapping[str, Against], today: datetime.date, seed: int) -> list[BreakEven]:
    """The case against each API of `apis`, which are the file's own where they bear its names; without any, against all of the file's.

    Raises InputError where neither the file nor the price book knows one.
    """
    for name, api in apis.items():
        if api.api == name and name not in case.hosting.against:
            _check_known(name, case)
    wanted = {name: case.hosting.against.get(name, api) for name, api in apis.items()}
    hosting = replace(case.hosting, against=wanted) if wanted else case.hosting
    return [break_even(hosting, case.book, name, today, seed=seed, source=case.source) for name in hosting.against]


def _check_known(name: str, case: Case) -> None:
    priced = () if case.book is None else tuple(case.book.apis)
    if name in priced:
        return
    own = list(case.hosting.against)
    book = "no price book" if case.book is None else f"price book {case.book.name!r}, which has: {', '.join(sorted(priced)) or 'nothing'}"
    problem = f"= {shown(name)} is none of this file's ({', '.join(own)}), nor of {book}{closest(name, [*own, *priced])}"
    raise InputError(problem, source=case.source, key="--against")


# Tiers


def route(path: Path, prices: Path | None, tokens_per_day: float | None) -> Routed:
    """Bills of the mix in a tiers file. Raises InputError."""
    path = find_shipped(path, "hosting")
    mix = load_tiers(path)
    if tokens_per_day is not None:
        mix = replace(mix, tokens_per_day=tokens_per_day)
    book = load_book(mix.prices, prices, path)
    bills = tuple(_bill(mix, style, book, path) for style in Style)
    expert = list(mix.tiers)[-1]
    alone = _tier_bill(expert, mix.tiers[expert], mix.tokens_per_day, mix, book, path)
    all_expert = MixBill(
        style=Style.ROUTER,
        asked_tokens_per_day=mix.tokens_per_day,
        tiers=(alone,),
        quality=quality_of(mix, alone.usd_per_month, {expert: 1.0}),
    )
    routed = bills[0]
    loss = premium_loss_usd(routed.usd_per_month, routed.quality, all_expert.usd_per_month, all_expert.quality)
    return Routed(mix=mix, bills=bills, all_expert=all_expert, premium_loss_usd=loss)


def _bill(mix: Tiers, style: Style, book: PriceBook | None, path: Path) -> MixBill:
    tokens = tier_tokens_per_day(mix, style)
    tiers = tuple(_tier_bill(name, tier, tokens[name], mix, book, path) for name, tier in mix.tiers.items())
    total = sum(tier.usd_per_month for tier in tiers)
    return MixBill(style=style, asked_tokens_per_day=mix.tokens_per_day, tiers=tiers, quality=quality_of(mix, total))


def _tier_bill(name: str, tier: Tier, tokens_per_day: float, mix: Tiers, book: PriceBook | None, path: Path) -> TierBill:
    if tier.hosting is None:
        against = Against(api=tier.api, per_million_usd=tier.per_million_usd, source=tier.source or None)
        price = api_usd_per_million(against, book, mix.output_share, mix.cached_share, mix.batch_share, f"{shown_path(path)}: tiers.{name}")
        usd = LineCurve(usd_per_million=price).usd_per_month(tokens_per_day)
        return TierBill(name=name, tokens_per_day=tokens_per_day, usd_per_month=float(usd), replicas=None)
    case = load_case(path.parent / tier.hosting, None, None, {})
    found = resolve(case.hosting, book or case.book, next(iter(case.hosting.against.values())), case.source)
    curve = own_curve(found.inputs, found.terms)
    return TierBill(
        name=name,
        tokens_per_day=tokens_per_day,
        usd_per_month=float(curve.usd_per_month(tokens_per_day)),
        replicas=int(curve.replicas(tokens_per_day)),
    )


# The decision


def judge(question: Question, path: Path, prices: Path | None, today: datetime.date, seed: int) -> Verdict:
    """The verdict on a decision file that was read from `path`. Raises InputError."""
    own = {}
    for name, option in question.options.items():
        if option.hosting is None:
            continue
        file = path.parent / option.hosting
        case = load_case(file, None, prices or (None if question.prices is None else path.parent / question.prices), {})
        hosting = replace(case.hosting, traffic=replace(case.hosting.traffic, tokens_per_day=question.tokens_per_day))
        api = question.api or next(iter(hosting.against))
        if api not in hosting.against:
            hosting = replace(hosting, against={api: Against(api=api)})
        own[Place(name)] = break_even(hosting, case.book, api, today, seed=seed, source=case.source)
    return decide(question, own)
