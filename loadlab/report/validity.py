"""Whether a run over HTTP measured the target or the load generator: the block of the summary, and its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from loadlab.analysis.engine_death import SuspectedDeath, suspected_deaths
from loadlab.analysis.table import RequestTable
from loadlab.analysis.validity import Verdict, judge
from loadlab.record.manifest import Manifest, Status
from loadlab.report.imported import IMPORTED
from loadlab.report.text import clean_text, three_digits
from loadlab.units import format_duration

Json = dict[str, Any]
_WHY_INCOMPLETE = {
    Status.RUNNING: "it did not end: it is under way, or was killed",
    Status.INCOMPLETE: "some requests have no result",
    Status.ABORTED: "it was stopped before its end",
}
_HEADS = {
    Verdict.VALID: "VALID: the load generator was on time.",
    Verdict.INVALID: "INVALID: the load generator spoilt it; these figures say nothing of the target.",
    Verdict.INCOMPLETE: "INCOMPLETE: these figures are of a part of the run.",
}


def validity_block(table: RequestTable, manifest: Manifest) -> Json | None:
    """`validity` of the contract; None for a simulated run, whose clock cannot be late, and for a server's log: nobody planned it."""
    if manifest.engine in ("simulation", "server", IMPORTED):  # of an imported run, the delay of its load generator is not known
        return None
    client = manifest.client or {}
    why = _WHY_INCOMPLETE.get(manifest.status)
    if why is not None and client.get("stopped_because"):
        why = f"{why}: {client['stopped_because']}"
    found = judge(table, manifest.planned, client, why)
    return asdict(found) | {
        "verdict": found.verdict.value,
        "reasons": list(found.reasons),
        "notes": [*found.notes, *map(_death_words, suspected_deaths(table))],
        "client": dict(client),
    }


def _death_words(death: SuspectedDeath) -> str:
    when = f"{death.requests:,} answers in a row were refused, reset or cut off from {format_duration(death.at_s)} on"
    return f"the target may have died without a word: {when}, after successes (a crash, a restart, or a network that failed)"


def is_invalid(summary: Mapping[str, Any]) -> bool:
    """True if the run, or an experiment of the campaign, was spoilt by the load generator."""
    blocks = [run.get("validity") for run in summary.get("experiments", [summary])]
    return any(block is not None and block["verdict"] == Verdict.INVALID for block in blocks)


def validity_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The verdict, what it was judged by, and how much of this machine's ceiling was used; nothing for a simulated run."""
    block = summary.get("validity")
    if block is None:
        return
    yield " ".join([_HEADS[Verdict(block["verdict"])], *(f"{clean_text(reason)}." for reason in block["reasons"])])
    yield f"{_measured_words(block)}. {_ceiling_words(block, summary)}"
    yield from (f"{clean_text(note)}." for note in (*block["client"].get("notes", ()), *block["notes"]))


def _measured_words(block: Mapping[str, Any]) -> str:
    lag = f"Dispatch lag p50 {format_duration(block['lag_p50_s'])}, p99 {format_duration(block['lag_p99_s'])}"
    said = [f"{lag} (limit {format_duration(block['lag_limit_s'])}, n {block['n']:,})"]
    if block["achieved_per_s"] is not None and block["offered_per_s"] is not None:
        said.append(f"sent {three_digits(block['achieved_per_s'])} of {three_digits(block['offered_per_s'])} requests/s due")
    if block["run_queue_wait_share"] is not None:
        said.append(f"without a core {100 * block['run_queue_wait_share']:.1f} % of the time")
    client = block["client"]
    if client.get("cpu_s") is not None and client.get("wall_s"):
        said.append(f"{100 * client['cpu_s'] / client['wall_s']:.0f} % of a core used")
    if client.get("most_in_flight") is not None:
        said.append(f"{client['most_in_flight']:,} in flight at most (limit {client['max_in_flight']:,})")
    return ", ".join(said)


def _ceiling_words(block: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """How much of what this machine can send was used, by the measurement of `loadlab doctor`."""
    ceiling, client = block["client"].get("ceiling"), block["client"]
    if len(client.get("workers", ())) > 1:
        return f"Sent by {len(client['workers'])} workers; the ceiling that `loadlab doctor` measures is that of one process."
    if ceiling is None:
        return "This machine's ceiling is not known: `loadlab doctor` measures it."
    shares = []
    for words, used, limit in (
        ("requests/s", block["achieved_per_s"], ceiling["requests_per_s"]),
        ("streamed tokens/s", summary["throughput"]["output_tokens_per_s"]["value"], ceiling["tokens_per_s"]),
        ("connections", client.get("most_in_flight"), ceiling["connections"]),
    ):
        if used is not None and limit:
            shares.append(f"{100 * used / limit:.0f} % of {three_digits(limit)} {words}")
    return f"Of this machine's ceiling (`loadlab doctor`, {ceiling['measured'][:10]}) it used {', '.join(shares) or 'nothing'}."
