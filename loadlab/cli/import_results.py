"""`loadlab import`: results of other tools as run directories, to be shown, compared and judged like our own."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  loadlab import guidellm benchmarks.json --out runs/guidellm

  loadlab import vllm-bench openai-infqps-llama.json && loadlab report runs/vllm-bench
"""


class ToolName(StrEnum):
    """Whose results can be read."""

    GUIDELLM = "guidellm"
    AIPERF = "aiperf"
    VLLM_BENCH = "vllm-bench"
    K6 = "k6"
    LOCUST = "locust"


def import_results(
    tool: Annotated[ToolName, typer.Argument(help="Whose results they are.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(
            help="guidellm: JSON report; aiperf: profile_export.jsonl; vllm-bench: JSON of --save-detailed; k6: --out json or csv; "
            "locust: CSV of requests.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Run directory to make. Default: a new one under runs/.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"runs": [summary, ..]} on stdout, and nothing else.')] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Make a run directory of another tool's results.

    What the tool did not record stays unknown, and the table shows it as "-". Its plan is unknown as well, so that two imported runs are
    never pairs. Files of aggregates are refused: there is no percentile of percentiles.
    """
    from loadlab.campaign.imports.recording import Tool, import_file
    from loadlab.campaign.trial import default_out, host_facts
    from loadlab.cli.break_even import print_json
    from loadlab.cli.screen import Screen
    from loadlab.report.summary import summarise_run

    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    where = out or default_out(f"{tool.value}")
    summaries = []
    for _, directory in import_file(Tool(tool.value), file, where, host_facts(sys.argv)):
        summaries.append(summarise_run(directory))
        screen.show(summaries[-1])
        screen.say(f"rows and summary: {directory.path}")
    if as_json:
        print_json({"runs": summaries})
