"""The words for limits and metrics: what is read, what is refused, and what a person is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadlab.errors import InputError
from loadlab.record.request import Outcome
from loadlab.slo import COUNTED, LABELS, LATENCIES, PLAIN, Comparison, Metric, Slo, Unit, parse_metric, parse_threshold, read_slos

LABEL_VALUES = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"], exclude_characters='"{}'), min_size=1, max_size=8
)


def metrics() -> st.SearchStrategy[Metric]:
    percentiles = st.integers(1, 99).map(lambda p: f"p{p}")
    heads = st.one_of(
        st.tuples(st.sampled_from(list(LATENCIES)), st.one_of(st.sampled_from(["mean", "max", "p99.9"]), percentiles)),
        st.tuples(st.sampled_from(list(PLAIN)), st.none()),
        st.tuples(st.sampled_from(COUNTED), st.sampled_from(["count", "rate"])),
        st.just(("error_budget", "burn")),
    )
    labels = st.dictionaries(st.sampled_from([label for label in LABELS if label != "turn"]), LABEL_VALUES, max_size=3)
    return st.builds(lambda head, found: Metric(name=head[0], statistic=head[1], labels=tuple(found.items())), heads, labels)


@given(metrics())
def test_what_a_metric_is_called_reads_back_as_that_metric(metric: Metric) -> None:
    assert parse_metric(str(metric)) == metric


@pytest.mark.parametrize(
    ("text", "unit", "percentile"),
    [
        ("ttft.p95", Unit.SECONDS, 0.95),
        (" e2e.p99.9 ", Unit.SECONDS, 0.999),
        ("itl.mean", Unit.SECONDS, None),
        ("success_rate", Unit.SHARE, None),
        ("rejected.rate", Unit.SHARE, None),
        ("goodput{class=chat}", Unit.PER_SECOND, None),
        ("oom.count", Unit.NUMBER, None),
        ("error_budget.burn", Unit.NUMBER, None),
    ],
)
def test_a_metric_knows_its_unit(text: str, unit: Unit, percentile: float | None) -> None:
    assert (parse_metric(text).unit, parse_metric(text).percentile) == (unit, percentile)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tftt.p95", "did you mean 'ttft'"),
        ("latency", "There are: ttft"),
        ("ttft", "needs a statistic"),
        ("ttft.p100", "needs a statistic"),
        ("ttft.p0", "needs a statistic"),
        ("oom", "needs .count or .rate"),
        ("success_rate.p95", "stands alone"),
        ("error_budget.p95", "error_budget.burn"),
        ("ttft.p95{colour=red}", "the labels are class"),
        ("ttft.p95{class=a,class=b}", "twice"),
        ("ttft.p95{class=a,}", "label=value"),
        ("ttft.p95{}", "label=value"),
        ("ttft.p95{turn=last}", "whole number"),
        ("ttft.p95 < 3", "is not a metric"),
        ("\x1b[2J" * 50, "is not a metric"),
    ],
)
def test_what_is_no_metric_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_metric(text)
    assert "\x1b" not in str(caught.value)


def test_every_outcome_can_be_counted() -> None:
    assert set(COUNTED) == {outcome.value for outcome in Outcome} | {"failed"}


def test_a_class_takes_from_the_scenario_what_it_leaves_out() -> None:
    slos = read_slos({"slo": {"ttft": "800ms", "target": 0.999}, "classes": {"chat": {"slo": {"tpot": 0.06}}, "batch": {}}}, "s.toml")
    assert slos is not None
    assert slos.of("chat") == Slo(ttft=0.8, tpot=0.06, target=0.999)
    assert slos.of("batch") == slos.of(None) == Slo(ttft=0.8, target=0.999)
    assert slos.target_of("chat") == 0.999


def test_a_target_that_nobody_gave_is_99_per_cent() -> None:
    slos = read_slos({"slo": {"ttft": 1}, "classes": {}}, "s.toml")
    assert slos is not None
    assert slos.target_of("chat") == 0.99


def test_no_slo_is_none() -> None:
    assert read_slos({"classes": {"chat": {"model": "m"}}}, "s.toml") is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"ttft": "800"}, r'slo.ttft = .*write 800 without quotes, or "800s"'),
        ({"ttft": "0ms"}, "slo.ttft = '0ms' must be > 0"),
        ({"tpot": "60MB"}, "no known unit of time"),
        ({"target": "100%"}, "slo.target = '100%' must be above 0 and below 1"),
        ({"ttfb": 1}, "slo.ttfb is not a known key"),
    ],
)
def test_a_bad_limit_is_refused_by_its_key(table: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_slos({"slo": table}, "s.toml")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ttft.p95 < 800ms", 0.8),
        ("tpot.p99{class=chat}<60ms", 0.06),
        ("success_rate >= 99%", 0.99),
        ("goodput >= 90/min", 1.5),
        ("output_tokens_per_s > 1.2k/s", 1200.0),
        ("oom.count == 0", 0.0),
        ("error_budget.burn < 1", 1.0),
        ('ttft.max{tier="a<b"} <= 2s', 2.0),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_metric(text: str, limit: float) -> None:
    threshold = parse_threshold(text)
    assert threshold.limit == pytest.approx(limit)
    assert parse_threshold(str(threshold)) == threshold


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft.p95", "is not a threshold such as"),
        ("< 3", "is not a threshold such as"),
        ("ttft.p95 < ", "is not a threshold such as"),
        ("ttft.p95 < 1s < 2s", "is not a threshold such as"),
        ("oom.count = 0", "is not a threshold such as"),
        ("ttft.p95 < 800", "no known unit of time"),
        ("ttft.p95 == 3s", "== is for counts"),
        ("success_rate >= 990%", "from 0% to 100%"),
        ("goodput > 3", "is not a rate"),
        ("latency.p95 < 3s", "is not a metric"),
        ("a" * 1000, "is not a threshold"),
    ],
)
def test_what_is_no_threshold_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_threshold(text)


@given(st.sampled_from(Comparison), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_comparisons_are_those_of_numbers(comparison: Comparison, value: float, limit: float) -> None:
    assume(value == limit or abs(value - limit) > 1e-9 * (abs(value) + abs(limit)))
    assert comparison.holds(value, limit) == {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit,
                                              "==": value == limit}[comparison.value]  # fmt: skip


def test_the_target_of_all_is_the_scenarios_else_the_strictest_of_the_classes() -> None:
    classes = {"a": {"slo": {"target": "90%"}}, "b": {"slo": {"target": "99.5%"}}, "c": {"slo": {"ttft": "1s"}}}
    only_classes = read_slos({"classes": classes}, "x.toml")
    assert only_classes is not None
    assert [only_classes.target_of(name) for name in (None, "a", "b", "c")] == [0.995, 0.9, 0.995, 0.99]
    both = read_slos({"slo": {"target": "95%"}, "classes": classes}, "x.toml")
    assert both is not None
    assert [both.target_of(name) for name in (None, "a", "c")] == [0.95, 0.9, 0.95]


@pytest.mark.parametrize(
    ("table", "key"), [({"slo": {"ttft": -1}}, "slo.ttft"), ({"classes": {"a": {"slo": {"ttft": -1}}}}, "classes.a.slo.ttft")]
)
def test_a_bad_limit_is_told_with_its_file_and_key(table: dict, key: str) -> None:
    with pytest.raises(InputError) as caught:
        read_slos(table, "x.toml")
    assert "x.toml" in str(caught.value)
    assert key in str(caught.value)


def test_labels_are_told_and_written_as_a_person_would() -> None:
    with pytest.raises(ValueError, match="names class twice"):
        parse_metric("ttft.p95{class=a,class=b}")
    with pytest.raises(ValueError, match="the labels are class, model, tier"):
        parse_metric("ttft.p95{colour=red}")
    assert str(parse_metric('ttft.p95{class="chat"}')) == "ttft.p95{class=chat}"
    assert parse_metric('ttft.p95{class="XaX"}').labels == (("class", "XaX"),)


def test_numbers_apart_in_the_eleventh_digit_are_not_equal() -> None:
    assert Comparison.LESS.holds(1 - 1e-10, 1.0)
    assert not Comparison.LESS.holds(1 - 1e-14, 1.0)
    assert Comparison.GREATER.holds(1 + 1e-10, 1.0)


def test_a_share_may_be_any_from_nothing_to_all() -> None:
    assert [parse_threshold(f"success_rate >= {share}").limit for share in ("0%", "100%")] == [0.0, 1.0]
    with pytest.raises(ValueError, match="from 0% to 100%"):
        parse_threshold("success_rate >= 150%")


def test_a_threshold_of_400_characters_is_read_and_a_longer_one_is_not() -> None:
    text = "ttft.p95 < 1s"
    assert parse_threshold(text.replace(" < ", " " * (400 - len(text)) + " < ")).limit == 1.0
    with pytest.raises(ValueError, match="is not a threshold"):
        parse_threshold(text.replace(" < ", " " * (401 - len(text)) + " < "))


@pytest.mark.parametrize("text", ["server.kv_usage.mean", "server.gpu_power_w.max", "server.prefix_hit_rate", "server.preemptions.count"])
def test_metrics_of_the_server_are_read(text: str) -> None:
    assert str(parse_metric(text)) == text
    assert parse_metric(text).is_of_server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server.kv_usage.p95", "server.kv_usage needs .mean (over time and replicas) or .max (of any replica)"),
        ("server.kv_usage", "server.kv_usage needs .mean (over time and replicas) or .max (of any replica)"),
        ("server.prefix_hit_rate.mean", "server.prefix_hit_rate stands alone"),
        ("server.preemptions.rate", "server.preemptions has one statistic: server.preemptions.count"),
        ("oom.mean", "oom needs .count or .rate (of planned requests)"),
        ("goodput.mean", "goodput stands alone"),
        ("error_budget.mean", "error_budget has one statistic: error_budget.burn"),
    ],
)
def test_a_statistic_that_a_metric_lacks_is_told_with_those_that_it_has(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(said)}$"):
        parse_metric(text)
