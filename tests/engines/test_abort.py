from __future__ import annotations

import pytest

from loadlab.engines.abort import AbortRule, AbortWatch, parse_abort_rule
from loadlab.errors import InputError
from loadlab.record.request import Outcome


def test_a_rule_is_read_as_people_write_it() -> None:
    assert parse_abort_rule(" error_rate>50% for 30s") == AbortRule(what="error_rate", share=0.5, span_s=30.0)
    assert str(parse_abort_rule("oom_rate > 2.5% for 1min")) == "oom_rate > 2.5% for 60.0 s"


@pytest.mark.parametrize("text", ["", "error_rate > 50%", "errors > 5% for 1s", "error_rate > 100% for 1s", "error_rate > 5% for 1 parsec"])
def test_what_is_no_rule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="--abort-on"):
        parse_abort_rule(text)


def watch(what: str = "error_rate", share: float = 0.5, span_s: float = 10.0) -> AbortWatch:
    return AbortWatch(AbortRule(what=what, share=share, span_s=span_s))


def test_a_rule_is_broken_only_by_a_full_span_of_more_than_its_share() -> None:
    rule = watch()
    for t in range(10):
        rule.add(float(t), Outcome.TIMEOUT)
        assert rule.broken_by(float(t)) is None, "the span is not full"
    assert rule.broken_by(10.0) == "error_rate > 50% for 10.0 s: 10 of the last 10 requests"


def test_at_a_low_rate_the_last_ten_are_judged_however_long_they_took() -> None:
    rule = watch(span_s=3.0)
    for t in range(9):
        rule.add(2.0 * t, Outcome.HTTP_ERROR)
        assert rule.broken_by(2.0 * t) is None, "fewer than ten are no news"
    rule.add(18.0, Outcome.HTTP_ERROR)
    assert rule.broken_by(18.0) == "error_rate > 50% for 3.00 s: 10 of the last 10 requests"


def test_half_is_not_more_than_half_and_old_errors_are_forgotten() -> None:
    rule = watch()
    for t in range(40):
        rule.add(t / 2, Outcome.OK if t % 2 else Outcome.HTTP_ERROR)
        assert rule.broken_by(t / 2) is None
    for t in range(40, 60):
        rule.add(t / 2, Outcome.OK)
    assert rule.broken_by(30.0) is None


def test_rejections_are_errors_but_no_failures_and_an_oom_is_both() -> None:
    for what, outcome, breaks in (
        ("error_rate", Outcome.REJECTED, True),
        ("failure_rate", Outcome.REJECTED, False),
        ("failure_rate", Outcome.OOM, True),
        ("oom_rate", Outcome.OOM, True),
        ("oom_rate", Outcome.TIMEOUT, False),
    ):
        rule = watch(what)
        for t in range(21):
            rule.add(float(t), outcome)
        assert (rule.broken_by(20.0) is not None) is breaks, (what, outcome)
