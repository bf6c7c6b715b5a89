"""The page: self-contained, escaped, honest about what it is."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from loadlab.record.run_dir import RunDir
from loadlab.report.files import save_campaign_report, save_run_report
from loadlab.report.html import Section, render_run_html
from loadlab.report.summary import summarise_run
from tests.record.examples import POOL, manifest, ok, small_run
from tests.report.examples import HOSTILE, one_not_run, small_campaign


class Tags(HTMLParser):
    """Collects elements, attributes, and text outside style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def campaign_page(tmp_path: Path, **changes: object) -> str:
    summary, runs = small_campaign(tmp_path, **changes)
    return save_campaign_report(tmp_path, summary, runs).read_text()


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    for page in (campaign_page(tmp_path), save_run_report(run := small_run(tmp_path / "run"), summarise_run(run)).read_text()):
        tags = Tags(page).tags
        assert not {"script", "link", "iframe", "object", "embed", "form", "img", "base"} & {tag for tag, _ in tags}
        for tag, attributes in tags:
            assert not [name for name in attributes if name.startswith("on")], tag
            for name in ("src", "href", "xlink:href", "action"):
                assert attributes.get(name, "#") is None or str(attributes.get(name, "#")).startswith("#"), (tag, name)
        assert "@import" not in page
        assert re.findall(r"url\((?!#)", page) == []
        assert "://" not in page.replace("sim://", "")
        policies = [a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
        assert len(policies) == 1
        assert str(policies[0]).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_hostile_text_is_text(tmp_path: Path) -> None:
    run = small_run(
        tmp_path / "run",
        name=HOSTILE,
        target=HOSTILE,
        scenario={HOSTILE: [{"deep": HOSTILE}]},
        conditions=[POOL | {"model": HOSTILE, "label": HOSTILE}],
    )
    page = save_run_report(run, summarise_run(run)).read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert '<script>alert("x")</script>' in Tags(page).text


def test_a_campaign_says_what_was_asked_and_what_came_out(tmp_path: Path) -> None:
    text = Tags(campaign_page(tmp_path)).text.replace("\u00a0", " ")
    assert "10 requests in 2 experiments" in text
    assert "6 of 10 succeeded: 60.0 % [33.9, 80.0]; 2 rejected, 0 OOM, 2 timed out." in text
    assert "Every planned request is accounted for." in text
    assert "published elsewhere" in text
    assert "a paper" in text
    assert "Success by client timeout" in text
    assert "the knee" in text
    assert "loadlab run 'a b.toml'" in text
    assert "Design choices of this campaign, not published figures" in text


def test_predictions_are_called_predictions_with_their_band(tmp_path: Path) -> None:
    text = Tags(campaign_page(tmp_path)).text
    assert "Every figure here is a prediction of the simulator, none is a measurement." in text
    assert "Step times: datasheet, not calibrated, band ±20 %." in text


def test_a_measured_run_is_not_called_a_prediction(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", engine="locust")
    assert "prediction" not in Tags(save_run_report(run, summarise_run(run)).read_text()).text


def test_a_stopped_campaign_warns_and_lists_what_was_not_run(tmp_path: Path) -> None:
    page = campaign_page(tmp_path, not_run=[one_not_run()], interrupted=True)
    text = Tags(page).text
    assert "STOPPED before its end" in text
    assert "Every planned request is accounted for." not in text
    assert "Not run: 7 requests were planned, none was sent." in text
    assert "7 not sent" in text
    assert "(95 % interval" not in text.replace("\u00a0", " ")
    assert "published elsewhere" not in text
    assert "Experiments that did not run to their end are left out." in text
    overview = next(part for part in page.split("<svg") if "success and p95 latency by experiment" in part)
    assert "E02 crowded" in overview
    assert "E03 never" not in overview


def test_causes_of_failures_are_shown(tmp_path: Path) -> None:
    text = Tags(campaign_page(tmp_path)).text
    assert "Why they failed, by cause" in text
    assert "1 rejected (queue_full 1), 0 OOM, 1 timed out (deadline 1)" in text


def test_success_comes_first_and_the_name_stays_in_sight(tmp_path: Path) -> None:
    page = campaign_page(tmp_path)
    row = page[page.index('<th class="text stay" scope="row"><a href="#e-E01">') :]
    assert row.index("60.0 % [23.1, 88.2]") < row.index("0.600")
    assert ".stay { position: sticky; left: 0;" in page
    heads = Tags(page).text
    assert "OK requests only" in heads
    assert "GPU busy: time in which any work ran, not utilisation of its compute." in heads


def test_a_missing_sensitivity_says_why(tmp_path: Path) -> None:
    text = Tags(campaign_page(tmp_path, sensitivity=None, sensitivity_note="stopped; --resume makes it")).text
    assert "stopped; --resume makes it." in text


def test_conditions_shared_by_experiments_are_shown_once(tmp_path: Path) -> None:
    text = Tags(campaign_page(tmp_path)).text
    assert "E01, E02" in text
    assert text.count("step_time_band") == 1


def test_every_experiment_has_its_figures(tmp_path: Path) -> None:
    tags = Tags(campaign_page(tmp_path)).tags
    labels = [attributes.get("aria-label") for tag, attributes in tags if tag == "svg"]
    assert labels == [
        "success and p95 latency by experiment of study",
        "latency distributions of E01", "timeline of E01", "latency distributions of E02", "timeline of E02",
    ]  # fmt: skip


def test_every_label_with_two_values_has_a_table_and_every_statistic_with_its_interval(tmp_path: Path) -> None:
    labels = {"class": ("chat", "agent"), "model": ("8b", "70b"), "tier": ("fast", "deep"), "region": ("eu", "us"), "turn": (0, 1)}
    slo = {"ttft": "1s", "target": "99%"}
    run = RunDir.create(tmp_path / "run", manifest(400, scenario={"name": "labels", "slo": slo}))
    run.append(
        replace(ok(i, ttft_s=0.5 + (i * 37 % 101) / 1000), traffic_class=names["class"], **{k: v for k, v in names.items() if k != "class"})
        for i in range(400)
        for names in [{label: values[i % 2] for label, values in labels.items()}]
    )
    run.finalise(400)
    page = render_run_html(Section(summary=summarise_run(run))).decode()
    text = re.sub(r"\s+", " ", Tags(page.replace("<", " <")).text)
    for label, values in labels.items():
        table = text.partition(f"By {label} ")[2].partition(" Every statistic")[0]
        assert "within SLO [95 %] goodput /s OK prompt tok/s OK output tok/s TTFT p50" in table
        assert all(f" {value} 200 100.0 % [" in table for value in values)
        every = text.partition(f"Every statistic by {label}, with intervals")[2].partition("By ")[0]
        assert every.count("end to end 200") == 2
        assert re.search(r"TTFT 200 5\d\d ms \[\d+, \d+\] 5\d\d\?? ms \[\d+, \d+\]", every), "mean and median with their intervals"


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    assert campaign_page(tmp_path / "one") == campaign_page(tmp_path / "two")


def test_a_page_without_figures_or_scenario_renders(tmp_path: Path) -> None:
    assert render_run_html(Section(summary=summarise_run(small_run(tmp_path / "run")))).startswith(b"<!DOCTYPE html>")
