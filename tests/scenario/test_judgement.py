"""SLO and thresholds of a scenario, checked against its own classes, and overridden by flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.files import load_scenario
from loadlab.scenario.judgement import with_flags
from loadlab.scenario.model import Scenario
from loadlab.slo import Slo

TEXT = """
schema = "loadlab/scenario/1"
name = "held"
{head}
[load]
kind = "open_loop"
requests = 10
arrivals = {{ kind = "poisson", rate_per_s = 1 }}
[classes.chat]
model = "m"
tier = "expert"
prompt_tokens = {{ kind = "constant", value = 10 }}
output_tokens = {{ kind = "constant", value = 10 }}
{tail}
"""


def scenario(folder: Path, head: str = "", tail: str = "") -> Scenario:
    path = folder / "held.toml"
    path.write_text(TEXT.format(head=head, tail=tail))
    return load_scenario(path)


def test_limits_are_read_with_their_units(tmp_path: Path) -> None:
    held = scenario(tmp_path, 'slo = { ttft = "800ms", target = "99.5%" }\nthresholds = ["goodput > 1/s"]', "slo = { tpot = 0.06 }")
    assert held.slo == Slo(ttft=0.8, target=0.995)
    assert held.classes["chat"].slo == Slo(tpot=0.06)
    assert held.thresholds == ("goodput > 1/s",)


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ('["tftt.p95 < 1s"]', "held.toml: thresholds = .*did you mean 'ttft'"),
        ('["goodput > 1/s"]', "needs an SLO"),
        ('["ttft.p95{class=chta} < 1s"]', "names class 'chta', which no request has; there are: chat"),
        ('["ttft.p95{tier=small} < 1s"]', "names tier 'small', which no request has; there are: expert"),
        ('["ttft.p95{region=eu} < 1s"]', "there are: none"),
        ('"ttft.p95 < 1s"', "must be an array"),
        (str(["oom.count == 0"] * 101), "at most 100"),
    ],
)
def test_a_threshold_that_cannot_be_judged_is_refused_before_the_run(tmp_path: Path, thresholds: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        scenario(tmp_path, f"thresholds = {thresholds}")


def test_flags_win_over_the_file_key_by_key(tmp_path: Path) -> None:
    held = scenario(tmp_path, 'slo = { ttft = "800ms", e2e = "20s" }\nthresholds = ["oom.count == 0"]')
    flagged = with_flags(held, ["ttft=1s", "chat.tpot = 60ms", "target=95%"], ["ttft.p95{class=chat} < 2s"])
    assert flagged.slo == Slo(ttft=1.0, e2e=20.0, target=0.95)
    assert flagged.classes["chat"].slo == Slo(tpot=0.06)
    assert flagged.thresholds == ("oom.count == 0", "ttft.p95{class=chat} < 2s")


@pytest.mark.parametrize(
    ("slo", "thresholds", "said"),
    [
        (["800ms"], [], "--slo = '800ms' must be KEY=LIMIT, such as ttft=800ms"),
        (["ttfb=800ms"], [], "keys: ttft, tpot, e2e, target"),
        (["ttft=800"], [], "--slo: ttft = .*no known unit of time"),
        (["bot.ttft=1s"], [], "'bot' is no class; there are: chat"),
        ([], ["ttft < 3"], "--threshold = 'ttft': ttft needs a statistic"),
        ([], ["attainment > 3%"], "--threshold = .*needs an SLO"),
    ],
)
def test_a_bad_flag_is_refused_by_its_name(tmp_path: Path, slo: list[str], thresholds: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_flags(scenario(tmp_path), slo, thresholds)
