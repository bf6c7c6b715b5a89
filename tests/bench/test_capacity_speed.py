"""How long a search on a simulated 70B replica takes. No verdicts; `make bench` prints it."""

from __future__ import annotations

import time

from typer.testing import CliRunner

from loadlab.cli.app import app


def test_a_search_on_seventy_billion_parameters() -> None:
    command = ["capacity", "scenarios/hardware/70b-on-h100.toml", "--target", "sim:h100-70b", "--slo", "ttft=1s", "--slo", "tpot=60ms"]
    begun, clock = time.process_time(), time.perf_counter()
    result = CliRunner().invoke(app, command)
    spent, waited = time.process_time() - begun, time.perf_counter() - clock
    assert result.exit_code == 0, result.output
    print(f"\na search on 70B, four H100: {spent:.1f} CPU-s, {waited:.1f} s by the clock (wanted: under 30 on two cores)")
