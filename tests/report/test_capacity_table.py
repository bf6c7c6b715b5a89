"""The table of a capacity study cuts no figure in a terminal of 80 columns."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from loadlab.report.capacity import level_table


def test_no_figure_is_cut_at_eighty_columns() -> None:
    level = {
        "rate_per_s": 18.3, "n": 12_150, "tau": 1865.8, "bad_share": 0.232, "bad_low": 0.0031, "bad_high": 0.0042, "ttft_p99_s": 1.17,
        "budget_gone_after_h": 35_580.0, "is_overloaded": True, "digest": "sha256:20a5cc88",
    }  # fmt: skip
    console = Console(width=80, file=StringIO(), highlight=False)
    console.print(level_table([level, {**level, "bad_high": 0.81, "ttft_p99_s": 0.244}]))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    for figure in ("1.17 s", "244 ms", "20a5cc", "35,580 h"):
        assert figure in printed
