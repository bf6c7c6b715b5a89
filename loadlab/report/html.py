"""`report.html` from a summary: one file, no script, nothing fetched from anywhere. Every text is escaped and cleaned."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.report.findings import number_text
from loadlab.report.html_run import numbers_of
from loadlab.report.prediction import prediction_lines
from loadlab.report.text import (
    ABBREVIATIONS,
    BUSY_NOTE,
    INTERVAL_NOTE,
    METRICS,
    NOT_RUN,
    OTHER_OUTCOMES,
    PERCENTILES,
    UNITS,
    band_text,
    cause_lines,
    clean_tree,
    failures_text,
    heading_text,
    is_low,
    is_maximum,
    key_words,
    look_up,
    percentile_text,
    server_words,
    sources_text,
    success_text,
    three_digits,
    value_text,
    whole_percent,
)
from loadlab.report.validity import validity_lines
from loadlab.report.verdict_box import verdict_box
from loadlab.units import format_duration, format_share

Json = Mapping[str, Any]

# What the summary of a run has no use for.
_ABSENT: dict[str, Any] = {"description": "", "variant": None, "design_choices": [], "sensitivity_note": None}
_VALIDITY = {
    "complete": "Every planned request is accounted for.",
    "running": "This run did not end: it is under way, or it was killed. Requests without a row count as unknown.",
    "incomplete": "INCOMPLETE: the engine lost requests, they count as unknown. Do not compare these figures with a complete run.",
    "aborted": "STOPPED before its end: what was not sent counts against the success rate. Do not compare with a complete run.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One run of a report: its summary, the scenario as written, and its figures as SVG text by caption."""

    summary: Json
    scenario: Json = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conditions:
    """A set of conditions, flattened to (key, value), and the experiments that ran under it."""

    applies_to: str
    pools: Sequence[Sequence[tuple[str, str]]]


def render_run_html(section: Section) -> bytes:
    """The page of one run."""
    return _render(section.summary, [section], figures={})


def render_campaign_html(summary: Json, sections: Sequence[Section], figures: Mapping[str, str]) -> bytes:
    """The page of a campaign: `sections` in the order of its experiments, `figures` over all of them, as SVG text by caption."""
    return _render(summary, sections, figures)


def _render(summary: Json, sections: Sequence[Section], figures: Mapping[str, str]) -> bytes:
    summary = _ABSENT | clean_tree(summary)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["success"] = success_text
    page = environment.get_template("report.html.j2").render(
        summary=summary,
        is_campaign="experiments" in summary,
        heading=heading_text(summary),
        abbreviations=ABBREVIATIONS,
        busy_note=BUSY_NOTE,
        interval_note=INTERVAL_NOTE,
        causes=cause_lines(summary.get("experiments", ())),
        box=verdict_box(summary),
        verdicts=list(_verdicts(sections)),
        validity=_VALIDITY.get(summary["status"], ""),
        predictions=_predictions(sections),
        figures=_markup(figures),
        heads=[f"{words}, {UNITS[key][0]}" for key, words in METRICS.items()],
        table=[_table_row(section) for section in map(_cleaned, sections)],
        total=_counts(summary),
        sections=[_section(section) for section in sections],
        sources=sources_text(summary.get("published", ())),
        published=_published(summary),
        sensitivity=_sensitivity(summary),
        conditions=_distinct_conditions(sections),
        command=shlex.join(summary["host"]["argv"]),
        has_maximum=any(_maxima(section.summary) for section in sections),
    )
    return page.encode()


def _cleaned(section: Section) -> Json:
    cleaned: Json = clean_tree(section.summary)
    return cleaned


def _verdicts(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    """Of each run over HTTP: whether it is a measurement, and by what that was judged."""
    for summary in map(_cleaned, sections):
        head, *rest = [*validity_lines(summary)] or [""]
        if head:
            name = f"{summary['id']}: " if "id" in summary else ""
            yield {"head": name + head, "rest": " ".join(rest), "is_alarm": summary["validity"]["verdict"] != "valid"}


def _predictions(sections: Sequence[Section]) -> list[str]:
    """What of this is simulated, and how far it can be trusted: one sentence for each distinct label."""
    if not any(section.summary.get("engine") in ("simulation", "server") for section in sections):
        return []
    pools = [clean_tree(pool) for section in sections for pool in section.summary.get("conditions", ())]
    said = list(dict.fromkeys(band for pool in pools if (band := band_text(pool)) is not None)) or ["no label given"]
    return said + [line for section in sections for line in prediction_lines(section.summary.get("prediction"))]


def _published(summary: Json) -> list[dict[str, Any]]:
    """Published figures beside ours; none beside a campaign that is not complete."""
    rows = summary.get("published", ()) if summary["status"] == "complete" else ()
    return [row | {"ours": look_up(summary, row.get("ours"))} for row in rows]


def _maxima(summary: Json) -> bool:
    return any(is_maximum(summary["metrics"][key]["n"], name) for key in METRICS for name in PERCENTILES)


def _table_row(summary: Json) -> dict[str, Any]:
    throughput, observed = summary["throughput"], summary["observed"]
    return {
        "id": summary.get("id"),
        "name": summary["name"],
        "status": summary["status"].replace("_", " "),
        "counts": _counts(summary),
        "latencies": [[percentile_text(summary["metrics"][key], p, UNITS[key][1]) for p in PERCENTILES] for key in METRICS],
        "tokens_per_s": three_digits(throughput["output_tokens_per_s"]["value"]),
        "kv_peak": whole_percent(observed["kv_peak"]),
        "gpu_busy": whole_percent(observed["gpu_busy"]),
    }


def _counts(summary: Json) -> dict[str, Any]:
    """What became of the requests, as cells; no counts where nothing was begun."""
    totals, is_begun = summary["totals"], summary["status"] != NOT_RUN
    numbers = {key: totals[key] for key in ("ok", "rejected", "timeout", "oom")}
    numbers["other"] = sum(totals[key] for key in OTHER_OUTCOMES)
    cells = {key: f"{number:,}" if is_begun else "-" for key, number in numbers.items()}
    is_alarm = totals["oom"] > 0
    return cells | {"planned": f"{totals['planned']:,}", "success": success_text(totals), "is_low": is_low(totals), "is_alarm": is_alarm}


def _section(section: Section) -> dict[str, Any]:
    summary = _cleaned(section)
    return {
        "summary": summary,
        "anchor": f"e-{summary.get('id', 'run')}",
        "is_run": summary["status"] != NOT_RUN,
        "failures": failures_text(summary["totals"], summary["causes"]),
        "facts": list(_facts(summary)),
        "scenario": list(_flatten(clean_tree(section.scenario))),
        "figures": _markup(section.figures),
        **(numbers_of(summary) if summary["status"] != NOT_RUN else {}),
    }


def _facts(summary: Json) -> Iterator[tuple[str, str]]:
    """What else is known of a run, in words with units."""
    throughput, observed = summary["throughput"], summary["observed"]
    if summary.get("engine") == "locust":
        yield "what the server said", server_words(summary["causes"])
    yield "duration", format_duration(throughput["duration_s"])
    yield "successful requests a second", number_text(throughput["requests_per_s"])
    yield "output tokens a second, of OK requests", number_text(throughput["output_tokens_per_s"])
    yield "prompt tokens a second, of OK requests", number_text(throughput["prompt_tokens_per_s"])
    yield "highest KV cache use", format_share(observed["kv_peak"]["value"])
    yield "GPU busy (any work ran; not utilisation of its compute)", format_share(observed["gpu_busy"]["value"])
    yield "prompt tokens found in the cache", format_share(observed["prefix_hit_rate"]["value"])
    for words, key in (("preemptions (recomputed, nobody sees an error)", "preemptions"), ("OOM events (a replica died)", "oom_events")):
        yield words, "-" if observed[key] is None else f"{observed[key]:,}"
    for words, key in (("target", "target"), ("seed", "seed"), ("plan", "plan_digest")):
        if key in summary:
            yield words, str(summary[key])


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value) of nested tables; short lists of plain values stay on one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for i, item in enumerate(value):
            yield from _flatten(item, f"{path}[{i}]")
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    else:
        yield path, "-" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _distinct_conditions(sections: Sequence[Section]) -> list[_Conditions]:
    """Each set of conditions once, with the experiments that it holds for."""
    found: dict[str, tuple[list[str], Sequence[Json]]] = {}
    for section in sections:
        pools = clean_tree(section.summary.get("conditions", ()))
        names = found.setdefault(repr(pools), ([], pools))[0]
        names.append(str(section.summary.get("id", section.summary["name"])))
    return [
        _Conditions(applies_to=", ".join(clean_tree(names)), pools=[list(_flatten(pool)) for pool in pools])
        for names, pools in found.values()
        if pools
    ]


def _sensitivity(summary: Json) -> Json | None:
    block = summary.get("sensitivity")
    if not block:
        return None
    rows = [
        {"value": value_text(block["key"], row["value"]), "totals": row["totals"], "failures": failures_text(row["totals"])}
        for row in block["rows"]
    ]
    return {"key": key_words(block["key"]), "rows": rows}


def _markup(figures: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """Our own SVG, unescaped: matplotlib has escaped the names in it."""
    return [(caption, Markup(svg)) for caption, svg in figures.items()]  # noqa: S704
