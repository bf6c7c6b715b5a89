"""Lists that stand in the code: metrics, outcomes, and the files and JSON objects that commands write."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from handbook.keys import escaped, field_comments
from loadlab.record.client import ClientFacts
from loadlab.record.manifest import HostFacts, Manifest, Status
from loadlab.record.request import COLUMNS, OUTCOME_OF, Cause, Outcome, RequestRecord
from loadlab.slo import COUNTED, LABELS, LATENCIES, PLAIN

PACKAGE = Path(__file__).parents[1] / "loadlab"
FORMATS = {  # what `schema` says: who writes or reads it, where it is told
    "band": ("the band of a prediction, in `summary.json`", "../validation.md"),
    "baseline": ("`loadlab baseline save`", "../gate.md#baselines"),
    "break-even": ("`loadlab break-even --json`, `break-even.json`", "../break-even.md"),
    "campaign": ("a campaign: its file, and its `summary.json`", "../run-directory.md"),
    "capacity": ("`loadlab capacity --json`, `capacity.json`", "../capacity.md"),
    "catalog": ("`loadlab catalog --json`", "commands.md"),
    "ceiling": ("what `loadlab doctor` keeps of this machine", "../http-load.md"),
    "cluster": ("a simulated cluster", "../cluster-format.md"),
    "compare": ("`loadlab compare --json`", "../gate.md"),
    "decision": ("a question of where to host", "../break-even.md#deciding-where-to-host"),
    "decision-result": ("`loadlab decide --json`", "../break-even.md#deciding-where-to-host"),
    "doctor": ("`loadlab doctor --json`", "../http-load.md"),
    "gate": ("`loadlab gate --json`, `gate.json`", "../gate.md"),
    "gateway": ("the gateway of `loadlab serve`", "../serving.md#gateway"),
    "hosting": ("a hosting case", "../break-even.md"),
    "lake": ("a row of the gateway's log of requests", "../serving.md#gateway"),
    "manifest": ("`manifest.json`", "../run-directory.md#manifestjson"),
    "prices": ("a price book", "../break-even.md#price-books"),
    "probes": ("levels that a search has measured, to resume it", "../capacity.md#stopped-and-resumed"),
    "routing": ("`loadlab break-even --tiers --json`", "../break-even.md"),
    "run": ("`summary.json` of a run", "../run-directory.md#summaryjson"),
    "scenario": ("a scenario", "../scenario-format.md"),
    "sweep": ("`loadlab sweep --json`, `sweep.json`", "../capacity.md#sweeps"),
    "sweep-points": ("points that a sweep has measured, to resume it", "../capacity.md#sweeps"),
    "tiers": ("a routed mix of models", "../break-even.md"),
    "trace-fit": ("`loadlab trace fit --json`", "../traces.md#fit"),
    "trace-profile": ("`loadlab trace inspect --json`", "../traces.md#what-inspect-says"),
    "validation": ("`loadlab validate --json`", "../validation.md"),
}


def metrics() -> str:
    """Every metric that a threshold, a comparison and a gate can name."""
    rows = [f"| `{name}` | `.mean` `.max` `.p50` `.p95` `.p99` `.p99.9` .. | s | {escaped(words)} |" for name, words in LATENCIES.items()]
    rows += [
        f"| `{name}` | | {'/s' if name.endswith('_per_s') or name == 'goodput' else 'share'} | {escaped(words)} |"
        for name, words in PLAIN.items()
    ]
    rows += [f"| `{name}` | `.count` `.rate` | number, share | {_outcome(name)} |" for name in COUNTED]
    rows.append("| `error_budget` | `.burn` | number | bad requests over those that the SLO's target allows |")
    labels = ", ".join(f"`{label}`" for label in LABELS)
    return "\n".join(
        [
            "# Metrics", "", 'What `thresholds`, `--threshold "ttft.p95 < 800ms"`, `loadlab compare` and `loadlab gate` can name. '
            f"A label narrows a metric to some requests: `tpot.p99{{class=chat}}`; labels are {labels}. What they mean: "
            "[statistics](../statistics.md), [glossary](../glossary.md).", "",
            "| metric | with | unit | |", "|---|---|---|---|", *rows, "",
            "## Outcomes and causes", "", "Every planned request ends in one outcome; all but `ok` may name a cause.", "",
            "| outcome | cause | |", "|---|---|---|", *_causes(), "",
        ]
    )  # fmt: skip


def _outcome(name: str) -> str:
    return "oom + timeout + http\\_error + connection\\_error + truncated" if name == "failed" else f"requests that ended as `{name}`"


def _causes() -> list[str]:
    comments = _enum_comments(PACKAGE / "record" / "request.py")
    rows = [f"| `{Outcome.OK}` | | |"]
    causes = sorted(Cause, key=lambda cause: list(Outcome).index(OUTCOME_OF[cause]))
    return rows + [f"| `{OUTCOME_OF[cause]}` | `{cause}` | {escaped(comments.get(cause.value, ''))} |" for cause in causes]


def _enum_comments(path: Path) -> dict[str, str]:
    return dict(re.findall(r'^    [A-Z_]+ = "(\w+)"  # (.*)$', path.read_text(encoding="utf-8"), re.MULTILINE))


def written_schemas() -> dict[str, Path]:
    """Every `loadlab/NAME/1` that stands in the code, and the first file that has it."""
    found: dict[str, Path] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in re.findall(r'"loadlab[/.]([a-z-]+)/\d+"', path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found


def _told(name: str, path: Path) -> str:
    """What a format is: in words of FORMATS, else in those with which the file begins that writes it."""
    if name in FORMATS:
        return f"{FORMATS[name][0]} | [page]({FORMATS[name][1]})"
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return f"{escaped(words.partition('. ')[0].partition(chr(10) * 2)[0])} | `{path.relative_to(PACKAGE.parent)}`"


def formats() -> str:
    """Files and JSON objects, and the columns of what every run leaves."""
    rows = [f"| `loadlab/{name}/1` | {_told(name, path)} |" for name, path in sorted(written_schemas().items())]
    said = _enum_comments(PACKAGE / "record" / "manifest.py")
    states = "\n".join(f"| `{status}` | {escaped(said[status])} |" for status in Status)
    return "\n".join(
        [
            "# Files and JSON", "",
            "Each file says in `schema` what it is and in which version. A reader refuses a version that it does not know.", "",
            "| `schema` | what | |", "|---|---|---|", *rows, "",
            "## A row of requests.jsonl", "", _words(RequestRecord), *_columns(RequestRecord), "",
            "## manifest.json", "", _words(Manifest), *_columns(Manifest), "",
            "| status | |", "|---|---|", states, "",
            "`host`:", "", *_columns(HostFacts), "", "`client`, of a run over HTTP:", "", *_columns(ClientFacts), "",
        ]
    )  # fmt: skip


def _words(table: type) -> str:
    return escaped(re.sub(r"\s+", " ", table.__doc__ or "")) + "\n"


def _columns(table: type) -> list[str]:
    comments, called = field_comments(table), {name: column for column, name in COLUMNS.items()} if table is RequestRecord else {}
    rows = [(called.get(f.name, f.name), str(f.type), comments.get(f.name, "")) for f in dataclasses.fields(table)]
    return [
        "| key | is | |",
        "|---|---|---|",
        *(f"| `{name}` | {escaped(kind.replace('None', 'null'))} | {escaped(words)} |" for name, kind, words in rows),
    ]
