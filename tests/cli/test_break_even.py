"""Golden figures of money, from the TOML files in scenarios/ through the command line; and broken books and cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import SCENARIOS, Command

HOSTING = SCENARIOS / "hosting"
L40S, BIG = HOSTING / "l40s-70b.toml", HOSTING / "1p5t-h200.toml"


def compare(command: Command, *arguments: str | Path) -> dict[str, Any]:
    answer = command("break-even", "--capacity", *arguments, "--json", "-q")
    assert answer.code == 0, answer.err
    comparison: dict[str, Any] = json.loads(answer.out)["comparisons"][0]
    return comparison


def millions(tokens_per_day: float | None) -> float | None:
    return None if tokens_per_day is None else round(tokens_per_day / 1e6, 2)


def spans(found: dict[str, Any]) -> list[list[float | None]]:
    return [[millions(low), millions(high)] for low, high in found["crossings"]["own_also_wins"]]


@pytest.mark.parametrize(
    ("flags", "permanent", "also"),
    [
        ([L40S], 29.07, [[19.38, 24.81]]),
        ([HOSTING / "l40s-70b-staffed.toml"], 60.06, []),
        ([L40S, "--staff", "3500"], 60.06, []),
        ([L40S, "--set", "hardware.rent=l40s-nebius"], 55.11, [[41.33, 49.62]]),
        ([L40S, "--set", "hardware.rent=l40s-nebius", "--staff", "3500"], 103.98, [[90.20, 99.23]]),
        ([L40S, "--against", "meta-llama-3-3-70b-instruct"], None, []),
        ([L40S, "--against", "llama-3-3-70b-instruct-turbo"], None, []),
        ([L40S, "--against", "premium"], 29.07, [[19.38, 24.81]]),
        ([L40S, "--api-price", "0.80"], None, []),
        ([BIG], 444.22, [[333.16, 419.53]]),
        ([BIG, "--staff", "30000"], 682.04, [[570.99, 629.30]]),
        ([BIG, "--set", "capacity.tokens_per_s=2427.84"], None, []),  # 100B active: 32/100 of the tokens
        ([BIG, "--set", "replica.gpus=16"], None, []),  # FP8
    ],
)
def test_break_evens_to_the_digit(command: Command, flags: list[str | Path], permanent: float | None, also: list[list[float]]) -> None:
    found = compare(command, *flags)
    assert millions(found["crossings"]["permanent_tokens_per_day"]) == permanent
    assert spans(found) == also
    assert found["verdict"].startswith("never: " if permanent is None else "self-hosting is cheaper for good from ")


def test_the_bills_at_thirty_million_a_day(command: Command) -> None:
    found = compare(command, L40S)
    at = found["at_volume"]
    assert round(found["replica_tokens_per_day"] / 1e6, 3) == 24.808
    assert (at["replicas"], round(at["own_usd_per_month"], 2), round(at["api_usd_per_month"], 2)) == (3, 4774.20, 4927.50)
    assert round(found["marginal_usd_per_million"], 2) == 2.11
    assert round(found["api_usd_per_million"], 2) == 5.40


@pytest.mark.parametrize(
    ("flags", "marginal"),
    [([BIG], 4.12), ([BIG, "--set", "capacity.tokens_per_s=2427.84"], 12.87), ([BIG, "--set", "replica.gpus=16"], 8.24)],
)
def test_marginal_cost_of_the_large_model(command: Command, flags: list[str | Path], marginal: float) -> None:
    assert round(compare(command, *flags)["marginal_usd_per_million"], 2) == marginal


@pytest.mark.parametrize(("volume", "months"), [("30M", 97.85), ("60M", 4.30), ("100M", 2.18), ("200M", 0.89)])
def test_payback_by_volume(command: Command, volume: str, months: float) -> None:
    assert round(compare(command, L40S, "--volume", volume)["at_volume"]["payback_months"], 2) == months


@pytest.mark.parametrize(
    ("file", "router", "cascade", "replicas"),
    [("routing-95.toml", 25_250.70, 26_842.10, 13), ("routing-95-api.toml", 12_191.00, 12_592.50, None)],
)
def test_routing_to_the_digit(command: Command, file: str, router: float, cascade: float, replicas: int | None) -> None:
    answer = command("break-even", "--tiers", HOSTING / file, "--json", "-q")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)["mixes"][0]
    assert round(found["all_expert"]["usd_per_month"], 2) == 91_250.00
    assert [round(found["styles"][style]["usd_per_month"], 2) for style in ("router", "cascade")] == [router, cascade]
    assert found["styles"]["router"]["tiers"]["small"]["replicas"] == replicas


def test_a_run_gives_its_throughput_and_says_that_it_is_a_lower_bound(command: Command, tmp_path: Path) -> None:
    run = command(
        "run", SCENARIOS / "smoke.toml", "--target", f"sim:{SCENARIOS}/clusters/t4-14b.toml", "--out", tmp_path / "r", "-q", "--no-report"
    )
    assert run.code == 0
    answer = command("break-even", "--capacity", tmp_path / "r", "--hosting", L40S, "--json", "-q")
    found = json.loads(answer.out)
    served = json.loads((tmp_path / "r" / "summary.json").read_text())["throughput"]
    tokens_per_s = served["prompt_tokens_per_s"]["value"] + served["output_tokens_per_s"]["value"]
    assert found["comparisons"][0]["inputs"]["tokens_per_s"] == pytest.approx(tokens_per_s)
    assert "a lower bound unless the run was saturated" in found["capacity_source"]
    assert command("break-even", "--capacity", tmp_path / "r").code == 2


def test_a_capacity_study_hands_its_interval_on(command: Command, tmp_path: Path) -> None:
    target = ["--target", f"sim:{SCENARIOS}/clusters/t4-14b.toml", "--slo", "ttft=2s", "--slo", "target=90%"]
    study = command("capacity", SCENARIOS / "smoke.toml", *target, "--rates", "0.3,1,3,6/s", "--requests", "400", "--out", tmp_path, "-q")
    assert study.code == 0, study.err
    known = json.loads((tmp_path / "capacity.json").read_bytes())
    answer = command("break-even", "--capacity", tmp_path, "--hosting", L40S, "--json", "-q")
    found = json.loads(answer.out)
    rate = known["capacity_per_s"]
    assert found["comparisons"][0]["inputs"]["tokens_per_s"] == pytest.approx(rate["value"] * known["tokens_per_arrival"])
    assert found["comparisons"][0]["uncertainty"]["spreads"]["tokens_per_s"] == pytest.approx(
        [rate["low"] / 1.39 / rate["value"], rate["high"] / 0.72 / rate["value"]]  # the band of a T4's steps: -28 to +39 %
    )
    assert found["capacity_source"].startswith("simulated capacity of smoke on sim:")
    (tmp_path / "capacity.json").write_text("{")
    assert "is not JSON" in command("break-even", "--capacity", tmp_path / "capacity.json", "--hosting", L40S).err


def test_a_cluster_is_simulated_at_the_scenarios_slo(command: Command, tmp_path: Path) -> None:
    scenario = (SCENARIOS / "smoke.toml").read_text() + '\n[slo]\nttft = "2s"\ntarget = "90%"\n'
    (tmp_path / "s.toml").write_text(scenario)
    cluster = SCENARIOS / "clusters" / "t4-14b.toml"
    answer = command("break-even", "--capacity", cluster, "--hosting", L40S, "--scenario", tmp_path / "s.toml", "--json", "-q")
    assert answer.code == 0, answer.err
    assert "proven at 95 %" in json.loads(answer.out)["capacity_source"]
    assert "give --scenario FILE too" in command("break-even", "--capacity", cluster, "--hosting", L40S).err
    assert "give --hosting FILE too" in command("break-even", "--capacity", cluster).err


def test_equal_seeds_give_equal_bytes_and_another_seed_other_draws(command: Command) -> None:
    one, two, other = (command("break-even", "--capacity", L40S, "--json", "-q", "--seed", seed).out for seed in ("1", "1", "2"))
    assert one == two
    assert json.loads(one)["comparisons"][0]["uncertainty"] != json.loads(other)["comparisons"][0]["uncertainty"]


BOOK = """schema = "loadlab/prices/1"
name = "book"
[rents.l40s]
gpu = "L40S"
provider = "p"
per_gpu_hour = 1.0
source = "s"
as_of = "2026-11-01"
[apis.a]
provider = "p"
model = "m"
input_per_million = 3
output_per_million = 15
source = "s"
as_of = "2026-11-01"
"""
CASE = """schema = "loadlab/hosting/1"
name = "case"
prices = "book.toml"
[replica]
model = "m"
gpu = "L40S"
gpus = 2
[capacity]
tokens_per_s = 900
source = "s"
[hardware]
kind = "rented"
rent = "l40s"
[traffic]
tokens_per_day = "30M"
output_share = 0.2
[against.a]
api = "a"
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("book", 'source = "s"\nas_of', "as_of", "rents.l40s.source is missing"),
        ("book", 'source = "s"', 'source = " "', "must say where the figure comes from"),
        ("book", "per_gpu_hour = 1.0", "per_gpu_hour = -1", "rents.l40s.per_gpu_hour = -1 must be > 0"),
        ("book", "2026-11-01", "yesterday", "as_of = 'yesterday' must be a day such as"),
        ("book", "2026-11-01", "2026-13-01", "must be a day such as"),
        ("book", 'gpu = "L40S"', 'gpu = "T4"', "hardware.rent = 'l40s' is the price of a T4, and the replica is of L40S"),
        ("book", 'as_of = "2026-11-01"', 'as_of = "2026-11-01"\ncurrency = "EUR"', "has no rate of exchange; add [rates.EUR]"),
        ("book", "input_per_million = 3\n", "", "apis.a.input_per_million is missing"),
        ("book", "[apis.a]", "[apis.b]", "apis = 'a' is not in price book 'book'"),
        ("book", "prices/1", "prices/2", "is not one that this version reads"),
        ("case", 'prices = "book.toml"\n', "", "there is no price book: give --prices BOOK"),
        ("case", 'prices = "book.toml"', 'prices = "none.toml"', "does not exist"),
        ("case", "tokens_per_s = 900", "tokens_per_s = 0", "capacity.tokens_per_s = 0 must be > 0"),
        ("case", "tokens_per_s = 900", "requests_per_s = 3", "capacity.tokens_per_s must stand alone, or"),
        ("case", "gpus = 2", "gpus = 0", "replica.gpus = 0 must be > 0"),
        ("case", "output_share = 0.2", "output_share = 20", "traffic.output_share = 20 must be between 0 and 1"),
        ("case", 'rent = "l40s"', 'rent = "l40"', "did you mean 'l40s'?"),
        ("case", "[against.a]\napi", "[against.a]\nper_million_usd = 3\napi", "in its place"),
        ("case", "[traffic]", "[uncertainty.rent]\nlow_share = 0.9\nhigh_share = 1.1\n[traffic]", "uncertainty.rent is not an input"),
        ("case", "[traffic]", "[uncertainty.staff_usd_per_month]\nlow_share = 1.2\nhigh_share = 1.3\n[traffic]", "must be at most 1"),
    ],
)
def test_a_bad_book_or_case_is_one_clear_error(command: Command, tmp_path: Path, file: str, old: str, new: str, says: str) -> None:
    texts = {"book": BOOK, "case": CASE}
    assert old in texts[file]
    texts[file] = texts[file].replace(old, new, 1)
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    answer = command("break-even", "--capacity", tmp_path / "case.toml")
    assert answer.code == 2, answer.out
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert ".toml" in answer.err


def test_another_currency_is_exchanged_and_a_stale_price_flagged(command: Command, tmp_path: Path) -> None:
    rate = '\n[rates.EUR]\nusd_per_unit = 1.25\nsource = "s"\nas_of = "2026-11-01"\n'
    (tmp_path / "book.toml").write_text(BOOK.replace('as_of = "2026-11-01"', 'as_of = "2025-01"\ncurrency = "EUR"', 1) + rate)
    (tmp_path / "case.toml").write_text(CASE)
    answer = command("break-even", "--capacity", tmp_path / "case.toml", "--json")
    found = json.loads(answer.out)["comparisons"][0]
    assert found["inputs"]["rent_usd_per_gpu_hour"] == 1.25
    assert "rents.l40s is" in found["notes"][0]
    assert "! stale price: rents.l40s is" in answer.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--capacity is missing"),
        (["--capacity", L40S, "--set", "x"], "--set = 'x' must be KEY=VALUE"),
        (["--capacity", L40S, "--set", "overhead.staf=3"], "is not a known key"),
        (["--capacity", L40S, "--volume", "many"], "traffic.tokens_per_day"),
        (["--capacity", L40S, "--against", "premum"], "did you mean 'premium'?"),
        (["--capacity", L40S, "--against", "gpt-9"], "is none of this file's (premium, newer-premium, small, the-same-model)"),
        (["--capacity", L40S, "--against", "gpt-4o", "--api-price", "3"], "--api-price cannot stand beside --against"),
        (["--tiers", HOSTING / "routing-95.toml", "--against", "gpt-4o"], "belongs to one hosting case"),
        (["--tiers", L40S], "this file is"),
    ],
)
def test_bad_flags_are_told(command: Command, arguments: list[str | Path], says: str) -> None:
    answer = command("break-even", *arguments)
    assert answer.code == 2
    assert says in answer.err


def test_decide_says_the_verdict_in_json_and_draws_a_page(command: Command, tmp_path: Path) -> None:
    answer = command("decide", HOSTING / "decision-support-desk.toml", "--json", "-q", "--out", tmp_path)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["verdict"] == "on-premises"
    assert (tmp_path / "decision.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "decision.json").read_bytes()) == found
    air_gap = json.loads(command("decide", HOSTING / "decision-support-desk.toml", "--air-gap", "--volume", "1M", "--json", "-q").out)
    assert air_gap["verdict"] == "on-premises"
    assert air_gap["binding"].startswith("the public API is out: an air gap")
