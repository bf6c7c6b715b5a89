"""The box at the top of the pages of a plan and of a fleet: what was asked, the answer, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadlab.report.fleet import hours_text

Json = Mapping[str, Any]


def plan_verdict(summary: Json) -> Json:
    """Of plan.json: `word`, `tone` (good, open, alarm) and `rows` for verdict.html.j2."""
    limit = f"at most {summary['max_gpus']} GPUs that holds {summary['slo_text']}"
    asked = f"The cheapest cluster of {limit}, at {summary['rate_per_s']:.3g} arrivals a second."
    sure: list[str] = []
    if summary["chosen"] is None:
        word, tone = "NOTHING HOLDS", "alarm"
    elif summary["at_median"]:
        word, tone = "HOLDS AT THE MEDIAN ONLY", "open"
        sure = ["At the pessimistic edge of the band nothing holds: an even chance, no plan to sign."]
    elif not summary["chosen"]["is_proven"]:
        word, tone = "NOT PROVEN", "open"
        sure = ["Simulated, so a prediction; it held at the slow edge of its band, with too few requests to prove it."]
    else:
        word, tone = "HOLDS", "good"
        sure = ["Simulated, so a prediction: proven at the slow edge of the band that stands below, not measured."]
    rows = [("What was asked", [asked]), ("Answer", [f"{summary['sentence']}."]), ("How sure", [*sure, *summary["notes"]])]
    return {"word": word, "tone": tone, "rows": [(question, lines) for question, lines in rows if lines]}


def fleet_verdict(summary: Json) -> Json:
    """Of fleet.json: the same. The first word is about the replicas that are always on, since those are what a month's bill is of.

    Where another simulated day broke (autoscaled, or a region lost), word and answer say so, and it is not green; nor where the slow edge
    of the capacity's band asks for more replicas.
    """
    static = next((day for day in summary["days"] if day["name"] == "static"), None)
    states = {hour["verdict"] for hour in static["hours"]} if static else set()
    if static is None:
        state, tone = "COUNTED, NOT PLAYED", "open"
    elif "broken" in states:
        state, tone = "BROKEN", "alarm"
    elif "held" in states and "open" not in states:
        state, tone = "HOLDS", "good"
    else:
        state, tone = "NOT PROVEN IN EVERY HOUR", "open"
    missed = [_missed_text(day) for day in summary["days"] if day["name"] != "static" and _broken(day)]
    if missed and tone == "good":
        state, tone = f"HOLDS ALWAYS ON, MISSED {' AND '.join(_ways(summary['days']))}", "open"
    edge = summary["capacity"].get("slow_edge")
    if tone == "good" and edge is not None and edge["replicas"] > summary["static"]["replicas"]:
        state, tone = f"HOLDS AT THE MEDIAN ONLY, {edge['replicas']} AT THE SLOW EDGE", "open"
    demand, slo = summary["demand"]["description"], summary["capacity"].get("slo_text")
    days = [f"{day['name']}: {day['about']}." for day in summary["days"]]
    asked = [f"Replicas for the busiest day of: {demand}.", *([f"SLO: {slo}."] if slo else []), *days]
    sure = [f"{sentence}." for sentence in (*summary["notes"], *summary["unsure"])]
    rows = [("What was asked", asked), ("Answer", [*missed, *(f"{sentence}." for sentence in summary["sentences"])]), ("How sure", sure)]
    return {"word": f"{summary['static']['replicas']} REPLICAS: {state}", "tone": tone, "rows": [row for row in rows if row[1]]}


def _broken(day: Json) -> list[int]:
    """The hours in which the SLO was missed beyond chance."""
    return [number for number, hour in enumerate(day["hours"]) if hour["verdict"] == "broken"]


def _missed_text(day: Json) -> str:
    hours = _broken(day)
    return f"A simulated day missed the SLO: {day['name']} ({day['about']}), in hour{'s' if len(hours) > 1 else ''} {hours_text(hours)}."


def _ways(days: Sequence[Json]) -> list[str]:
    """In what days it was missed, each way once: autoscaled, or with a region lost."""
    broken = [day["name"] for day in days if day["name"] != "static" and _broken(day)]
    return list(dict.fromkeys("WITH A REGION LOST" if name.endswith(" lost") else "AUTOSCALED" for name in broken))
